//! A port in memory that costs next to nothing: what arrives is copied from a packet made before, as `net_pcap` does, what
//! leaves is looked at by the [`Traffic`] and gives its buffer back.

use evenkeel::io::{BURST, Burst, Frame, HEADROOM, Port};

use super::packet::{OCTETS, Packet};

/// Where a port's packets come from and go to.
pub(crate) trait Traffic: Send {
    /// Before a burst is asked for.
    fn begin(&mut self) {}

    /// What arrives next; `None` if nothing does now.
    fn next(&mut self) -> Option<Packet>;

    /// What leaves.
    fn sent(&mut self, frames: &[MemoryFrame]);
}

/// See the module.
pub(crate) struct MemoryPort<T> {
    traffic: T,
    /// Frames handed out at a time, at most.
    burst: usize,
    free: Vec<MemoryFrame>,
}

impl<T: Traffic> MemoryPort<T> {
    /// A port that hands out `burst` frames at a time, 1 to [`BURST`].
    pub(crate) fn new(traffic: T, burst: usize) -> Self {
        assert!((1..=BURST).contains(&burst), "a burst has 1 to {BURST} frames");
        // As many as are under way at a time, so that they stay near.
        Self { traffic, burst, free: (0..2 * BURST).map(|_| MemoryFrame::new()).collect() }
    }

    /// Receives and sends at least `packets` packets with nobody between: what the port itself costs.
    #[inline(never)]
    pub(crate) fn idle(&mut self, packets: u64) {
        let mut burst = Burst::new();
        let mut passed = 0;
        while passed < packets {
            self.receive(&mut burst);
            passed += self.transmit(&mut burst) as u64;
        }
    }
}

impl<T: Traffic> Port for MemoryPort<T> {
    type Frame = MemoryFrame;

    #[inline]
    fn receive(&mut self, burst: &mut Burst<MemoryFrame>) {
        self.traffic.begin();
        for _ in 0..self.burst {
            let Some(packet) = self.traffic.next() else { return };
            // Short only of what left by another worker's port.
            let mut frame = self.free.pop().unwrap_or_else(MemoryFrame::new);
            frame.0.bytes[HEADROOM..HEADROOM + 64].copy_from_slice(&packet.0);
            frame.0.octets = OCTETS;
            burst.push(frame);
        }
    }

    #[inline]
    fn transmit(&mut self, burst: &mut Burst<MemoryFrame>) -> usize {
        let sent = burst.len();
        self.traffic.sent(burst);
        while let Some(frame) = burst.pop() {
            self.free.push(frame);
        }
        sent
    }

    fn allocate(&mut self) -> Option<MemoryFrame> {
        let mut frame = self.free.pop()?;
        frame.0.octets = 0;
        Some(frame)
    }
}

/// A frame of one small buffer, which no scenario here lengthens at the front.
pub(crate) struct MemoryFrame(Box<Buffer>);

/// Aligned as those of DPDK are: no two of them in one cache line, as they wander from worker to worker.
#[repr(C, align(128))]
struct Buffer {
    bytes: [u8; 256],
    octets: usize,
}

impl MemoryFrame {
    #[cold]
    fn new() -> Self {
        Self(Box::new(Buffer { octets: 0, bytes: [0; 256] }))
    }
}

impl Frame for MemoryFrame {
    #[inline]
    fn head(&self) -> &[u8] {
        &self.0.bytes[HEADROOM..][..self.0.octets]
    }

    #[inline]
    fn head_mut(&mut self) -> &mut [u8] {
        &mut self.0.bytes[HEADROOM..][..self.0.octets]
    }

    #[inline]
    fn octets(&self) -> usize {
        self.0.octets
    }

    #[inline]
    fn truncate(&mut self, octets: usize) {
        self.0.octets = self.0.octets.min(octets);
    }

    fn prepend(&mut self, _: usize) -> bool {
        false
    }

    fn trim_front(&mut self, octets: usize) {
        let octets = octets.min(self.0.octets);
        self.head_mut().copy_within(octets.., 0);
        self.0.octets -= octets;
    }

    fn append(&mut self, bytes: &[u8]) -> bool {
        let end = HEADROOM + self.0.octets;
        let Some(room) = self.0.bytes.get_mut(end..end + bytes.len()) else { return false };
        room.copy_from_slice(bytes);
        self.0.octets += bytes.len();
        true
    }

    fn prefetch(&self) {}

    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(self.head())
    }
}
