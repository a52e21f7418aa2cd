//! The part of DPDK that evenkeel calls: generated bindings, no logic.
//!
//! What is bound, and from which DPDK release on, is said in `build.rs` and `wrapper.h`. Safety contracts are those of
//! DPDK's own reference; the safe side is `evenkeel::io::dpdk`.

#![allow(missing_docs, reason = "DPDK's own reference documents what is generated here")]
#![allow(non_camel_case_types, reason = "the names are DPDK's")]
#![allow(
    unused_qualifications,
    clippy::all,
    clippy::use_self,
    reason = "generated code is not written by hand"
)]
#![allow(clippy::cast_possible_truncation, reason = "bindgen's accessors of bit fields cut on purpose")]
#![allow(clippy::allow_attributes_without_reason, reason = "bindgen gives none")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "bindgen's accessors of bit fields explain nothing")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "bindgen's accessors of bit fields do that")]

/// A packet buffer; its fields are found by the `MBUF_` offsets.
#[repr(C)]
pub struct rte_mbuf {
    _opaque: [u8; 0],
}

/// A pool of packet buffers.
#[repr(C)]
pub struct rte_mempool {
    _opaque: [u8; 0],
}

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
