//! `src/shared/publish.rs`, compiled with the primitives of loom.

#[path = "../../../src/shared/publish.rs"]
pub mod publish;

mod sync {
    pub(super) use loom::sync::atomic::{AtomicPtr, AtomicU64, Ordering, fence};
    pub(super) use loom::sync::{Arc, Mutex};
}
