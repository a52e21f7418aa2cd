//! A TOML file as a whole: brought to memory, repaired where it is not TOML, and left to a reader that goes on after
//! each mistake.

use std::io::ErrorKind;
use std::path::Path;

use toml::de::DeTable;

use super::error::{ConfigError, ConfigErrors, ConfigWarning};
use super::report::Report;
use super::source::Source;
use super::syntax;
use super::table::Table;

/// A file that has no mistake.
#[derive(Debug)]
pub(crate) struct Document<T> {
    /// Its meaning.
    pub(crate) value: T,
    /// In the order of the file.
    pub(crate) warnings: Vec<ConfigWarning>,
}

/// Reads the file at `path`, which stands in errors as it is given here, with `read`: that returns `None` only after
/// it has reported why. `given_by` is where the operator wrote the path, as `-c`.
///
/// # Errors
///
/// Every mistake in the file, or why it could not be read.
pub(crate) fn load<T>(
    path: &Path,
    given_by: &str,
    read: impl for<'a> FnOnce(Table<'a>, &'a Report<'a>) -> Option<T>,
) -> Result<Document<T>, ConfigErrors> {
    let name = path.display().to_string();
    let whole = |message: String| ConfigErrors::from(ConfigError::new(&name, None, message));
    let octets = std::fs::read(path).map_err(|error| {
        let way_out = match error.kind() {
            ErrorKind::NotFound => format!("check the path after {given_by}"),
            ErrorKind::IsADirectory => "name a file in it".to_owned(),
            ErrorKind::PermissionDenied => {
                "check the owner and mode of the file and of its directories".to_owned()
            }
            _ => "check the path and the file system".to_owned(),
        };
        whole(format!("cannot be read ({error}); {way_out}"))
    })?;
    match std::str::from_utf8(&octets) {
        Ok(text) => parse(&name, text, read),
        Err(error) => {
            let (valid, rest) = octets.split_at(error.valid_up_to());
            let text = String::from_utf8_lossy(valid);
            let position = Source::new(&name, &text).position(text.len());
            let octet = rest.first().copied().unwrap_or_default();
            let message = format!("octet 0x{octet:02x} is not UTF-8; save the file in UTF-8");
            Err(ConfigError::new(&name, Some(position), message).into())
        }
    }
}

/// Reads `text`, which errors say is in `file_name`, with `read`, as [`load`] does.
///
/// # Errors
///
/// Every mistake in the text.
pub(crate) fn parse<T>(
    file_name: &str,
    text: &str,
    read: impl for<'a> FnOnce(Table<'a>, &'a Report<'a>) -> Option<T>,
) -> Result<Document<T>, ConfigErrors> {
    let source = Source::new(file_name, text);
    let report = Report::new(&source);
    let text = syntax::repaired(&source, &report);
    let (tree, _) = DeTable::parse_recoverable(&text);
    let value = read(Table::new("the file", 0, tree.get_ref(), &report), &report);
    let warnings = report.finish()?;
    Ok(Document { value: value.expect("a part is missing only after an error about it"), warnings })
}
