//! The primitives that `publish` is made of. `tests/publish_model` puts those of loom in their place.

pub(super) use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering, fence};
pub(super) use std::sync::{Arc, Mutex};
