//! The unit tests of `src/shared/publish.rs` by themselves, so that Miri can run them: it cannot build the whole program.

#[path = "../../../src/shared/publish.rs"]
#[expect(dead_code, unreachable_pub, reason = "the program uses more of it than its tests do")]
mod publish;

mod sync {
    pub(super) use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering, fence};
    pub(super) use std::sync::{Arc, Mutex};
}
