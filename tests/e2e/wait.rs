//! Waiting for conditions, never for time.

use std::thread;
use std::time::Duration;
use std::time::Instant;

/// Returns once `condition` holds; fails the test, with `explain`, if it does not within `bound`. Returns how long it
/// took.
pub(crate) fn wait_until(
    what: &str,
    bound: Duration,
    mut condition: impl FnMut() -> bool,
    explain: impl Fn() -> String,
) -> Duration {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < bound, "not within {bound:?}: {what}\n{}", explain());
        thread::sleep(POLL);
    }
    began.elapsed()
}

/// Between two looks.
pub(crate) const POLL: Duration = Duration::from_millis(20);
