//! What an agent on a backend advises, in the language of HAProxy's agent-check.
//!
//! A line of words, in any order and case, separated by spaces, tabs or commas: `up`, `down`, `fail` and `stopped` say
//! how the server is; `ready`, `drain` and `maint` what its administrator wants; `75%` which part of its configured
//! weight it is to get. `#` begins a remark. Other words, such as `maxconn:30` or a reason behind `down`, are passed
//! over. What a line does not mention stays as it was.

use std::fmt;

/// What an agent has advised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Advice {
    /// How the server is: `false` after `down`, `fail` or `stopped`; `None`: not said.
    pub up: Option<bool>,
    /// What its administrator wants; `None`: not said.
    pub mode: Option<AdvisedMode>,
    /// Percent of the configured weight, 0 to [`Advice::MOST_PERCENT`]; `None`: not said.
    pub weight_percent: Option<u16>,
}

/// What the administrator of a server wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdvisedMode {
    /// Normal service.
    Ready,
    /// No new flows; those there are may end.
    Drain,
    /// Out of service, whatever probes say.
    Maint,
}

/// What all of an agent's words mean for the backend's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdvisedState {
    /// In service if its probes agree.
    Up,
    /// No new flows; those there are may end.
    Drain,
    /// Out of service.
    Down,
    /// Out of service by its administrator's will.
    Maint,
}

impl fmt::Display for AdvisedState {
    /// The agent's word for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Drain => "drain",
            Self::Down => "down",
            Self::Maint => "maint",
        })
    }
}

impl Advice {
    /// As in HAProxy; what is above counts as this.
    pub const MOST_PERCENT: u16 = 256;

    /// The advice in the first line of `text`; `None` if none of its words is known.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let end = text.iter().position(|octet| matches!(octet, b'\r' | b'\n' | b'#')).unwrap_or(text.len());
        let line = String::from_utf8_lossy(&text[..end]).to_ascii_lowercase();
        let mut advice = Self::default();
        for word in line.split([' ', '\t', ',']) {
            match word {
                "up" => advice.up = Some(true),
                "down" | "fail" | "failed" | "stopped" => advice.up = Some(false),
                "ready" => advice.mode = Some(AdvisedMode::Ready),
                "drain" => advice.mode = Some(AdvisedMode::Drain),
                "maint" => advice.mode = Some(AdvisedMode::Maint),
                _ => advice.weight_percent = percent(word).or(advice.weight_percent),
            }
        }
        (advice != Self::default()).then_some(advice)
    }

    /// Takes in later advice: what it does not mention stays.
    pub const fn update(&mut self, later: Self) {
        if later.up.is_some() {
            self.up = later.up;
        }
        if later.mode.is_some() {
            self.mode = later.mode;
        }
        if later.weight_percent.is_some() {
            self.weight_percent = later.weight_percent;
        }
    }

    /// The state that follows: maintenance before down, down before drain. `None` if nothing was said about it.
    #[must_use]
    pub const fn state(self) -> Option<AdvisedState> {
        match (self.mode, self.up) {
            (Some(AdvisedMode::Maint), _) => Some(AdvisedState::Maint),
            (_, Some(false)) => Some(AdvisedState::Down),
            (Some(AdvisedMode::Drain), _) => Some(AdvisedState::Drain),
            (Some(AdvisedMode::Ready), _) | (None, Some(true)) => Some(AdvisedState::Up),
            (None, None) => None,
        }
    }
}

/// `75%`; digits that no number holds are the most.
fn percent(word: &str) -> Option<u16> {
    let digits = word.strip_suffix('%')?;
    if digits.is_empty() || !digits.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u16::MAX).min(Advice::MOST_PERCENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_combine_in_any_order_and_what_is_not_known_is_passed_over() {
        let advice = |up, mode, weight_percent| Some(Advice { up, mode, weight_percent });
        for (line, expected) in [
            ("up\n", advice(Some(true), None, None)),
            ("UP READY\t75%\r\n", advice(Some(true), Some(AdvisedMode::Ready), Some(75))),
            ("0%,drain", advice(None, Some(AdvisedMode::Drain), Some(0))),
            ("256% maint", advice(None, Some(AdvisedMode::Maint), Some(256))),
            ("100000000000%", advice(None, None, Some(256))),
            ("down disk full\n", advice(Some(false), None, None)),
            ("stopped#up 50%", advice(Some(false), None, None)),
            ("fail maxconn:30 -5% 5.5% %", advice(Some(false), None, None)),
            ("50%\nup", advice(None, None, Some(50))),
            ("", None),
            ("\nup", None),
            ("HTTP/1.1 200 OK", None),
        ] {
            assert_eq!(Advice::parse(line.as_bytes()), expected, "{line:?}");
        }
        assert_eq!(Advice::parse(b"\xff\xfe"), None);
    }

    #[test]
    fn later_advice_changes_only_what_it_mentions() {
        let mut advice = Advice::default();
        assert_eq!(advice.state(), None);
        for (line, state, weight) in [
            ("up 50%", AdvisedState::Up, Some(50)),
            ("drain", AdvisedState::Drain, Some(50)),
            ("down", AdvisedState::Down, Some(50)),
            ("maint 10%", AdvisedState::Maint, Some(10)),
            ("ready", AdvisedState::Down, Some(10)),
            ("up", AdvisedState::Up, Some(10)),
        ] {
            advice.update(Advice::parse(line.as_bytes()).unwrap());
            assert_eq!((advice.state(), advice.weight_percent), (Some(state), weight), "{line}");
        }
    }
}
