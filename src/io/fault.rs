//! A port around another one that fails as networks and cards do: frames are lost, doubled, overtaken, damaged and cut
//! short, each at a given rate and by a generator that always begins alike; the pool may be empty, and the card may
//! take nothing.
//!
//! For tests of whatever drives ports. What is lost, and every copy, goes back to its pool; nothing is held back for
//! longer than until the next [`Port::receive`]. Without rates and switches the port is the one inside.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use super::BURST;
use super::Burst;
use super::Frame;
use super::Port;

/// How often each thing happens to a frame, in a million; 1,000,000 and more: to every one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// It is gone.
    pub lose: u32,
    /// A copy of it follows; where there is no buffer for it, none does.
    pub double: u32,
    /// Frames behind it overtake it.
    pub delay: u32,
    /// A byte of its first part is another.
    pub damage: u32,
    /// Its end is missing, or all of it but the first byte.
    pub cut: u32,
}

/// What a [`FaultPort`] does, and what it has done. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    healed: AtomicBool,
    pool_empty: AtomicBool,
    refuses: AtomicBool,
    hits: [AtomicU64; 5],
}

/// Frames that something has happened to, in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// Lost.
    pub lost: u64,
    /// Doubled.
    pub doubled: u64,
    /// Delayed.
    pub delayed: u64,
    /// Damaged.
    pub damaged: u64,
    /// Cut short.
    pub cut: u64,
}

/// See the module.
#[derive(Debug)]
pub struct FaultPort<P: Port> {
    port: P,
    faults: Faults,
    fresh: Burst<P::Frame>,
    inward: Lane<P::Frame>,
    outward: Lane<P::Frame>,
}

/// One direction.
#[derive(Debug)]
struct Lane<F> {
    rates: Rates,
    dice: Dice,
    /// Frames that have had their fate.
    ready: VecDeque<F>,
    /// Frames that wait for others to overtake them.
    late: VecDeque<F>,
    copy: Vec<u8>,
}

impl Faults {
    /// Ends all faults for good: what happens from now on is what the port inside does.
    pub fn heal(&self) {
        self.shared.healed.store(true, Ordering::Relaxed);
        self.set_pool_empty(false);
        self.set_refuses(false);
    }

    /// Whether [`Port::allocate`] gives nothing.
    pub fn set_pool_empty(&self, empty: bool) {
        self.shared.pool_empty.store(empty, Ordering::Relaxed);
    }

    /// Whether [`Port::transmit`] accepts nothing.
    pub fn set_refuses(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::Relaxed);
    }

    /// So far.
    #[must_use]
    pub fn hits(&self) -> Hits {
        let [lost, doubled, delayed, damaged, cut] =
            [0, 1, 2, 3, 4].map(|kind: usize| self.shared.hits[kind].load(Ordering::Relaxed));
        Hits { lost, doubled, delayed, damaged, cut }
    }

    fn count(&self, kind: usize) {
        self.shared.hits[kind].fetch_add(1, Ordering::Relaxed);
    }

    fn is_healed(&self) -> bool {
        self.shared.healed.load(Ordering::Relaxed)
    }
}

impl<P: Port> FaultPort<P> {
    /// Around `port`, with `inward` rates for what it receives and `outward` ones for what it sends. Equal seeds give
    /// equal fates to equal frames.
    #[must_use]
    pub fn new(port: P, inward: Rates, outward: Rates, seed: u64) -> Self {
        Self {
            port,
            faults: Faults::default(),
            fresh: Burst::new(),
            inward: Lane::new(inward, seed),
            outward: Lane::new(outward, !seed),
        }
    }

    /// What it does and has done, to keep when the port has gone to its worker.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Sends what has had its fate, as far as the port inside takes it.
    fn flush(&mut self) {
        while !self.outward.ready.is_empty() {
            let count = self.outward.ready.len().min(BURST);
            let mut burst: Burst<P::Frame> = self.outward.ready.drain(..count).collect();
            self.port.transmit(&mut burst);
            if !burst.is_empty() {
                burst.drain(..).rev().for_each(|frame| self.outward.ready.push_front(frame));
                return;
            }
        }
    }
}

impl<P: Port> Port for FaultPort<P> {
    type Frame = P::Frame;

    fn receive(&mut self, burst: &mut Burst<P::Frame>) {
        self.outward.let_go();
        if !self.faults.shared.refuses.load(Ordering::Relaxed) {
            self.flush();
        }
        if self.inward.is_idle(&self.faults) {
            return self.port.receive(burst);
        }
        if self.inward.ready.len() < BURST {
            let late = self.inward.late.len();
            self.port.receive(&mut self.fresh);
            for frame in self.fresh.drain(..) {
                self.inward.pass(frame, &self.faults, || self.port.allocate());
            }
            // Those of earlier calls have been overtaken by now, if there was anything to do so.
            self.inward.let_first_go(late);
        }
        while !burst.is_full() {
            let Some(frame) = self.inward.ready.pop_front() else { return };
            burst.push(frame);
        }
    }

    fn transmit(&mut self, burst: &mut Burst<P::Frame>) -> usize {
        if self.faults.shared.refuses.load(Ordering::Relaxed) {
            return 0;
        }
        if self.outward.is_idle(&self.faults) {
            return self.port.transmit(burst);
        }
        self.flush();
        // As in a card's ring: what does not fit stays with the sender.
        let accepted = burst.len().min(BURST.saturating_sub(self.outward.ready.len()));
        for frame in burst.drain(..accepted) {
            self.outward.pass(frame, &self.faults, || self.port.allocate());
        }
        self.flush();
        accepted
    }

    fn allocate(&mut self) -> Option<P::Frame> {
        if self.faults.shared.pool_empty.load(Ordering::Relaxed) { None } else { self.port.allocate() }
    }
}

impl<F: Frame> Lane<F> {
    /// Reserves what it needs: no call of the port allocates memory.
    fn new(rates: Rates, seed: u64) -> Self {
        Self {
            rates,
            dice: Dice(seed),
            ready: VecDeque::with_capacity(8 * BURST),
            late: VecDeque::with_capacity(8 * BURST),
            copy: Vec::with_capacity(1 << 16),
        }
    }

    /// Nothing happens here, and nothing waits.
    fn is_idle(&self, faults: &Faults) -> bool {
        let faultless = self.rates == Rates::default() || faults.is_healed();
        faultless && self.ready.is_empty() && self.late.is_empty()
    }

    /// Gives a frame its fate; copies are made in frames of `allocate`.
    fn pass(&mut self, mut frame: F, faults: &Faults, allocate: impl FnOnce() -> Option<F>) {
        if faults.is_healed() {
            return self.ready.push_back(frame);
        }
        let Rates { lose, double, delay, damage, cut } = self.rates;
        if self.dice.happens(lose) {
            return faults.count(LOST);
        }
        if self.dice.happens(cut) && frame.octets() > 1 {
            frame.truncate(1 + self.dice.below(frame.octets() - 1));
            faults.count(CUT);
        }
        if self.dice.happens(damage) && !frame.head().is_empty() {
            let (at, by) = (self.dice.below(frame.head().len()), 1 + self.dice.below(255));
            frame.head_mut()[at] ^= u8::try_from(by).unwrap_or(1);
            faults.count(DAMAGED);
        }
        if self.dice.happens(double)
            && let Some(mut copy) = allocate()
        {
            frame.copy_to(&mut self.copy);
            if copy.append(&self.copy) {
                faults.count(DOUBLED);
                self.ready.push_back(copy);
            }
        }
        if self.dice.happens(delay) {
            faults.count(DELAYED);
            self.late.push_back(frame);
        } else {
            self.ready.push_back(frame);
        }
    }

    fn let_go(&mut self) {
        self.let_first_go(self.late.len());
    }

    fn let_first_go(&mut self, count: usize) {
        self.ready.extend(self.late.drain(..count));
    }
}

/// Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014: SplitMix64.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn happens(&mut self, in_a_million: u32) -> bool {
        self.next() % 1_000_000 < u64::from(in_a_million)
    }

    /// A number below `limit`; 0 if that is 0.
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit.max(1) as u64)).unwrap_or(0)
    }
}

/// Places in the hits.
const LOST: usize = 0;
const DOUBLED: usize = 1;
const DELAYED: usize = 2;
const DAMAGED: usize = 3;
const CUT: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::mem::{MemFrame, MemPort, Pool, Wire};

    const ALWAYS: u32 = 1_000_000;
    const BUFFERS: usize = 256;

    struct Rig {
        pool: Pool,
        wire: Wire,
        port: FaultPort<MemPort>,
    }

    fn rig(inward: Rates, outward: Rates, seed: u64) -> Rig {
        let (pool, wire) = (Pool::new(BUFFERS, 64), Wire::new(128));
        let port = FaultPort::new(MemPort::new(wire.clone(), pool.clone()), inward, outward, seed);
        Rig { pool, wire, port }
    }

    impl Rig {
        /// What arrives of frames of two bytes that are numbered from 0, within so many calls.
        fn receive(&mut self, frames: u8, calls: usize) -> Vec<Vec<u8>> {
            for number in 0..frames {
                self.wire.inbound.push(self.pool.frame(&[number, 0]).unwrap()).unwrap();
            }
            let mut received = Vec::new();
            for _ in 0..calls {
                let mut burst = Burst::new();
                self.port.receive(&mut burst);
                received.extend(burst.iter().map(|frame: &MemFrame| frame.head().to_vec()));
            }
            received
        }

        fn sent(&mut self) -> Vec<Vec<u8>> {
            std::iter::from_fn(|| self.wire.outbound.pop()).map(|frame| frame.head().to_vec()).collect()
        }
    }

    fn numbered(numbers: impl IntoIterator<Item = u8>) -> Vec<Vec<u8>> {
        numbers.into_iter().map(|number| vec![number, 0]).collect()
    }

    #[test]
    fn without_faults_everything_passes_in_order() {
        let mut rig = rig(Rates::default(), Rates::default(), 1);
        assert_eq!(rig.receive(40, 2), numbered(0..40));
        assert_eq!(rig.port.faults().hits(), Hits::default());
    }

    #[test]
    fn each_fault_does_to_frames_what_its_name_says() {
        let mut lossy = rig(Rates { lose: ALWAYS, ..Rates::default() }, Rates::default(), 1);
        assert_eq!(lossy.receive(40, 3), numbered([]));
        assert_eq!(lossy.port.faults().hits().lost, 40);
        assert_eq!(lossy.pool.available(), BUFFERS);

        let mut doubling = rig(Rates { double: ALWAYS, ..Rates::default() }, Rates::default(), 1);
        assert_eq!(doubling.receive(3, 1), numbered([0, 0, 1, 1, 2, 2]));
        assert_eq!(doubling.receive(40, 3).len(), 80);

        let mut cutting = rig(Rates { cut: ALWAYS, ..Rates::default() }, Rates::default(), 1);
        assert!(cutting.receive(5, 1).iter().all(|frame| frame.len() == 1));

        let mut damaging = rig(Rates { damage: ALWAYS, ..Rates::default() }, Rates::default(), 1);
        for (received, sent) in damaging.receive(20, 1).iter().zip(numbered(0..20)) {
            assert_eq!(received.iter().zip(&sent).filter(|(received, sent)| received != sent).count(), 1);
        }

        let mut slow = rig(Rates { delay: 500_000, ..Rates::default() }, Rates::default(), 1);
        let received = slow.receive(20, 2);
        assert_ne!(received, numbered(0..20));
        let mut sorted = received.clone();
        sorted.sort();
        assert_eq!(sorted, numbered(0..20));
    }

    #[test]
    fn what_is_delayed_is_overtaken_by_the_next_frames_and_does_not_wait_for_ever() {
        let mut rig = rig(Rates { delay: ALWAYS, ..Rates::default() }, Rates::default(), 1);
        assert_eq!(rig.receive(2, 1), numbered([]));
        rig.port.faults().heal();
        let received = rig.receive(1, 1);
        assert_eq!(received, numbered([0, 0, 1]), "the new one, which is another 0, before both");
        assert_eq!(rig.pool.available(), BUFFERS);
    }

    #[test]
    fn what_is_sent_has_its_fate_too_and_leaves_by_the_next_receive() {
        let rates = Rates { delay: ALWAYS, double: ALWAYS, ..Rates::default() };
        let mut rig = rig(Rates::default(), rates, 1);
        let mut burst: Burst<MemFrame> = (0..3).map(|n| rig.pool.frame(&[n, 0]).unwrap()).collect();
        assert_eq!((rig.port.transmit(&mut burst), burst.len()), (3, 0));
        assert_eq!(rig.sent(), numbered([0, 1, 2]), "the copies");
        assert_eq!(rig.receive(0, 1), numbered([]));
        assert_eq!(rig.sent(), numbered([0, 1, 2]));
        assert_eq!(rig.pool.available(), BUFFERS);
    }

    #[test]
    fn the_switches_work_while_the_port_is_in_other_hands() {
        let mut rig = rig(Rates::default(), Rates::default(), 1);
        let faults = rig.port.faults();
        faults.set_pool_empty(true);
        assert!(rig.port.allocate().is_none());
        faults.set_refuses(true);
        let mut burst: Burst<MemFrame> = (0..3).map(|n| rig.pool.frame(&[n, 0]).unwrap()).collect();
        assert_eq!((rig.port.transmit(&mut burst), burst.len()), (0, 3));
        faults.heal();
        assert!(rig.port.allocate().is_some());
        assert_eq!((rig.port.transmit(&mut burst), burst.len()), (3, 0));
    }

    #[test]
    fn a_full_card_keeps_what_it_took_and_takes_no_more_than_it_holds() {
        let mut rig = rig(Rates::default(), Rates { double: ALWAYS, ..Rates::default() }, 1);
        let mut accepted = 0;
        let mut refused = false;
        for n in 0..10 {
            let mut burst: Burst<MemFrame> = (0..20).filter_map(|_| rig.pool.frame(&[n, 0])).collect();
            let offered = burst.len();
            let taken = rig.port.transmit(&mut burst);
            assert_eq!(burst.len(), offered - taken);
            accepted += taken;
            refused |= taken < offered;
        }
        assert!(refused);
        let mut sent = 0;
        for _ in 0..4 {
            rig.receive(0, 1);
            sent += rig.sent().len();
        }
        assert_eq!(sent as u64, accepted as u64 + rig.port.faults().hits().doubled);
        assert_eq!(rig.pool.available(), BUFFERS);
    }

    #[test]
    fn equal_seeds_give_equal_fates() {
        let rates = Rates { lose: 100_000, double: 100_000, delay: 100_000, damage: 100_000, cut: 100_000 };
        let run = |seed| rig(rates, Rates::default(), seed).receive(100, 10);
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }
}
