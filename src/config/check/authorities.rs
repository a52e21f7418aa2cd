//! Files of certificates: whether they can be read and have one.

use std::path::Path;

use crate::config::report::Report;

/// Warns if the file at `path`, the value of `ca` at octet `at`, has no certificate for probes to trust.
pub(super) fn warn_if_unusable(path: &Path, at: usize, report: &Report<'_>) {
    let shown = path.display().to_string();
    let problem = match std::fs::read(path) {
        Err(error) => format!("cannot be read ({error}); probes cannot be sent until it can"),
        Ok(octets) if !octets.windows(BEGIN.len()).any(|window| window == BEGIN) => {
            "has no certificate in PEM form; write the certificates of the authorities to it".to_owned()
        }
        Ok(_) => return,
    };
    report.warn(at, format!("ca {shown:?} {problem}"));
}

/// RFC 7468, section 5.1.
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
