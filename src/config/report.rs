//! The errors and warnings found so far.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeSet;

use super::error::{ConfigError, ConfigErrors, ConfigWarning, Position};
use super::sections::Sections;
use super::source::Source;

/// Collects errors and warnings while a file is read and checked. Shared by everything that reads, hence the cells.
pub(crate) struct Report<'a> {
    source: &'a Source<'a>,
    errors: RefCell<Vec<(usize, String)>>,
    elsewhere: RefCell<Vec<ConfigError>>,
    warnings: RefCell<Vec<(usize, String)>>,
    sections: RefCell<Sections>,
    broken: Cell<bool>,
    unreadable: RefCell<BTreeSet<usize>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(source: &'a Source<'a>) -> Self {
        Self {
            source,
            errors: RefCell::default(),
            elsewhere: RefCell::default(),
            warnings: RefCell::default(),
            sections: RefCell::default(),
            broken: Cell::new(false),
            unreadable: RefCell::default(),
        }
    }

    /// Notes that what stands at octet `at` is wrong, with the way out.
    pub(crate) fn wrong(&self, at: usize, message: impl Into<String>) {
        self.errors.borrow_mut().push((at, message.into()));
    }

    /// Notes that what stands at octet `at` can be loaded but will hardly work as meant, with the way out. Place 0 is the
    /// file as a whole.
    pub(crate) fn warn(&self, at: usize, message: impl Into<String>) {
        self.warnings.borrow_mut().push((at, message.into()));
    }

    /// Notes that a line of another file, which this one names, is wrong.
    pub(super) fn wrong_in(&self, file: &str, position: Position, message: impl Into<String>) {
        self.elsewhere.borrow_mut().push(ConfigError::new(file, Some(position), message.into()));
    }

    /// What is known of the tables of the file.
    pub(super) fn sections(&self) -> RefMut<'_, Sections> {
        self.sections.borrow_mut()
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

    /// The warnings in the order of the file; or every error, those of other files behind, if there is one.
    ///
    /// # Errors
    ///
    /// Every mistake.
    pub(super) fn finish(self) -> Result<Vec<ConfigWarning>, ConfigErrors> {
        let sorted = |mut found: Vec<(usize, String)>| {
            found.sort();
            found.dedup();
            found
        };
        let place =
            |(at, message)| ConfigError::new(self.source.name, Some(self.source.position(at)), message);
        let mut here = self.errors.into_inner();
        here.extend(self.sections.into_inner().messages(self.source));
        let here = sorted(here).into_iter().map(place);
        let errors = here.chain(self.elsewhere.into_inner()).collect();
        match ConfigErrors::new(errors) {
            Some(errors) => Err(errors),
            None => {
                let whole = |at| if at == 0 { None } else { Some(self.source.position(at)) };
                let warning = |(at, message)| ConfigError::new(self.source.name, whole(at), message).into();
                Ok(sorted(self.warnings.into_inner()).into_iter().map(warning).collect())
            }
        }
    }
}
