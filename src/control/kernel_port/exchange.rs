//! The kernel port's loop: frames from the workers' ring to the TAPs, frames from the TAPs to the workers' rings.
//!
//! Rings cannot be waited on, so the loop looks at them after every wait: a TAP that becomes readable ends the wait
//! at once, a punted frame waits for at most [`PAUSE_IDLE`]. Each source has a budget per turn, so that none starves
//! another, and nothing a frame contains can stop the loop.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::Exit;
use super::KernelCounters;
use super::KernelPort;
use super::KernelPortError;
use super::Outbox;
use super::counters::SideCounters;
use super::tap::Tap;
use crate::io::Frame;
use crate::io::FramePool;
use crate::model::PortId;
use crate::shared::PuntClass;
use crate::shared::rings::FrameRings;
use crate::shared::rings::PortFrame;

/// A TAP with the way out of its frames.
struct Side<P> {
    tap: Tap,
    exit: Exit<P>,
    /// Deleted under us: not read, not waited for.
    lost: bool,
}

/// Everything that the thread of the kernel port works on.
pub(super) struct Exchange<P: FramePool> {
    sides: Vec<Side<P>>,
    rings: FrameRings<P::Frame>,
    outbox: Outbox,
    counters: Arc<KernelCounters>,
    /// Where frames are read to, and where frames of several parts are joined.
    buffer: Vec<u8>,
    joined: Vec<u8>,
}

impl<P: FramePool> Exchange<P> {
    pub(super) fn new(
        kernel_port: KernelPort,
        rings: FrameRings<P::Frame>,
        mut exits: Vec<Exit<P>>,
    ) -> Result<Self, KernelPortError> {
        let mut sides = Vec::new();
        for tap in kernel_port.taps {
            let workers = rings.injections.len();
            let exit = exits.iter().position(|e| e.port == tap.port && e.transmitter.index() < workers);
            let Some(exit) = exit else {
                return Err(KernelPortError::NoExit { interface: tap.interface, port: tap.port });
            };
            sides.push(Side { tap, exit: exits.swap_remove(exit), lost: false });
        }
        Ok(Self {
            sides,
            rings,
            outbox: kernel_port.outbox,
            counters: kernel_port.counters,
            buffer: vec![0; LARGEST_FRAME],
            joined: Vec::new(),
        })
    }

    /// Exchanges frames until `stop`.
    pub(super) fn run(mut self, stop: &AtomicBool) {
        let mut last_busy = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            if self.turn() {
                last_busy = Instant::now();
            } else {
                let busy_lately = last_busy.elapsed() < BUSY_LATELY;
                self.wait(if busy_lately { PAUSE_BUSY } else { PAUSE_IDLE });
            }
        }
    }

    /// One pass over all sources; whether any had something.
    fn turn(&mut self) -> bool {
        let mut moved = false;
        for class in PuntClass::ALL {
            for port in self.rings.punts.ports() {
                for _ in 0..PUNTS_PER_RING {
                    let Some(punt) = self.rings.punts.pop(class, port) else { break };
                    moved = true;
                    self.deliver(punt);
                }
            }
        }
        for index in 0..self.sides.len() {
            for _ in 0..READS_PER_TURN {
                let Some(octets) = self.read(index) else { break };
                moved = true;
                let counters = self.counters.side(index);
                if self.sides[index].inject(&self.rings, &self.buffer[..octets], counters) {
                    counters.from_kernel.add_one();
                }
            }
        }
        for _ in 0..ORIGINATED_PER_TURN {
            let Some((port, frame)) = self.outbox.frames.pop() else { break };
            moved = true;
            self.originate(port, &frame);
        }
        moved
    }

    fn deliver(&mut self, PortFrame { port, frame }: PortFrame<P::Frame>) {
        let Some(index) = self.side_of(port) else { return self.counters.stray.add_one() };
        let whole = if frame.head().len() == frame.octets() {
            frame.head()
        } else {
            frame.copy_to(&mut self.joined);
            &self.joined
        };
        let counters = self.counters.side(index);
        match self.sides[index].tap.write(whole) {
            Ok(()) => counters.to_kernel.add_one(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => counters.tap_full.add_one(),
            // EIO: the interface is down; EINVAL: no Ethernet header; EBADFD: the interface is gone.
            Err(_) => counters.tap_error.add_one(),
        }
    }

    /// Reads the next frame of a side into `buffer`.
    fn read(&mut self, index: usize) -> Option<usize> {
        let side = &self.sides[index];
        // Any error ends this side's turn: there is no frame, or, if the interface is gone, `wait` finds out.
        if side.lost { None } else { side.tap.read(&mut self.buffer).ok() }
    }

    fn originate(&self, port: PortId, frame: &[u8]) {
        let Some(index) = self.side_of(port) else { return self.counters.stray.add_one() };
        let counters = self.counters.side(index);
        if self.sides[index].inject(&self.rings, frame, counters) {
            counters.originated.add_one();
        }
    }

    /// Linear: there are a handful of ports.
    fn side_of(&self, port: PortId) -> Option<usize> {
        self.sides.iter().position(|side| side.tap.port == port)
    }

    /// Waits until a TAP is readable, at most for `pause`.
    fn wait(&mut self, pause: Duration) {
        let watched: Vec<usize> = (0..self.sides.len()).filter(|index| !self.sides[*index].lost).collect();
        let watch = |index: &usize| PollFd::from_borrowed_fd(self.sides[*index].tap.as_fd(), PollFlags::IN);
        let mut fds: Vec<PollFd<'_>> = watched.iter().map(watch).collect();
        let timeout = Timespec { tv_sec: 0, tv_nsec: pause.subsec_nanos().into() };
        // A signal or a shortage of memory ends the wait early, which does no harm.
        let _ = rustix::event::poll(&mut fds, Some(&timeout));
        // A TAP is always writable and never hangs up; an error means that the interface has been deleted, and
        // waiting for it would return at once for ever.
        let gone = |fd: &PollFd<'_>| fd.revents().intersects(PollFlags::ERR | PollFlags::NVAL);
        let gone: Vec<usize> =
            std::iter::zip(watched, &fds).filter(|(_, fd)| gone(fd)).map(|(i, _)| i).collect();
        for index in gone {
            let side = &mut self.sides[index];
            side.lost = true;
            self.counters.side(index).lost.store(true, Ordering::Relaxed);
            tracing::error!(
                "kernel_interface_lost interface={} fix=\"restart to get it back\"",
                side.tap.interface
            );
        }
    }
}

impl<P: FramePool> Side<P> {
    /// Gives a copy of `bytes` to the worker that transmits on this port; false, and counted, if it was lost.
    fn inject(&self, rings: &FrameRings<P::Frame>, bytes: &[u8], counters: &SideCounters) -> bool {
        let Some(mut frame) = self.exit.pool.allocate() else {
            counters.no_buffer.add_one();
            return false;
        };
        if !frame.append(bytes) {
            counters.oversized.add_one();
            return false;
        }
        let injection = PortFrame { port: self.exit.port, frame };
        let accepted = rings.injections[self.exit.transmitter.index()].push(injection).is_ok();
        if !accepted {
            counters.ring_full.add_one();
        }
        accepted
    }
}

/// A TAP hands out at most an IP packet of 65,535 octets, an Ethernet header and two tags.
const LARGEST_FRAME: usize = 65_535 + 14 + 8;

/// Budgets of a turn. Writing a frame costs about a microsecond: with two ports a turn stays below a millisecond.
const PUNTS_PER_RING: usize = 64;
const READS_PER_TURN: usize = 64;
const ORIGINATED_PER_TURN: usize = 32;

/// The longest time that a punted frame waits while traffic flows, and while it does not: 500 wake-ups a second are
/// not measurable in a load average, and 2 ms is no time to the protocols that live here.
const PAUSE_BUSY: Duration = Duration::from_micros(500);
const PAUSE_IDLE: Duration = Duration::from_millis(2);

/// How long after a frame traffic counts as flowing.
const BUSY_LATELY: Duration = Duration::from_millis(50);
