//! What is wrong with a configuration: errors and warnings with their place and the way out.

use std::fmt;

/// One mistake in a configuration. Prints as `file:line:column: what is wrong; how to fix it`, and without line and
/// column if the file as a whole is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    file: String,
    position: Option<Position>,
    message: String,
}

/// A place in a file. The field order is the order of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters; a tab is one.
    pub column: usize,
}

impl ConfigError {
    pub(super) fn new(file: &str, position: Option<Position>, message: String) -> Self {
        Self { file: file.to_owned(), position, message }
    }

    /// The file, as the operator gave it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Where it is; `None`: the file as a whole.
    #[must_use]
    pub const fn position(&self) -> Option<Position> {
        self.position
    }

    /// What is wrong and how to fix it, separated by a semicolon.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(Position { line, column }) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// A part of a configuration that can be loaded, but will hardly work as meant. Prints as a [`ConfigError`] with `warning`
/// behind the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigWarning(ConfigError);

impl ConfigWarning {
    /// A warning about the machine instead of a place in the file.
    #[must_use]
    pub fn of_machine(message: String) -> Self {
        Self(ConfigError::new("this machine", None, message))
    }

    /// The file, as the operator gave it.
    #[must_use]
    pub fn file(&self) -> &str {
        self.0.file()
    }

    /// As [`ConfigError::position`].
    #[must_use]
    pub const fn position(&self) -> Option<Position> {
        self.0.position()
    }

    /// As [`ConfigError::message`].
    #[must_use]
    pub fn message(&self) -> &str {
        self.0.message()
    }
}

impl From<ConfigError> for ConfigWarning {
    fn from(found: ConfigError) -> Self {
        Self(found)
    }
}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warning = format!("warning: {}", self.0.message);
        ConfigError { message: warning, ..self.0.clone() }.fmt(f)
    }
}

/// Every mistake in a configuration, at least one, in the order of the file. Prints one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// `None` if `errors` is empty.
    pub(super) fn new(errors: Vec<ConfigError>) -> Option<Self> {
        if errors.is_empty() { None } else { Some(Self(errors)) }
    }

    /// These and then `others`, of other files.
    pub(crate) fn and(mut self, others: impl IntoIterator<Item = Self>) -> Self {
        self.0.extend(others.into_iter().flat_map(|other| other.0));
        self
    }

    /// The mistakes, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
