//! Pools of packet buffers (mbufs), one per port.
//!
//! A pool is never freed: frames wait in rings, in other ports' transmit queues and in workers' hands, and each is a
//! bare pointer. Freeing the pool safely would take a count per frame; a balancer's ports live as long as its process.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::ptr::NonNull;

use dpdk_sys::rte_mempool;

use super::DpdkFrame;
use super::eal::last_error;
use crate::io::FramePool;

/// A port's packet buffers, for threads that are not its workers. Cheap to clone; every clone is the same pool.
#[derive(Clone)]
pub struct DpdkPool {
    pool: NonNull<rte_mempool>,
    mbufs: u32,
}

// SAFETY: a mempool with DPDK's default handler (a ring for many producers and consumers) may be used by any thread at
// the same time; the per-thread caches belong to DPDK's thread ids. It lives for ever.
unsafe impl Send for DpdkPool {}
// SAFETY: as above; a shared reference gives nothing that a clone does not.
unsafe impl Sync for DpdkPool {}

impl DpdkPool {
    /// A pool of `mbufs` buffers of `octets` octets each, headroom included, near the memory of `socket` (-1: any).
    /// No other pool of the process has that `number`.
    pub(super) fn create(number: u64, mbufs: u32, octets: u16, socket: i32) -> io::Result<Self> {
        let name = CString::new(format!("evenkeel_pool_{number}"))?;
        // SAFETY: the name is NUL-terminated and copied by the callee; EAL runs, as there is a port.
        let pool = unsafe {
            dpdk_sys::rte_pktmbuf_pool_create(name.as_ptr(), mbufs, cache_frames(mbufs), 0, octets, socket)
        };
        NonNull::new(pool).map(|pool| Self { pool, mbufs }).ok_or_else(last_error)
    }

    /// Buffers in all.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.mbufs
    }

    /// Buffers in use: in receive and transmit rings, in queues and in hands. Walks the per-thread caches, so not for
    /// every packet; a snapshot while others allocate.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        // SAFETY: the pool lives for ever; the count only reads.
        unsafe { dpdk_sys::rte_mempool_in_use_count(self.pool.as_ptr()) }
    }

    pub(super) const fn as_ptr(&self) -> *mut rte_mempool {
        self.pool.as_ptr()
    }
}

impl FramePool for DpdkPool {
    type Frame = DpdkFrame;

    fn allocate(&self) -> Option<DpdkFrame> {
        // SAFETY: the pool lives for ever, and any thread may take from it.
        let mbuf = unsafe { dpdk_sys::rte_pktmbuf_alloc(self.pool.as_ptr()) };
        // SAFETY: not null means a fresh mbuf, empty, with headroom, whose only owner is this call.
        NonNull::new(mbuf).map(|mbuf| unsafe { DpdkFrame::from_raw(mbuf) })
    }
}

impl fmt::Debug for DpdkPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DpdkPool").field("mbufs", &self.mbufs).field("in_use", &self.in_use()).finish()
    }
}

/// How many buffers a thread keeps for itself in a pool of `mbufs`; DPDK wants it at most two thirds of the pool.
fn cache_frames(mbufs: u32) -> u32 {
    CACHE.min(mbufs * 2 / 3)
}

/// Buffers that each thread keeps for itself: DPDK's applications use 250 to 256, eight bursts; it bounds what sits
/// unused, and moves one burst in eight through the shared ring.
pub(super) const CACHE: u32 = 256;
