//! One table of the file, read key by key: knows which keys there are, because they were asked for.

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::report::Report;
use super::value::Value;

/// A value and where it stands, in octets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<T> {
    pub(crate) at: usize,
    pub(crate) value: T,
}

/// What the file says under a key.
#[derive(Clone, Debug, Default)]
pub(crate) enum Entry<T> {
    /// Nothing: the default holds.
    #[default]
    Absent,
    /// Nothing usable, and the error is reported. Nothing may be concluded from it.
    Wrong,
    /// A value.
    Given(At<T>),
}

impl<T> Entry<T> {
    /// The value, or `default` if there is none; `None` if it is wrong.
    pub(crate) fn or(self, default: T) -> Option<T> {
        self.or_at(default, 0).map(|given| given.value)
    }

    /// As [`Entry::or`], a default being attributed to the place `at`.
    pub(super) fn or_at(self, default: T, at: usize) -> Option<At<T>> {
        match self {
            Self::Absent => Some(At { at, value: default }),
            Self::Wrong => None,
            Self::Given(given) => Some(given),
        }
    }

    /// The value, if there is one and it is right.
    pub(crate) fn given(self) -> Option<At<T>> {
        match self {
            Self::Absent | Self::Wrong => None,
            Self::Given(given) => Some(given),
        }
    }

    /// With `change` made to the value, if there is one.
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Entry<U> {
        match self {
            Self::Absent => Entry::Absent,
            Self::Wrong => Entry::Wrong,
            Self::Given(At { at, value }) => Entry::Given(At { at, value: change(value) }),
        }
    }

    /// Where the value stands, if there is one and it is right.
    pub(super) fn place(&self) -> Option<usize> {
        self.as_ref().given().map(|given| given.at)
    }

    /// The same of a borrowed value.
    pub(crate) fn as_ref(&self) -> Entry<&T> {
        match self {
            Self::Absent => Entry::Absent,
            Self::Wrong => Entry::Wrong,
            Self::Given(At { at, value }) => Entry::Given(At { at: *at, value }),
        }
    }
}

/// A table that is being read.
pub(crate) struct Table<'a> {
    /// As an operator writes it: `[appliance]`, `[[service.backend]]`.
    name: &'static str,
    pub(crate) at: usize,
    /// `None`: the table is absent, and so is every key.
    entries: Option<&'a DeTable<'a>>,
    asked: Vec<&'static str>,
    report: &'a Report<'a>,
}

impl<'a> Table<'a> {
    pub(super) fn new(
        name: &'static str,
        at: usize,
        entries: &'a DeTable<'a>,
        report: &'a Report<'a>,
    ) -> Self {
        Self { name, at, entries: Some(entries), asked: Vec::new(), report }
    }

    /// Reads the value of `key` with `read`, which reports what is wrong with it.
    pub(crate) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Entry<T> {
        self.asked.push(key);
        match self.entries.and_then(|entries| entries.get(key)) {
            None if self.report.broken() => Entry::Wrong,
            None => Entry::Absent,
            Some(spanned) => {
                let value = Value::new(key, spanned, self.report);
                let read = if value.is_readable() { read(value) } else { None };
                read.map_or(Entry::Wrong, |read| Entry::Given(At { at: value.at, value: read }))
            }
        }
    }

    /// As [`Table::optional`]; reports the key if it is missing, and shows `example`.
    pub(crate) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Entry<T> {
        let entry = self.optional(key, read);
        if matches!(entry, Entry::Absent) && self.at != UNSEEN {
            self.report.wrong(
                self.at,
                format!("missing key \"{key}\" in {}; add it, as {key} = {example}", self.name),
            );
            return Entry::Wrong;
        }
        entry
    }

    /// The table `[key]` below this one.
    pub(super) fn table(&mut self, key: &'static str, name: &'static str) -> Entry<Self> {
        let report = self.report;
        self.optional(key, |value| match value.inner() {
            DeValue::Table(entries) => Some(Self::new(name, value.at, entries, report)),
            DeValue::Array(_) => {
                value.wrong(format!("{key} is a list; write {name} once, in single brackets"))
            }
            _ => value.wrong(format!("{key} is {}; write a table {name}", value.described())),
        })
    }

    /// As [`Table::table`], an absent one being empty.
    pub(super) fn section(&mut self, key: &'static str, name: &'static str) -> Self {
        let absent = Self { name, at: 0, entries: None, asked: Vec::new(), report: self.report };
        self.table(key, name).given().map_or(absent, |given| given.value)
    }

    /// The tables `[[key]]` below this one, in order.
    pub(crate) fn tables(&mut self, key: &'static str, name: &'static str) -> Entry<Vec<Self>> {
        let report = self.report;
        self.optional(key, |value| match value.inner() {
            DeValue::Array(_) => {
                let list = value.each(|item| match item.inner() {
                    DeValue::Table(entries) => Some(Self::new(name, item.at, entries, report)),
                    _ => item.wrong(format!("{key} is {}; write tables {name}", item.described())),
                })?;
                list.whole.then(|| list.into_values())
            }
            DeValue::Table(_) => {
                value.wrong(format!("{key} is a single table; write {name}, in double brackets"))
            }
            _ => value.wrong(format!("{key} is {}; write tables {name}", value.described())),
        })
    }

    /// Everything in the table, whatever its keys, in the order of the file.
    pub(super) fn all(self) -> Vec<(&'a str, Value<'a>)> {
        let value = |(key, value): (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)| {
            let key: &'a str = key.get_ref();
            (key, Value::new(key, value, self.report))
        };
        let mut all: Vec<_> = self.entries.into_iter().flatten().map(value).collect();
        all.sort_by_key(|(_, value)| value.at);
        all
    }

    /// An absent table, read only for the keys that are asked of it.
    pub(super) fn unseen(&self, name: &'static str) -> Self {
        Self { name, at: UNSEEN, entries: None, asked: Vec::new(), report: self.report }
    }

    /// Reports the keys that nobody asked for.
    pub(crate) fn finish(self) {
        let mut sections = self.report.sections();
        for (key, _) in self.entries.into_iter().flatten() {
            let name = key.get_ref();
            if !self.asked.contains(&name.as_ref()) {
                sections.note_unknown(name, key.span().start, self.name, self.at);
            }
        }
        if self.entries.is_some() {
            sections.note_table(self.name, self.at);
        }
        sections.note_keys(self.name, self.asked);
    }
}

/// The place of a table that is not in the file and of which nothing is missing.
const UNSEEN: usize = usize::MAX;
