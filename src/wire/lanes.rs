//! Eight frames at a time: [`Common::read`] for IPv4 without its branches, in the lanes of 256-bit
//! vectors (AVX2). One of the few files with `unsafe` outside `io::dpdk`.

use std::arch::x86_64::{
    __m256i as Vector, _mm_loadu_si128, _mm256_add_epi32, _mm256_and_si256 as and, _mm256_andnot_si256,
    _mm256_blend_epi16, _mm256_castsi256_ps, _mm256_cmpeq_epi32 as equal, _mm256_cmpgt_epi32 as greater,
    _mm256_loadu_si256, _mm256_min_epu32, _mm256_movemask_ps, _mm256_or_si256 as or, _mm256_set_m128i,
    _mm256_set1_epi32, _mm256_setr_epi8, _mm256_shuffle_epi8, _mm256_srli_epi32 as shift, _mm256_sub_epi32,
    _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64,
};

use super::tcp_flags::{ACK, FIN, RST, SYN};
use super::{Common, ethernet};
use crate::model::{Mac, Protocol, V4};

/// The start of a frame: what is looked at of it.
pub type Head = [u8; V4::HEADERS];

/// Where a segment's flags stand in it.
pub(crate) const TCP_FLAGS: usize = 47;

/// Frames looked at together.
pub const LANES: usize = 8;

/// What is known of eight frames together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Eight {
    /// Which of them are for us and of the common shape: a bit each, the first frame's the lowest.
    pub common: u8,
    /// Which of them are so but that their TCP flags are others, possible or not. What follows is true of all these.
    pub marked: u8,
    /// Of each frame, the twelve octets of addresses and ports as three words, as they lie in the header: its octets 2 to
    /// 5, 6 to 9, and of the third word the low half 10 and 11, the high half 0 and 1.
    pub words: [Vector; 3],
    /// Of each frame, its protocol's number.
    pub protocols: Vector,
}

/// What is in eight frames, `octets` long in all, that came in by a port whose address is `mac`. About 15 instructions a
/// frame.
#[must_use]
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn read(heads: &[&Head; LANES], octets: &[u32; LANES], mac: Mac) -> Eight {
    // Each column is one word of all frames. Octets 0, 4, 12; 16 to 28; 32, 36, 44 of the frame.
    let [destination, rest_and_source, _, kind] = columns(heads, 0);
    let [length_and_id, fragment_and_hops, sum_and_source, addresses] = columns(heads, 16);
    let [address_and_port, port_and_length, _, tcp] = columns(heads, 32);
    // SAFETY: the array is the 32 octets that are read, at any alignment.
    let octets = unsafe { _mm256_loadu_si256(std::ptr::from_ref(octets).cast()) };

    let [m0, m1, m2, m3, m4, m5] = mac.0;
    let for_us = and(
        equal(destination, word([m0, m1, m2, m3])),
        equal(and(rest_and_source, word([0xff, 0xff, 0, 0])), word([m4, m5, 0, 0])),
    );
    // Type, version and header length; not the type of service.
    let [t0, t1] = ethernet::IPV4.to_be_bytes();
    let plain = equal(and(kind, word([0xff, 0xff, 0xff, 0])), word([t0, t1, 0x45, 0]));
    // Neither more fragments nor an offset; more than one hop left.
    let whole = equal(and(fragment_and_hops, word([0x3f, 0xff, 0, 0])), number(0));
    let lasts = greater(and(fragment_and_hops, word([0, 0, 0xff, 0])), word([0, 0, 1, 0]));

    // The packet ends within the frame, and where a frame can end.
    let length = first_half(length_and_id);
    let end = _mm256_add_epi32(length, number(14));
    let latest = _mm256_min_epu32(octets, number(0xffff));
    let fits = equal(_mm256_min_epu32(end, latest), end);

    let protocol = shift::<24>(fragment_and_hops);
    let transport = _mm256_sub_epi32(length, number(20));
    let datagram = second_half(port_and_length);
    let udp = and(
        equal(protocol, number(Protocol::Udp as i32)),
        _mm256_andnot_si256(greater(datagram, transport), greater(datagram, number(7))),
    );
    // The header's length is counted in words of four octets, in the upper half of octet 46; the flags are 47.
    let header = and(shift::<18>(tcp), number(0x3c));
    let no_marks = equal(and(tcp, word([0, 0, 0, SYN | FIN | RST | ACK])), word([0, 0, 0, ACK]));
    let tcp = and(
        equal(protocol, number(Protocol::Tcp as i32)),
        _mm256_andnot_si256(greater(header, transport), greater(header, number(19))),
    );

    // Ten words in the machine's order (RFC 1071, section 2 B): their sum has 20 bits at most, so that it is all ones
    // after one carry or not at all.
    let mut sum = _mm256_add_epi32(shift::<16>(kind), and(address_and_port, number(0xffff)));
    for column in [length_and_id, fragment_and_hops, sum_and_source, addresses] {
        sum = _mm256_add_epi32(sum, sum_of_halves(column));
    }
    let intact = equal(sum_of_halves(sum), number(0xffff));

    let shaped = and(and(and(for_us, plain), and(whole, lasts)), and(fits, intact));
    let common = bits(and(shaped, or(udp, and(tcp, no_marks))));
    let marked = bits(and(shaped, _mm256_andnot_si256(no_marks, tcp)));
    // The halves that are neither address nor port make room for those that stand alone.
    let outer = _mm256_blend_epi16::<0b0101_0101>(sum_and_source, port_and_length);
    Eight { common, marked, words: [addresses, address_and_port, outer], protocols: protocol }
}

/// A bit for each word, which is all ones or zero.
#[inline]
#[target_feature(enable = "avx2")]
fn bits(words: Vector) -> u8 {
    _mm256_movemask_ps(_mm256_castsi256_ps(words)).to_le_bytes()[0]
}

/// The four words from octet `at` on of all frames, transposed: a vector for each word.
#[inline]
#[target_feature(enable = "avx2")]
fn columns(heads: &[&Head; LANES], at: usize) -> [Vector; 4] {
    let row = |frame: usize| {
        let octets: &[u8] = &heads[frame][at..at + 16];
        // SAFETY: the slice has the 16 octets that are read, at any alignment.
        unsafe { _mm_loadu_si128(octets.as_ptr().cast()) }
    };
    // Frames 0 to 3 in the lower halves, 4 to 7 in the upper, where the instructions below keep them.
    let pair = |frame| _mm256_set_m128i(row(frame + 4), row(frame));
    let rows = [pair(0), pair(1), pair(2), pair(3)];
    let low = [_mm256_unpacklo_epi32(rows[0], rows[1]), _mm256_unpacklo_epi32(rows[2], rows[3])];
    let high = [_mm256_unpackhi_epi32(rows[0], rows[1]), _mm256_unpackhi_epi32(rows[2], rows[3])];
    [
        _mm256_unpacklo_epi64(low[0], low[1]),
        _mm256_unpackhi_epi64(low[0], low[1]),
        _mm256_unpacklo_epi64(high[0], high[1]),
        _mm256_unpackhi_epi64(high[0], high[1]),
    ]
}

/// The first 16 bits of each word, which are in network byte order, as a number.
#[inline]
#[target_feature(enable = "avx2")]
fn first_half(words: Vector) -> Vector {
    _mm256_shuffle_epi8(words, pick([1, 0], [5, 4], [9, 8], [13, 12]))
}

/// The second 16 bits, likewise.
#[inline]
#[target_feature(enable = "avx2")]
fn second_half(words: Vector) -> Vector {
    _mm256_shuffle_epi8(words, pick([3, 2], [7, 6], [11, 10], [15, 14]))
}

/// For [`_mm256_shuffle_epi8`]: these octets into the lower halves of the words, zero into the upper.
#[inline]
#[target_feature(enable = "avx2")]
fn pick([a, b]: [i8; 2], [c, d]: [i8; 2], [e, f]: [i8; 2], [g, h]: [i8; 2]) -> Vector {
    const O: i8 = -1;
    _mm256_setr_epi8(
        a, b, O, O, c, d, O, O, e, f, O, O, g, h, O, O, a, b, O, O, c, d, O, O, e, f, O, O, g, h, O, O,
    )
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum_of_halves(words: Vector) -> Vector {
    _mm256_add_epi32(and(words, number(0xffff)), shift::<16>(words))
}

/// In every word: these octets, in the order of the frame.
#[inline]
#[target_feature(enable = "avx2")]
fn word(octets: [u8; 4]) -> Vector {
    number(i32::from_ne_bytes(octets))
}

/// In every word: this number.
#[inline]
#[target_feature(enable = "avx2")]
fn number(number: i32) -> Vector {
    _mm256_set1_epi32(number)
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::checksum;
    use crate::wire::{ethernet, tcp_flags};

    const OURS: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn valid(udp: bool, octets: usize) -> Vec<u8> {
        let builder =
            PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], OURS.0).ipv4([192, 0, 2, 1], [203, 0, 113, 80], 64);
        let mut frame = Vec::new();
        let payload = vec![0x5a; octets];
        if udp {
            builder.udp(40_000, 80).write(&mut frame, &payload).unwrap();
        } else {
            builder.tcp(40_000, 80, 1, 1024).ack(1).write(&mut frame, &payload).unwrap();
        }
        frame.resize(frame.len().max(60), 0);
        frame
    }

    /// One frame's bit must be what the other way says of it.
    fn check(frames: &[Vec<u8>; LANES]) -> Result<(), TestCaseError> {
        if !std::arch::is_x86_feature_detected!("avx2") {
            return Ok(());
        }
        let heads = std::array::from_fn(|n| frames[n].first_chunk().expect("at least 60 octets"));
        let octets = std::array::from_fn(|n| u32::try_from(frames[n].len()).expect("a short frame"));
        // SAFETY: the processor has AVX2.
        let seen = unsafe { read(&heads, &octets, OURS) };
        for (n, frame) in frames.iter().enumerate() {
            let shape = V4::read_marked(frame, frame.len()).filter(|_| ethernet::is_for(frame, OURS));
            let (common, marked) = (seen.common >> n & 1 == 1, seen.marked >> n & 1 == 1);
            prop_assert_eq!(common, shape.is_some_and(|(_, marked)| !marked), "frame {}: {:x?}", n, frame);
            let possible = marked && tcp_flags::are_possible(frame[TCP_FLAGS]);
            prop_assert_eq!(possible, shape.is_some_and(|(_, marked)| marked), "frame {}: {:x?}", n, frame);
        }
        Ok(())
    }

    #[test]
    fn the_common_shape_is_recognised_in_every_lane() {
        let frames = std::array::from_fn(|n| valid(n % 2 == 0, n * 9));
        check(&frames).unwrap();
        let mut broken = frames;
        for n in 0..LANES {
            let octet = broken[n][30];
            broken[n][30] ^= 1;
            check(&broken).unwrap();
            broken[n][30] = octet;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_lanes_say_of_each_frame_what_the_common_way_says(
            shapes in prop::collection::vec((any::<bool>(), 0_usize..70, any::<bool>()), LANES),
            changes in prop::collection::vec((0..LANES, 0_usize..54, any::<u8>()), 0..6),
        ) {
            let mut frames: [Vec<u8>; LANES] = std::array::from_fn(|n| valid(shapes[n].0, shapes[n].1));
            for (frame, place, value) in changes {
                frames[frame][place] = value;
            }
            for (frame, (.., mend)) in frames.iter_mut().zip(&shapes) {
                if *mend {
                    // Without this nearly every change would end at the header checksum.
                    frame[24..26].fill(0);
                    let sum = !checksum::fold(checksum::sum(&frame[14..34]));
                    frame[24..26].copy_from_slice(&sum.to_be_bytes());
                }
            }
            check(&frames)?;
        }
    }
}
