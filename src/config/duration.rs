//! Durations as operators write them: `500ms`, `2s`, `1h30m`.

use std::time::Duration;

/// From the longest, with the length in microseconds.
const UNITS: [(&str, u64); 5] =
    [("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

/// Reads numbers with units, the longest unit first, each at most once; `None` if `text` is anything else or longer
/// than 500 thousand years.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut units = UNITS.iter();
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let (_, length) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*length)?)?;
        rest = after;
        if rest.is_empty() {
            return Some(Duration::from_micros(total));
        }
    }
}

/// `duration` as [`parse`] reads it, to the microsecond.
pub(super) fn print(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, length) in UNITS {
        if rest >= length {
            text += &format!("{}{unit}", rest / length);
            rest %= length;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_numbers_with_falling_units() {
        for (text, micros) in [
            ("1us", 1),
            ("500ms", 500_000),
            ("2s", 2_000_000),
            ("1m", 60_000_000),
            ("1h30m", 5_400_000_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_micros(micros)), "{text}");
        }
        for text in [
            "",
            "2",
            "s",
            "2 s",
            " 2s",
            "2s ",
            "2sec",
            "-2s",
            "1.5s",
            "30m1h",
            "1s1s",
            "2S",
            "99999999999999999999h",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_printed_duration_reads_as_itself() {
        for text in ["0s", "1us", "500ms", "1s500ms", "1h30m", "24h", "168h"] {
            assert_eq!(print(parse(text).unwrap()), text);
        }
    }
}
