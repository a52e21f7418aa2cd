//! A frame in DPDK's packet buffers (mbufs).
//!
//! ```text
//!            buf_addr     data_off           data_len               buf_len
//! mbuf --------> | headroom ... | the frame's octets | tailroom ......|
//!   next ------> the following part, of frames larger than a buffer; pkt_len counts all parts
//! ```
//! The fields are read in place, by the offsets that the C compiler told `dpdk_sys`: an accessor is an inline load,
//! not a call. Invariant: the mbuf, all of its parts and their buffers have no other owner (we never clone an mbuf).

use std::fmt;
use std::ptr;
use std::ptr::NonNull;
use std::slice;

use dpdk_sys::rte_mbuf;

use crate::io::Frame;

/// A frame, received or allocated; dropping it gives its buffer back.
#[repr(transparent)]
pub struct DpdkFrame {
    mbuf: NonNull<rte_mbuf>,
}

// SAFETY: the only owner of its mbuf, which any thread may write and free: pools are safe for many threads and live for
// ever.
unsafe impl Send for DpdkFrame {}

impl DpdkFrame {
    /// Takes over an mbuf.
    ///
    /// # Safety
    /// The mbuf, its parts and their buffers are valid and have no other owner, and `pkt_len` counts all parts.
    pub(super) const unsafe fn from_raw(mbuf: NonNull<rte_mbuf>) -> Self {
        Self { mbuf }
    }

    const fn first(&self) -> Segment {
        Segment { mbuf: self.mbuf }
    }

    fn last(&self) -> Segment {
        self.segments().last().expect("a frame has at least one part")
    }

    /// The parts, in order.
    fn segments(&self) -> impl Iterator<Item = Segment> {
        std::iter::successors(Some(self.first()), |segment| segment.next())
    }

    fn set_octets(&mut self, octets: u32) {
        self.first().set(dpdk_sys::MBUF_PKT_LEN, octets);
    }

    /// [`truncate`](Frame::truncate) for a frame of several parts: `octets` is less than all of them hold.
    #[cold]
    fn truncate_parts(&mut self, octets: usize) {
        let mut left = octets;
        let mut kept: u16 = 1;
        let mut segment = self.first();
        while left > usize::from(segment.octets()) {
            left -= usize::from(segment.octets());
            segment = segment.next().expect("the parts hold more than the frame keeps");
            kept += 1;
        }
        segment.set_octets(u16::try_from(left).expect("at most the octets of a part, which are a u16"));
        let rest = segment.next();
        segment.set(dpdk_sys::MBUF_NEXT, ptr::null_mut::<rte_mbuf>());
        self.first().set(dpdk_sys::MBUF_NB_SEGS, kept);
        if let Some(rest) = rest {
            // SAFETY: the chain from `rest` on was this frame's, which no longer leads to it; no other owner.
            unsafe { dpdk_sys::rte_pktmbuf_free(rest.mbuf.as_ptr()) };
        }
    }
}

impl Frame for DpdkFrame {
    #[inline]
    fn head(&self) -> &[u8] {
        let segment = self.first();
        // SAFETY: the first part's octets are initialised memory within its buffer, which this frame alone owns and
        // which is borrowed as long as the slice.
        unsafe { slice::from_raw_parts(segment.data(), usize::from(segment.octets())) }
    }

    #[inline]
    fn head_mut(&mut self) -> &mut [u8] {
        let segment = self.first();
        // SAFETY: as in `head`; the frame is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(segment.data(), usize::from(segment.octets())) }
    }

    #[inline]
    fn octets(&self) -> usize {
        self.first().get::<u32>(dpdk_sys::MBUF_PKT_LEN) as usize
    }

    #[inline]
    fn truncate(&mut self, octets: usize) {
        let all = self.octets();
        if octets >= all {
            return;
        }
        if all == usize::from(self.first().octets()) {
            self.first().set_octets(low_u16(octets));
        } else {
            self.truncate_parts(octets);
        }
        self.set_octets(low_u32(octets));
    }

    #[inline]
    fn prepend(&mut self, octets: usize) -> bool {
        let segment = self.first();
        let headroom = segment.data_offset();
        if octets > usize::from(headroom) {
            return false;
        }
        // Both stay within the buffer, whose size is a u16.
        segment.set(dpdk_sys::MBUF_DATA_OFF, headroom - low_u16(octets));
        segment.set_octets(segment.octets() + low_u16(octets));
        self.set_octets(low_u32(self.octets() + octets));
        true
    }

    #[inline]
    fn trim_front(&mut self, octets: usize) {
        let segment = self.first();
        let cut = octets.min(usize::from(segment.octets()));
        segment.set(dpdk_sys::MBUF_DATA_OFF, segment.data_offset() + low_u16(cut));
        segment.set_octets(segment.octets() - low_u16(cut));
        self.set_octets(low_u32(self.octets() - cut));
    }

    fn append(&mut self, bytes: &[u8]) -> bool {
        let segment = self.last();
        if bytes.len() > segment.tailroom() {
            return false;
        }
        let end = segment.data().wrapping_add(usize::from(segment.octets()));
        // SAFETY: the source is a slice; the destination is the tailroom, which is large enough and owned by this
        // frame alone, so that the two do not overlap.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), end, bytes.len()) };
        segment.set_octets(segment.octets() + low_u16(bytes.len()));
        self.set_octets(low_u32(self.octets() + bytes.len()));
        true
    }

    #[inline]
    fn prefetch(&self) {
        prefetch_line(self.first().data());
    }

    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.segments().map(|segment| {
            // SAFETY: a part's octets are initialised memory within its buffer, which this frame alone owns and which is
            // borrowed as long as the slice.
            unsafe { slice::from_raw_parts(segment.data(), usize::from(segment.octets())) }
        })
    }
}

impl Drop for DpdkFrame {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the mbuf has no other owner and is not used after this; its pool lives for ever.
        unsafe { dpdk_sys::rte_pktmbuf_free(self.mbuf.as_ptr()) };
    }
}

impl fmt::Debug for DpdkFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DpdkFrame")
            .field("octets", &self.octets())
            .field("segments", &self.segments().count())
            .finish()
    }
}

/// One mbuf of a live frame; private to this file, and never kept beyond the call that made it.
#[derive(Clone, Copy)]
struct Segment {
    mbuf: NonNull<rte_mbuf>,
}

impl Segment {
    #[inline]
    fn get<T: Copy>(self, offset: u32) -> T {
        let field = self.mbuf.as_ptr().wrapping_byte_add(offset as usize).cast::<T>();
        // SAFETY: the mbuf is that of a live frame; the offset is one of `dpdk_sys::MBUF_*`, named for a field of type
        // T by every caller in this file, aligned as the C compiler laid it out.
        unsafe { field.read() }
    }

    #[inline]
    fn set<T: Copy>(self, offset: u32, value: T) {
        let field = self.mbuf.as_ptr().wrapping_byte_add(offset as usize).cast::<T>();
        // SAFETY: as in `get`; callers borrow the frame exclusively.
        unsafe { field.write(value) };
    }

    #[inline]
    fn data(self) -> *mut u8 {
        self.get::<*mut u8>(dpdk_sys::MBUF_BUF_ADDR).wrapping_add(usize::from(self.data_offset()))
    }

    #[inline]
    fn data_offset(self) -> u16 {
        self.get(dpdk_sys::MBUF_DATA_OFF)
    }

    #[inline]
    fn octets(self) -> u16 {
        self.get(dpdk_sys::MBUF_DATA_LEN)
    }

    #[inline]
    fn set_octets(self, octets: u16) {
        self.set(dpdk_sys::MBUF_DATA_LEN, octets);
    }

    fn tailroom(self) -> usize {
        let buffer: u16 = self.get(dpdk_sys::MBUF_BUF_LEN);
        usize::from(buffer) - usize::from(self.data_offset()) - usize::from(self.octets())
    }

    fn next(self) -> Option<Self> {
        NonNull::new(self.get::<*mut rte_mbuf>(dpdk_sys::MBUF_NEXT)).map(|mbuf| Self { mbuf })
    }
}

/// For a number of octets within one buffer, whose size DPDK keeps in a u16.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "callers pass what they have compared with a u16")]
const fn low_u16(octets: usize) -> u16 {
    octets as u16
}

/// For a number of octets within one frame, which DPDK keeps in a u32.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "callers pass what was a u32, changed by less than a buffer"
)]
const fn low_u32(octets: usize) -> u32 {
    octets as u32
}

#[inline]
#[cfg(target_arch = "x86_64")]
fn prefetch_line(address: *const u8) {
    use std::arch::x86_64::_MM_HINT_T0;
    use std::arch::x86_64::_mm_prefetch;
    // SAFETY: a prefetch has no effect but on the caches, for any address; SSE is part of x86_64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}

#[inline]
#[cfg(not(target_arch = "x86_64"))]
const fn prefetch_line(_address: *const u8) {}
