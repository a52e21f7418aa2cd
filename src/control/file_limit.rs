//! How many files the process may have open.

use rustix::process::Resource;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

/// Raises it as far as may be: every probe under way and every client needs a file descriptor, and the usual limit of 1024
/// is below the number of backends there may be.
pub(super) fn raise() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "file_limit_not_raised");
    }
}
