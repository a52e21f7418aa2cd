//! Pools of packet buffers (mbufs), one per port.
//!
//! A pool is never freed: frames wait in rings, in other ports' transmit queues and in workers' hands, and each is a
//! bare pointer. Freeing the pool safely would take a count per frame; a balancer's ports live as long as its process.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::ptr;
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

/// What a pool is to be.
pub(super) struct PoolOptions {
    /// No other pool of the process has it.
    pub(super) number: u64,
    /// How many buffers.
    pub(super) mbufs: u32,
    /// Of how many octets each, headroom included.
    pub(super) octets: u16,
    /// The NUMA node it is near; -1: any.
    pub(super) socket: i32,
    /// Whether EAL has no huge pages.
    pub(super) ordinary_pages: bool,
}

// SAFETY: a mempool with DPDK's default handler (a ring for many producers and consumers) may be used by any thread at
// the same time; the per-thread caches belong to DPDK's thread ids. It lives for ever.
unsafe impl Send for DpdkPool {}
// SAFETY: as above; a shared reference gives nothing that a clone does not.
unsafe impl Sync for DpdkPool {}

impl DpdkPool {
    /// Makes a pool. The steps are those of DPDK's own `rte_pktmbuf_pool_create`, but for the flag: on ordinary pages
    /// DPDK would place each buffer in a page of its own, to be contiguous for hardware, and 4096 octets would hold
    /// 2500. What runs on ordinary pages addresses memory as the process does, where all of it is contiguous.
    pub(super) fn create(options: &PoolOptions) -> io::Result<Self> {
        let name = CString::new(format!("evenkeel_pool_{}", options.number))?;
        let flags = if options.ordinary_pages { dpdk_sys::RTE_MEMPOOL_F_NO_IOVA_CONTIG } else { 0 };
        let mut private =
            dpdk_sys::rte_pktmbuf_pool_private { mbuf_data_room_size: options.octets, ..Default::default() };
        // SAFETY: the name is NUL-terminated and copied by the callee; EAL runs, as there is a port.
        let pool = unsafe {
            dpdk_sys::rte_mempool_create_empty(
                name.as_ptr(),
                options.mbufs,
                dpdk_sys::MBUF_STRUCT_OCTETS + u32::from(options.octets),
                cache_frames(options.mbufs),
                PRIVATE_OCTETS,
                options.socket,
                flags,
            )
        };
        if pool.is_null() {
            return Err(last_error());
        }
        // SAFETY: no preconditions; the name returned lives for ever.
        let handler = unsafe { dpdk_sys::rte_mbuf_best_mempool_ops() };
        // SAFETY: the pool is valid and not populated; the handler's name is NUL-terminated.
        let mut result = unsafe { dpdk_sys::rte_mempool_set_ops_byname(pool, handler, ptr::null_mut()) };
        if result == 0 {
            // SAFETY: the pool's private area has room for `private`, which is copied, and its elements for an mbuf
            // and a buffer of that size.
            unsafe { dpdk_sys::rte_pktmbuf_pool_init(pool, (&raw mut private).cast()) };
            // SAFETY: the pool is valid and its handler set.
            result = unsafe { dpdk_sys::rte_mempool_populate_default(pool) };
        }
        if result < 0 {
            // SAFETY: the pool is valid, and none of its elements is in use.
            unsafe { dpdk_sys::rte_mempool_free(pool) };
            return Err(io::Error::from_raw_os_error(-result));
        }
        // SAFETY: the pool is populated, and its private area says how an mbuf of it is laid out.
        unsafe { dpdk_sys::rte_mempool_obj_iter(pool, Some(dpdk_sys::rte_pktmbuf_init), ptr::null_mut()) };
        NonNull::new(pool).map(|pool| Self { pool, mbufs: options.mbufs }).ok_or_else(last_error)
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

/// Of a pool's private area, in which DPDK keeps the layout of its mbufs.
#[expect(clippy::cast_possible_truncation, reason = "eight octets")]
const PRIVATE_OCTETS: u32 = size_of::<dpdk_sys::rte_pktmbuf_pool_private>() as u32;
