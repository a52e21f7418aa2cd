//! Programs that are to be run: whether this machine has them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::config::report::Report;
use crate::config::table::At;

/// Warns if there is no program at the path `program`, the value of `key`. A name without a slash is looked up when it is
/// run, and may be anywhere.
pub(super) fn warn_if_missing(key: &str, program: &At<String>, report: &Report<'_>) {
    let At { at, value: path } = program;
    if !path.contains('/') {
        return;
    }
    let problem = match std::fs::metadata(Path::new(path)) {
        Err(error) => format!("cannot be run ({error}); install it, or correct the path"),
        Ok(file) if !file.is_file() => "is no file; name a program".to_owned(),
        Ok(file) if file.permissions().mode() & 0o111 == 0 => {
            format!("cannot be executed; run chmod +x {path}")
        }
        Ok(_) => return,
    };
    report.warn(*at, format!("{key} {path:?} {problem}"));
}
