//! The errors found so far.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use super::error::{ConfigError, ConfigErrors, Position};
use super::source::Source;

/// Collects errors while a file is read and checked. Shared by everything that reads, hence the cells.
pub(crate) struct Report<'a> {
    source: &'a Source<'a>,
    errors: RefCell<Vec<(usize, String)>>,
    elsewhere: RefCell<Vec<ConfigError>>,
    broken: Cell<bool>,
    unreadable: RefCell<BTreeSet<usize>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(source: &'a Source<'a>) -> Self {
        Self {
            source,
            errors: RefCell::default(),
            elsewhere: RefCell::default(),
            broken: Cell::new(false),
            unreadable: RefCell::default(),
        }
    }

    /// Notes that what stands at octet `at` is wrong, with the way out.
    pub(crate) fn wrong(&self, at: usize, message: impl Into<String>) {
        self.errors.borrow_mut().push((at, message.into()));
    }

    /// Notes that a line of another file, which this one names, is wrong.
    pub(super) fn wrong_in(&self, file: &str, position: Position, message: impl Into<String>) {
        self.elsewhere.borrow_mut().push(ConfigError::new(file, Some(position), message.into()));
    }

    /// Notes that a part of the file is lost because it is not TOML: what is absent may only be unreadable.
    pub(super) fn set_broken(&self) {
        self.broken.set(true);
    }

    /// Notes that the value at octet `at` stands for one that is not TOML.
    pub(super) fn set_unreadable(&self, at: usize) {
        self.unreadable.borrow_mut().insert(at);
    }

    /// Whether a part of the file is lost, so that absence proves nothing.
    pub(crate) fn broken(&self) -> bool {
        self.broken.get()
    }

    /// Whether the value at octet `at` only stands for one that is not TOML.
    pub(super) fn is_unreadable(&self, at: usize) -> bool {
        self.unreadable.borrow().contains(&at)
    }

    /// The line of octet `at`, to point from one error to a second place.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.source.line(at)
    }

    /// Everything found, in the order of the file, what is in others behind; `None` if nothing was.
    pub(super) fn into_errors(self) -> Option<ConfigErrors> {
        let mut errors = self.errors.into_inner();
        errors.sort();
        errors.dedup();
        let place =
            |(at, message)| ConfigError::new(self.source.name, Some(self.source.position(at)), message);
        let here = errors.into_iter().map(place);
        ConfigErrors::new(here.chain(self.elsewhere.into_inner()).collect())
    }
}
