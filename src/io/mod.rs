//! Frames and ports: all that the rest of the program knows of a network card.
//!
//! A worker sees each port through its own [`Port`], one queue pair, and owns every [`Frame`] it received until it
//! gives it to a port, to a ring, or back to its pool by dropping it. Implementations: [`mem`] for tests, replay and
//! benchmarks, `dpdk` for everything that DPDK drives; [`fault`] makes any of them fail.

#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod fault;
pub mod mem;
pub mod pcap;

use std::ops::Range;

use arrayvec::ArrayVec;

/// The largest number of frames handled in one pass: what DPDK's drivers and applications are tuned for, and small
/// enough that a burst's headers stay in the first-level cache.
pub const BURST: usize = 32;

/// Up to [`BURST`] frames, in order of arrival.
pub type Burst<F> = ArrayVec<F, BURST>;

/// Bytes in front of a received frame that [`Frame::prepend`] can use (DPDK's `RTE_PKTMBUF_HEADROOM`).
pub const HEADROOM: usize = 128;

/// One Ethernet frame, from its destination address to its last payload byte (no FCS). Dropping it gives its memory
/// back to the pool it came from; that never blocks and never calls the allocator.
pub trait Frame: Send + 'static {
    /// The first contiguous part: at least every header, and the whole frame unless it is larger than a buffer. Workers
    /// drop a frame whose headers are not all in it (`frame_truncated`).
    fn head(&self) -> &[u8];

    /// [`head`](Self::head), to write to.
    fn head_mut(&mut self) -> &mut [u8];

    /// Octets in the whole frame, all parts together.
    fn octets(&self) -> usize;

    /// Makes the frame `octets` long by cutting its end; no effect if it is not longer.
    fn truncate(&mut self, octets: usize);

    /// Moves the start `octets` to the front; the new bytes hold anything. False, and nothing changed, if the
    /// headroom is too small.
    fn prepend(&mut self, octets: usize) -> bool;

    /// Cuts `octets` from the start, at most to the end of the first part.
    fn trim_front(&mut self, octets: usize);

    /// Appends `bytes` to the end; false, and nothing changed, if they do not fit.
    fn append(&mut self, bytes: &[u8]) -> bool;

    /// Asks the processor to bring the first bytes near; no effect on the frame.
    fn prefetch(&self);

    /// The parts, in order.
    fn parts(&self) -> impl Iterator<Item = &[u8]>;

    /// Writes every byte, all parts in order, to `out`, which is emptied first.
    fn copy_to(&self, out: &mut Vec<u8>) {
        out.clear();
        for part in self.parts() {
            out.extend_from_slice(part);
        }
    }

    /// Appends the octets of `range`, which may lie in several parts, to the end of `to`. False if they do not fit, or are
    /// not all there; `to` may have some of them then.
    fn append_to(&self, range: Range<usize>, to: &mut Self) -> bool
    where
        Self: Sized,
    {
        let mut at = 0;
        for part in self.parts() {
            let end = at + part.len();
            let wanted = range.start.max(at)..range.end.min(end);
            if wanted.start < wanted.end && !to.append(&part[wanted.start - at..wanted.end - at]) {
                return false;
            }
            at = end;
        }
        range.end <= at
    }
}

/// A worker's view of a port: one receive and one transmit queue that no other thread uses.
pub trait Port: Send {
    /// The frames of this kind of port.
    type Frame: Frame;

    /// Appends what has arrived to `burst`, up to its capacity. Returns at once.
    fn receive(&mut self, burst: &mut Burst<Self::Frame>);

    /// Sends from the front of `burst` what the queue accepts, removes it and returns the number of frames; the rest
    /// stays in the burst.
    fn transmit(&mut self, burst: &mut Burst<Self::Frame>) -> usize;

    /// An empty frame with headroom to put an answer in; `None` when the pool is empty.
    fn allocate(&mut self) -> Option<Self::Frame>;
}

/// A source of empty frames for threads other than workers (the kernel port).
pub trait FramePool: Send + 'static {
    /// The frames of the pool.
    type Frame: Frame;

    /// An empty frame with headroom; `None` when the pool is empty.
    fn allocate(&self) -> Option<Self::Frame>;
}
