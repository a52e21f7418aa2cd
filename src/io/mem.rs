//! A port in memory, for scenarios, properties, fuzzing, replay and benchmarks.
//!
//! Both ends are queues: a test pushes frames into [`Wire::inbound`] and takes what the worker sent from
//! [`Wire::outbound`]. Frames come from a fixed [`Pool`] and return to it when dropped, so that a turn calls no
//! allocator here either, and a test sees a leak as a pool that does not fill up again.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::{Burst, Frame, FramePool, HEADROOM, Port};

/// A fixed number of buffers of one size.
#[derive(Clone, Debug)]
pub struct Pool {
    free: Arc<ArrayQueue<Box<Buffer>>>,
}

#[derive(Debug)]
struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// The following part, of a frame larger than a buffer, and the octets of all that follow.
    next: Option<Box<Self>>,
    behind: usize,
}

impl Buffer {
    const fn octets(&self) -> usize {
        self.end - self.start
    }
}

impl Pool {
    /// `buffers` buffers, each for frames of up to `octets` octets.
    #[must_use]
    pub fn new(buffers: usize, octets: usize) -> Self {
        let free = ArrayQueue::new(buffers.max(1));
        for _ in 0..buffers {
            let bytes = vec![0; HEADROOM + octets].into_boxed_slice();
            let buffer = Box::new(Buffer { bytes, start: HEADROOM, end: HEADROOM, next: None, behind: 0 });
            free.push(buffer).expect("the queue has room for every buffer of the pool");
        }
        Self { free: Arc::new(free) }
    }

    /// A frame that holds `bytes`; `None` when the pool is empty or the bytes do not fit a buffer.
    #[must_use]
    pub fn frame(&self, bytes: &[u8]) -> Option<MemFrame> {
        let mut frame = self.allocate()?;
        frame.append(bytes).then_some(frame)
    }

    /// A frame of these parts (one at least), each in a buffer of its own, as a card fills several of them with a frame
    /// that is larger than one; `None` when the pool is empty or a part does not fit a buffer.
    #[must_use]
    pub fn frame_in_parts(&self, parts: &[&[u8]]) -> Option<MemFrame> {
        let mut behind: Option<MemFrame> = None;
        for part in parts.iter().rev() {
            let mut frame = self.frame(part)?;
            if let Some(mut behind) = behind {
                let buffer = frame.buffer_mut();
                buffer.behind = behind.octets();
                buffer.next = behind.buffer.take();
            }
            behind = Some(frame);
        }
        behind
    }

    /// Buffers not in use.
    #[must_use]
    pub fn available(&self) -> usize {
        self.free.len()
    }
}

impl FramePool for Pool {
    type Frame = MemFrame;

    fn allocate(&self) -> Option<MemFrame> {
        let mut buffer = self.free.pop()?;
        buffer.start = HEADROOM;
        buffer.end = HEADROOM;
        Some(MemFrame { buffer: Some(buffer), home: Arc::clone(&self.free) })
    }
}

/// A frame in memory.
#[derive(Debug)]
pub struct MemFrame {
    /// `None` only while being dropped.
    buffer: Option<Box<Buffer>>,
    home: Arc<ArrayQueue<Box<Buffer>>>,
}

impl MemFrame {
    fn buffer(&self) -> &Buffer {
        self.buffer.as_ref().expect("a frame has its buffer until it is dropped")
    }

    fn buffer_mut(&mut self) -> &mut Buffer {
        self.buffer.as_mut().expect("a frame has its buffer until it is dropped")
    }

    /// [`truncate`](Frame::truncate) for a frame of several parts: `octets` is less than all of them hold.
    #[cold]
    fn truncate_parts(&mut self, octets: usize) {
        let mut left = octets;
        let mut part: &mut Buffer = self.buffer_mut();
        while left > part.octets() {
            left -= part.octets();
            part.behind = left;
            part = part.next.as_mut().expect("the parts hold more than the frame keeps");
            part.behind = 0;
        }
        part.end = part.start + left;
        part.behind = 0;
        let rest = part.next.take();
        free(rest, &self.home);
    }
}

/// Gives buffers back to the pool they came from.
fn free(mut chain: Option<Box<Buffer>>, home: &ArrayQueue<Box<Buffer>>) {
    while let Some(mut buffer) = chain {
        chain = buffer.next.take();
        buffer.behind = 0;
        // The queue holds as many as the pool made, so there is room for every buffer that left it.
        let _ = home.push(buffer);
    }
}

impl Frame for MemFrame {
    fn head(&self) -> &[u8] {
        let buffer = self.buffer();
        &buffer.bytes[buffer.start..buffer.end]
    }

    fn head_mut(&mut self) -> &mut [u8] {
        let buffer = self.buffer_mut();
        &mut buffer.bytes[buffer.start..buffer.end]
    }

    fn octets(&self) -> usize {
        let buffer = self.buffer();
        buffer.octets() + buffer.behind
    }

    fn truncate(&mut self, octets: usize) {
        if octets >= self.octets() {
            return;
        }
        let buffer = self.buffer_mut();
        if buffer.next.is_some() {
            return self.truncate_parts(octets);
        }
        buffer.end = buffer.start + octets;
    }

    fn prepend(&mut self, octets: usize) -> bool {
        let buffer = self.buffer_mut();
        let Some(start) = buffer.start.checked_sub(octets) else { return false };
        buffer.start = start;
        true
    }

    fn trim_front(&mut self, octets: usize) {
        let buffer = self.buffer_mut();
        buffer.start = buffer.end.min(buffer.start + octets);
    }

    fn append(&mut self, bytes: &[u8]) -> bool {
        fn append(buffer: &mut Buffer, bytes: &[u8]) -> bool {
            if let Some(next) = &mut buffer.next {
                let fits = append(next, bytes);
                buffer.behind += if fits { bytes.len() } else { 0 };
                return fits;
            }
            let end = buffer.end + bytes.len();
            let Some(room) = buffer.bytes.get_mut(buffer.end..end) else { return false };
            room.copy_from_slice(bytes);
            buffer.end = end;
            true
        }
        append(self.buffer_mut(), bytes)
    }

    fn prefetch(&self) {}

    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::successors(Some(self.buffer()), |part| part.next.as_deref())
            .map(|part| &part.bytes[part.start..part.end])
    }
}

impl Drop for MemFrame {
    fn drop(&mut self) {
        free(self.buffer.take(), &self.home);
    }
}

/// The two directions of a memory port.
#[derive(Clone, Debug)]
pub struct Wire {
    /// What the port will receive.
    pub inbound: Arc<ArrayQueue<MemFrame>>,
    /// What the port has sent.
    pub outbound: Arc<ArrayQueue<MemFrame>>,
}

impl Wire {
    /// Queues of `depth` frames each way.
    #[must_use]
    pub fn new(depth: usize) -> Self {
        Self { inbound: Arc::new(ArrayQueue::new(depth)), outbound: Arc::new(ArrayQueue::new(depth)) }
    }
}

/// One queue pair on a [`Wire`].
#[derive(Debug)]
pub struct MemPort {
    wire: Wire,
    pool: Pool,
}

impl MemPort {
    /// A port that receives and sends on `wire` and answers with frames of `pool`.
    #[must_use]
    pub const fn new(wire: Wire, pool: Pool) -> Self {
        Self { wire, pool }
    }
}

impl Port for MemPort {
    type Frame = MemFrame;

    fn receive(&mut self, burst: &mut Burst<MemFrame>) {
        while !burst.is_full() {
            let Some(frame) = self.wire.inbound.pop() else { return };
            burst.push(frame);
        }
    }

    fn transmit(&mut self, burst: &mut Burst<MemFrame>) -> usize {
        let room = self.wire.outbound.capacity() - self.wire.outbound.len();
        let accepted = room.min(burst.len());
        for frame in burst.drain(..accepted) {
            self.wire.outbound.push(frame).expect("this worker is the only producer, and there was room");
        }
        accepted
    }

    fn allocate(&mut self) -> Option<MemFrame> {
        self.pool.allocate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_frame_returns_to_its_pool() {
        let pool = Pool::new(2, 64);
        let first = pool.frame(&[1, 2, 3]).unwrap();
        let second = pool.frame(&[4]).unwrap();
        assert!(pool.frame(&[5]).is_none(), "the pool has two buffers");
        drop(first);
        assert_eq!(pool.available(), 1);
        drop(second);
        assert_eq!(pool.available(), 2);
    }

    #[test]
    fn a_frame_grows_into_its_headroom_and_no_further() {
        let pool = Pool::new(1, 64);
        let mut frame = pool.frame(&[7; 10]).unwrap();
        assert!(frame.prepend(HEADROOM));
        assert!(!frame.prepend(1));
        assert_eq!(frame.octets(), HEADROOM + 10);
        frame.trim_front(HEADROOM);
        assert_eq!(frame.head(), &[7; 10]);
    }

    #[test]
    fn any_range_of_a_frame_in_parts_is_copied_to_another() {
        let pool = Pool::new(8, 64);
        let frame = pool.frame_in_parts(&[&[0, 1, 2], &[3], &[], &[4, 5, 6, 7]]).unwrap();
        for start in 0..8 {
            for end in start..8 {
                let mut copy = pool.frame(b"x").unwrap();
                assert!(frame.append_to(start..end, &mut copy));
                assert_eq!(copy.head()[1..], [0, 1, 2, 3, 4, 5, 6, 7][start..end]);
            }
        }
        assert!(!frame.append_to(5..9, &mut pool.frame(&[]).unwrap()), "it ends before");
        assert!(!frame.append_to(0..8, &mut pool.frame(&[0; 60]).unwrap()), "there is no room");
    }

    #[test]
    fn what_a_full_queue_does_not_accept_stays_in_the_burst() {
        let pool = Pool::new(4, 64);
        let mut port = MemPort::new(Wire::new(3), pool.clone());
        let mut burst: Burst<MemFrame> = (0..4).map(|n| pool.frame(&[n]).unwrap()).collect();
        assert_eq!(port.transmit(&mut burst), 3);
        assert_eq!(burst[0].head(), &[3]);
    }
}
