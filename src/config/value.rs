//! One value of the file: its type, its range, its choices.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::duration;
use super::report::Report;
use super::suggest;
use super::table::At;

/// A value that is being read. A reader returns `None` after it has reported what is wrong.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    /// The key it stands under, also for the elements of a list.
    pub(crate) key: &'a str,
    pub(super) at: usize,
    inner: &'a DeValue<'a>,
    report: &'a Report<'a>,
}

/// The elements of a list that could be read.
#[derive(Clone, Debug)]
pub(super) struct List<T> {
    pub(super) items: Vec<At<T>>,
    /// Whether these are all.
    pub(super) whole: bool,
}

impl<T> List<T> {
    /// The elements without their places.
    pub(super) fn into_values(self) -> Vec<T> {
        self.items.into_iter().map(|item| item.value).collect()
    }
}

impl<T> Default for List<T> {
    /// Nothing, and that is all.
    fn default() -> Self {
        Self { items: Vec::new(), whole: true }
    }
}

impl<'a> Value<'a> {
    pub(super) fn new(key: &'a str, spanned: &'a Spanned<DeValue<'a>>, report: &'a Report<'a>) -> Self {
        Self { key, at: spanned.span().start, inner: spanned.get_ref(), report }
    }

    /// The same under another name, for the elements of a list.
    pub(super) fn called(self, key: &'a str) -> Self {
        Self { key, ..self }
    }

    /// Whether it stands in the file like this; else it is in place of one that has been reported.
    pub(super) fn is_readable(self) -> bool {
        !self.report.is_unreadable(self.at)
    }

    /// Reports `message` for this place.
    pub(crate) fn wrong<T>(self, message: impl Into<String>) -> Option<T> {
        self.report.wrong(self.at, message);
        None
    }

    /// The value as TOML has it.
    pub(crate) fn inner(self) -> &'a DeValue<'a> {
        self.inner
    }

    /// The value for use in a sentence: `the number 5`.
    pub(crate) fn described(self) -> String {
        match self.inner {
            DeValue::String(text) => format!("the string {text:?}"),
            DeValue::Integer(number) => format!("the number {number}"),
            DeValue::Float(number) => format!("the number {number}"),
            DeValue::Boolean(truth) => format!("the boolean {truth}"),
            DeValue::Datetime(date) => format!("the date {date}"),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }

    /// A string.
    pub(crate) fn text(self) -> Option<&'a str> {
        match self.inner {
            DeValue::String(text) => Some(text),
            DeValue::Integer(number) => {
                self.wrong(format!("{} is {}; put it in quotes: \"{number}\"", self.key, self.described()))
            }
            _ => self.wrong(format!("{} is {}; write a string in quotes", self.key, self.described())),
        }
    }

    /// Whether it is the string `word`.
    pub(super) fn is(self, word: &str) -> bool {
        self.inner.as_str() == Some(word)
    }

    /// True or false.
    pub(super) fn truth(self) -> Option<bool> {
        match self.inner {
            DeValue::Boolean(truth) => Some(*truth),
            _ => self.wrong(format!(
                "{} is {}; write true or false, without quotes",
                self.key,
                self.described()
            )),
        }
    }

    /// A whole number in `range`.
    pub(crate) fn integer<T>(self, range: RangeInclusive<T>) -> Option<T>
    where
        T: Display + PartialOrd + TryFrom<i128>,
    {
        let (first, last) = (range.start(), range.end());
        let DeValue::Integer(number) = self.inner else {
            let (key, described) = (self.key, self.described());
            let way_out = if self.inner.is_str() { ", without quotes" } else { "" };
            return self.wrong(format!(
                "{key} is {described}; write a whole number from {first} to {last}{way_out}"
            ));
        };
        i128::from_str_radix(number.as_str(), number.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number))
            .or_else(|| {
                let key = self.key;
                self.wrong(format!("{key} {number} is out of range; write a number from {first} to {last}"))
            })
    }

    /// A string with a number and a unit, in `range`.
    pub(crate) fn duration(self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let key = self.key;
        if let DeValue::Integer(number) = self.inner {
            return self.wrong(format!("{key} {number} has no unit; write \"{number}s\" or \"{number}ms\""));
        }
        let text = self.text()?;
        let Some(duration) = duration::parse(text) else {
            let example = "write a number and a unit (us, ms, s, m, h), as \"500ms\" or \"1h30m\"";
            return self.wrong(format!("{key} {text:?} is not a duration; {example}"));
        };
        if range.contains(&duration) {
            return Some(duration);
        }
        let (first, last) = (duration::print(*range.start()), duration::print(*range.end()));
        self.wrong(format!("{key} {text:?} is out of range; write a duration from {first} to {last}"))
    }

    /// One of the words of `choices`; those of `later` are known, but not in this version.
    pub(crate) fn one_of<T: Copy>(self, choices: &[(&str, T)], later: &[&str]) -> Option<T> {
        let (key, text) = (self.key, self.text()?);
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*choice);
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let words = match words.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        };
        if later.contains(&text) {
            return self.wrong(format!("{key} {text:?} is not in this version; write {words}"));
        }
        match suggest::nearest(text, choices.iter().map(|(word, _)| *word)) {
            Some(near) if choices.len() > 1 => self
                .wrong(format!("{key} {text:?} is unknown; did you mean \"{near}\"? the values are {words}")),
            Some(_) | None => self.wrong(format!("{key} {text:?} is unknown; write {words}")),
        }
    }

    /// A list whose elements `read` reads.
    pub(super) fn each<T>(self, mut read: impl FnMut(Self) -> Option<T>) -> Option<List<T>> {
        let DeValue::Array(elements) = self.inner else {
            let (key, described) = (self.key, self.described());
            return self.wrong(format!("{key} is {described}; write a list in brackets, as {key} = [...]"));
        };
        let mut list = List { items: Vec::with_capacity(elements.len()), whole: true };
        for element in elements.iter() {
            let element = Self::new(self.key, element, self.report);
            match read(element) {
                Some(value) => list.items.push(At { at: element.at, value }),
                None => list.whole = false,
            }
        }
        Some(list)
    }
}
