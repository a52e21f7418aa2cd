//! A worker's queue pair on a device.
//!
//! One call into the driver per burst and nothing per frame: the driver writes its mbuf pointers straight into the
//! burst and takes them from there, as a [`DpdkFrame`] is nothing but such a pointer.
//!
//! No flag of a received mbuf has to be cleared before it is sent: those that a driver sets on receive and those that
//! ask for something on transmit are different bits, and we set none.

use std::ptr;
use std::sync::Arc;

use dpdk_sys::rte_mbuf;

use super::DpdkFrame;
use super::DpdkPool;
use super::device::OpenPort;
use crate::io::Burst;
use crate::io::FramePool;
use crate::io::Port;

/// One worker's view of a device: a receive queue, a transmit queue, each only if the device has one for this worker.
#[derive(Debug)]
pub struct DpdkPort {
    rx_queue: Option<u16>,
    tx_queue: Option<u16>,
    pool: DpdkPool,
    /// Keeps the device running.
    device: Arc<OpenPort>,
}

impl DpdkPort {
    /// The caller gives each queue of the device to one port at most.
    pub(super) const fn new(
        device: Arc<OpenPort>,
        pool: DpdkPool,
        rx_queue: Option<u16>,
        tx_queue: Option<u16>,
    ) -> Self {
        Self { rx_queue, tx_queue, pool, device }
    }

    /// Whether this worker receives on the device; if not, [`receive`](Port::receive) brings nothing.
    #[must_use]
    pub const fn has_receive(&self) -> bool {
        self.rx_queue.is_some()
    }

    /// Whether this worker sends on the device; if not, [`transmit`](Port::transmit) accepts nothing, and frames go
    /// to a worker that does.
    #[must_use]
    pub const fn has_transmit(&self) -> bool {
        self.tx_queue.is_some()
    }
}

impl Port for DpdkPort {
    type Frame = DpdkFrame;

    #[inline]
    fn receive(&mut self, burst: &mut Burst<DpdkFrame>) {
        let Some(queue) = self.rx_queue else { return };
        let held = burst.len();
        let room = count(burst.remaining_capacity());
        let spare = burst.as_mut_ptr().wrapping_add(held).cast::<*mut rte_mbuf>();
        // SAFETY: the device runs (`device` is held) and has the queue, which no other DpdkPort has, and `&mut self`
        // keeps it to one thread; `spare` has room for `room` pointers within the burst's own array, and a DpdkFrame
        // is laid out as one.
        let received = unsafe { dpdk_sys::rte_eth_rx_burst(self.device.port(), queue, spare, room) };
        // SAFETY: the driver wrote `received` <= `room` mbufs behind the first `held` and has given them up: each is a
        // valid frame.
        unsafe { burst.set_len(held + usize::from(received)) };
    }

    #[inline]
    fn transmit(&mut self, burst: &mut Burst<DpdkFrame>) -> usize {
        let Some(queue) = self.tx_queue else { return 0 };
        let held = burst.len();
        let frames = burst.as_mut_ptr();
        // SAFETY: the device runs and has the queue, which no other DpdkPort has, and `&mut self` keeps it to one
        // thread; the burst holds `held` frames, laid out as pointers to mbufs.
        let sent =
            unsafe { dpdk_sys::rte_eth_tx_burst(self.device.port(), queue, frames.cast(), count(held)) };
        let sent = usize::from(sent).min(held);
        let left = held - sent;
        // SAFETY: the first `sent` frames are the driver's now and must not be dropped here; `left` <= capacity, and
        // the next statement moves the others to the front, which nothing can interrupt.
        unsafe { burst.set_len(left) };
        if left > 0 {
            let kept = frames.wrapping_add(sent);
            // SAFETY: source and destination lie within the burst's array and hold `left` frames from `kept` on; what
            // is overwritten was given to the driver.
            unsafe { ptr::copy(kept, frames, left) };
        }
        sent
    }

    #[inline]
    fn allocate(&mut self) -> Option<DpdkFrame> {
        self.pool.allocate()
    }
}

/// Of frames in a burst.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a burst holds at most BURST frames")]
const fn count(frames: usize) -> u16 {
    const { assert!(crate::io::BURST <= u16::MAX as usize) };
    frames as u16
}
