//! Pass 1 for eight frames at a time, in vectors; one of the few files with `unsafe` outside `io::dpdk`.

use super::inspect::Lookahead;
use super::pipeline::Pipeline;
use crate::io::Frame;
use crate::model::Mac;

/// Leave to use vectors of 256 bits: the processor has AVX2.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes(());

impl Lanes {
    /// `None` on a processor without.
    pub(super) fn detect() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            return Some(Self(()));
        }
        None
    }
}

impl Pipeline {
    /// Pass 1 for as many frames of a burst as are worth it; how many these are, and their octets.
    #[inline(always)]
    pub(super) fn inspect_eights<T: Frame>(
        &self,
        frames: &[T],
        mac: Mac,
        ahead: &mut Lookahead,
    ) -> (usize, u64) {
        #[cfg(target_arch = "x86_64")]
        if self.lanes.is_some() && frames.len() >= avx2::FEWEST {
            // SAFETY: there is leave, so the processor has AVX2.
            return unsafe { avx2::inspect(self, frames, mac, ahead) };
        }
        (0, 0)
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{__m256i as Vector, _mm256_storeu_si256};

    use crate::dataplane::inspect::Lookahead;
    use crate::dataplane::pipeline::Pipeline;
    use crate::io::{BURST, Frame};
    use crate::model::Mac;
    use crate::wire::Network;
    use crate::wire::lanes::{self, LANES, TCP_FLAGS};
    use crate::wire::tcp_flags::are_possible;

    /// Frames for which eight lanes are less work than one after the other.
    pub(super) const FEWEST: usize = 4;

    #[target_feature(enable = "avx2")]
    pub(super) fn inspect<T: Frame>(
        pipeline: &Pipeline,
        frames: &[T],
        mac: Mac,
        ahead: &mut Lookahead,
    ) -> (usize, u64) {
        let (eights, rest) = frames.as_chunks::<LANES>();
        // By lane, so that they are added in vectors.
        let mut all = [0_u32; LANES];
        let mut add = |octets: [u32; LANES]| {
            for (all, octets) in all.iter_mut().zip(octets) {
                *all = all.wrapping_add(octets);
            }
        };
        for (number, eight) in eights.iter().enumerate() {
            add(inspect_eight(pipeline, eight, number, mac, ahead));
        }
        let mut inspected = eights.len() * LANES;
        if rest.len() >= FEWEST {
            add(inspect_eight(pipeline, rest, eights.len(), mac, ahead));
            inspected = frames.len();
        }
        (inspected, all.into_iter().map(u64::from).sum())
    }

    /// Pass 1 for the eight frames of this number, or fewer at the end of a burst; the octets of each. Made once for an array,
    /// whose length the compiler knows, and once for a slice.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn inspect_eight<T: Frame>(
        pipeline: &Pipeline,
        frames: &(impl AsRef<[T]> + ?Sized),
        number: usize,
        mac: Mac,
        ahead: &mut Lookahead,
    ) -> [u32; LANES] {
        let frames = frames.as_ref();
        let mut octets = [0; LANES];
        let mut heads = [&[0; _]; LANES];
        for ((frame, head), octets) in frames.iter().zip(&mut heads).zip(&mut octets) {
            // One that is too short for the shape stays what is none, and so do lanes without a frame.
            *head = frame.head().first_chunk().unwrap_or(head);
            *octets = u32::try_from(frame.octets()).unwrap_or(u32::MAX);
        }
        let eight = lanes::read(&heads, &octets, mac);
        let [upper, lower] = pipeline.flows.v4.hash_eight(eight.words, eight.protocols);
        let uppers = array(upper);
        put(&mut ahead.uppers, number, uppers);
        put(&mut ahead.lowers, number, array(lower));
        put(&mut ahead.guesses, number, pipeline.flows.v4.prefetch_eight(uppers));
        put(&mut ahead.common, number, [Some(Network::V4); LANES]);
        if eight.common != u8::MAX {
            for (lane, frame) in frames.iter().enumerate().filter(|(lane, _)| eight.common >> lane & 1 == 0) {
                let place = number * LANES + lane;
                if eight.marked >> lane & 1 == 1 && are_possible(heads[lane][TCP_FLAGS]) {
                    (ahead.common[place], ahead.marked[place]) = (None, Some(Network::V4));
                    ahead.is_v4 = false;
                } else {
                    pipeline.inspect(frame, mac, place, ahead);
                }
            }
        }
        octets
    }

    /// Sets eight of a burst's values.
    #[inline(always)]
    fn put<T: Copy>(all: &mut [T; BURST], number: usize, values: [T; LANES]) {
        if let Some(eight) = all.as_chunks_mut().0.get_mut(number) {
            *eight = values;
        }
    }

    /// What is in the lanes.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn array(vector: Vector) -> [u32; LANES] {
        let mut array = [0; LANES];
        // SAFETY: the array has the 32 octets that are written, at any alignment.
        unsafe { _mm256_storeu_si256(array.as_mut_ptr().cast(), vector) };
        array
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use proptest::prelude::*;

    use crate::dataplane::flow::{FlowTable, TimeoutTicks};
    use crate::hash::IndexKey;
    use crate::model::{FiveTuple, Mac, Protocol, TablePages, Timeouts, V4};
    use crate::wire::lanes::{LANES, read};

    const OURS: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn frame(client: (u32, u16), vip: (u32, u16), udp: bool) -> [u8; 74] {
        let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], OURS.0).ipv4(
            client.0.to_be_bytes(),
            vip.0.to_be_bytes(),
            64,
        );
        let mut bytes = Vec::new();
        if udp {
            builder.udp(client.1, vip.1).write(&mut bytes, &[0; 32]).expect("a vector takes every octet");
        } else {
            builder
                .tcp(client.1, vip.1, 1, 1024)
                .ack(1)
                .write(&mut bytes, &[0; 20])
                .expect("a vector takes every octet");
        }
        bytes.try_into().expect("74 octets with either protocol")
    }

    /// Which of the frames are of the common shape; the halves of their hashes.
    #[target_feature(enable = "avx2")]
    fn hash_eight(frames: &[[u8; 74]; LANES], flows: &FlowTable<V4>) -> (u8, [[u32; LANES]; 2]) {
        let heads = std::array::from_fn(|lane| frames[lane].first_chunk().expect("74 octets"));
        let eight = read(&heads, &[74; LANES], OURS);
        let [uppers, lowers] = flows.hash_eight(eight.words, eight.protocols);
        (eight.common, [super::avx2::array(uppers), super::avx2::array(lowers)])
    }

    proptest! {
        #[test]
        fn eight_headers_hash_as_their_tuples_do_one_by_one(
            packets: [(u32, u16, u32, u16, bool); LANES],
            key: [u64; 4],
        ) {
            if !std::arch::is_x86_feature_detected!("avx2") {
                return Ok(());
            }
            let frames = packets.map(|(client, from, vip, to, udp)| frame((client, from), (vip, to), udp));
            let flows = FlowTable::<V4>::new(64, IndexKey::new(key), TimeoutTicks::new(&Timeouts::default()), TablePages::Ordinary);
            // SAFETY: the processor has AVX2.
            let (common, [uppers, lowers]) = unsafe { hash_eight(&frames, &flows) };
            prop_assert_eq!(common, u8::MAX);
            for (lane, (client, from, vip, to, udp)) in packets.into_iter().enumerate() {
                let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
                let hash = flows.hash(&FiveTuple::new((client, from), (vip, to), protocol));
                let halves = u64::from(uppers[lane]) << 32 | u64::from(lowers[lane]);
                prop_assert_eq!(halves, hash, "lane {}", lane);
            }
        }
    }
}
