//! The errors found so far.

use std::cell::{Cell, RefCell};

use super::error::{ConfigError, ConfigErrors};
use super::source::Source;

/// Collects errors while a file is read and checked. Shared by everything that reads, hence the cells.
pub(super) struct Report<'a> {
    source: &'a Source<'a>,
    errors: RefCell<Vec<(usize, String)>>,
    broken: Cell<bool>,
}

impl<'a> Report<'a> {
    pub(super) fn new(source: &'a Source<'a>) -> Self {
        Self { source, errors: RefCell::default(), broken: Cell::new(false) }
    }

    /// Notes that what stands at octet `at` is wrong, with the way out.
    pub(super) fn wrong(&self, at: usize, message: impl Into<String>) {
        self.errors.borrow_mut().push((at, message.into()));
    }

    /// As [`Report::wrong`], for text that is not TOML: from here on, what is absent may only be unreadable.
    pub(super) fn not_toml(&self, at: usize, message: impl Into<String>) {
        self.broken.set(true);
        self.wrong(at, message);
    }

    /// Whether parts of the file could not be read as TOML, so that absence proves nothing.
    pub(super) fn broken(&self) -> bool {
        self.broken.get()
    }

    /// The line of octet `at`, to point from one error to a second place.
    pub(super) fn line(&self, at: usize) -> usize {
        self.source.line(at)
    }

    /// Everything found, in the order of the file; `None` if nothing was.
    pub(super) fn into_errors(self) -> Option<ConfigErrors> {
        let mut errors = self.errors.into_inner();
        errors.sort();
        errors.dedup();
        let place =
            |(at, message)| ConfigError::new(self.source.name, Some(self.source.position(at)), message);
        ConfigErrors::new(errors.into_iter().map(place).collect())
    }
}
