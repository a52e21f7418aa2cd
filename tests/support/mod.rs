//! What several test binaries use.

#[cfg(feature = "dpdk")]
pub(crate) mod dpdk;
