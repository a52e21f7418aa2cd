//! When an event happens: a time after the first frame, or a time of the capture.

use std::time::Duration;

use toml::de::DeValue;
use toml::value::{Date, Datetime, Offset, Time};

use crate::config::Value;
use crate::model::Nanos;

/// `at` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// This long after the first frame.
    After(Nanos),
    /// At this time since 1970, UTC, as captures have it.
    At(Nanos),
}

impl Moment {
    /// Reads a duration in quotes, to the nanosecond and with a decimal point if that is handy, or a date and time.
    pub(super) fn read(value: Value<'_>) -> Option<Self> {
        let example = "write a time after the first frame, as \"1.5s\" or \"1m30s\"";
        let datetime = match value.inner() {
            DeValue::Datetime(datetime) => Some(*datetime),
            DeValue::String(text) => text.parse().ok(),
            DeValue::Integer(_) | DeValue::Float(_) => {
                let number = value.described();
                return value.wrong(format!("at is {number}, without a unit; {example}"));
            }
            DeValue::Boolean(_) | DeValue::Array(_) | DeValue::Table(_) => None,
        };
        if let Some(datetime) = datetime {
            return match since_1970(datetime) {
                Some(time) => Some(Self::At(time)),
                None => value.wrong(format!(
                    "at {datetime} is no time of a capture; write date, time and offset from UTC, from 1970 to \
                     2106, as 2026-11-22T08:00:00.5Z"
                )),
            };
        }
        let text = value.text()?;
        if let Some((number, unit)) = point(text) {
            return match decimal(number, unit) {
                Some(span) => Some(Self::After(span)),
                None => value.wrong(format!("at {text:?} is no time to the nanosecond; {example}")),
            };
        }
        value.duration(Duration::ZERO..=LONGEST).map(|span| Self::After(span.into()))
    }

    /// The time of the capture, whose first frame has the time `first`.
    pub(super) fn since(self, first: Nanos) -> Nanos {
        match self {
            Self::After(span) => first + span,
            Self::At(time) => time,
        }
    }
}

/// The number before the unit, if it has a decimal point.
fn point(text: &str) -> Option<(&str, &str)> {
    let unit = text.find(|c: char| c.is_ascii_lowercase())?;
    Some(text.split_at(unit)).filter(|(number, _)| number.contains('.'))
}

/// `number` with digits on both sides of its point, in `unit`; `None` if that is no whole number of nanoseconds.
fn decimal(number: &str, unit: &str) -> Option<Nanos> {
    let (_, length) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.')?;
    let digits =
        |text: &str| !text.is_empty() && text.len() <= 12 && text.bytes().all(|c| c.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let parts = fraction.parse::<u128>().ok()? * length;
    let nanos = whole.parse::<u128>().ok()? * length + parts / scale;
    let exact = parts.is_multiple_of(scale) && nanos <= LONGEST.as_nanos();
    u64::try_from(nanos).ok().filter(|_| exact).map(Nanos)
}

/// In nanoseconds.
const UNITS: [(&str, u128); 5] =
    [("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)];

/// Longer than captures are: a hundred years and more.
const LONGEST: Duration = Duration::from_secs(1_000_000 * 3600);

/// `None` without a date, a time or an offset, or outside of what captures can say.
fn since_1970(datetime: Datetime) -> Option<Nanos> {
    let Datetime { date: Some(date), time: Some(time), offset: Some(offset) } = datetime else { return None };
    let Time { hour, minute, second, nanosecond } = time;
    let seconds_of_day = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second.unwrap_or(0));
    let east = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes) * 60,
    };
    let seconds = days_since_1970(date) * 86_400 + seconds_of_day - east;
    let seconds = u64::from(u32::try_from(seconds).ok()?);
    Some(Nanos::from_secs(seconds) + Nanos(u64::from(nanosecond.unwrap_or(0))))
}

/// In the Gregorian calendar, as RFC 3339 has it.
fn days_since_1970(Date { year, month, day }: Date) -> i64 {
    /// Days before each month of a common year.
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let year = i64::from(year);
    let leap_days_through = |year: i64| year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // In January and February this year's leap day is still to come.
    let counted = if month > 2 { year } else { year - 1 };
    let leap_days = leap_days_through(counted) - leap_days_through(1969);
    let before = BEFORE.get(usize::from(month) - 1).copied().unwrap_or_default();
    (year - 1970) * 365 + leap_days + before + i64::from(day) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_number_is_exact_to_the_nanosecond_or_refused() {
        for (text, nanos) in [
            ("1.5s", Some(1_500_000_000)),
            ("0.000000001s", Some(1)),
            ("2.25ms", Some(2_250_000)),
            ("0.5h", Some(1_800_000_000_000)),
            ("1.0us", Some(1_000)),
            ("0.0000000001s", None),
            ("0.0001us", None),
            (".5s", None),
            ("1.s", None),
            ("1.5", None),
            ("1.5d", None),
            ("-1.5s", None),
            ("1.5.5s", None),
            ("1.5s5ms", None),
            ("999999999999.5h", None),
        ] {
            let read = point(text).and_then(|(number, unit)| decimal(number, unit));
            assert_eq!(read, nanos.map(Nanos), "{text}");
        }
    }

    #[test]
    fn a_date_and_time_are_seconds_since_1970() {
        // By GNU date: date -u -d "$TIME" +%s
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600)),
            ("2000-03-01T00:00:00Z", Some(951_868_800)),
            ("2023-11-14T22:13:20Z", Some(1_700_000_000)),
            ("2023-11-15T00:13:20+02:00", Some(1_700_000_000)),
            ("2024-12-31T23:59:59Z", Some(1_735_689_599)),
            ("2100-03-01T00:00:00Z", Some(4_107_542_400)),
            ("1969-12-31T23:59:59Z", None),
            ("2106-02-07T06:28:16Z", None),
            ("2023-11-14T22:13:20", None),
            ("2023-11-14", None),
        ] {
            let datetime = text.parse().unwrap();
            assert_eq!(since_1970(datetime), seconds.map(Nanos::from_secs), "{text}");
        }
    }
}
