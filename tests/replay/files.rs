//! Capture files, written octet by octet: nothing of the program's own reading and writing.

use std::path::Path;
use std::time::Duration;

use pcap_file::TsResolution;
use pcap_file::pcap::PcapReader;

/// A frame and when it was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    pub time: Duration,
    pub bytes: Vec<u8>,
    /// Its length on the wire.
    pub octets: usize,
}

impl Captured {
    pub fn new(time: Duration, bytes: Vec<u8>) -> Self {
        let octets = bytes.len();
        Self { time, bytes, octets }
    }

    /// As a capture with a snap length keeps it.
    pub fn cut(mut self, snap: usize) -> Self {
        self.bytes.truncate(snap);
        self
    }
}

/// Frames a millisecond apart from some moment in 2023 on.
pub fn in_turn(frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<Captured> {
    (0..)
        .zip(frames)
        .map(|(n, bytes)| Captured::new(Duration::new(1_700_000_000, 0) + Duration::from_millis(n), bytes))
        .collect()
}

/// Classic pcap, little-endian, microseconds.
pub fn microseconds(frames: &[Captured]) -> Vec<u8> {
    classic(0xa1b2_c3d4, 1, frames, u32::to_le_bytes, |time| time.subsec_micros())
}

/// Classic pcap, little-endian, nanoseconds.
pub fn nanoseconds(frames: &[Captured]) -> Vec<u8> {
    classic(0xa1b2_3c4d, 1, frames, u32::to_le_bytes, |time| time.subsec_nanos())
}

/// Classic pcap of a big-endian machine, nanoseconds.
pub fn big_endian(frames: &[Captured]) -> Vec<u8> {
    classic(0xa1b2_3c4d, 1, frames, u32::to_be_bytes, |time| time.subsec_nanos())
}

/// A capture of this link type.
pub fn of_link_type(link: u32) -> Vec<u8> {
    classic(0xa1b2_c3d4, link, &[], u32::to_le_bytes, |_| 0)
}

fn classic(
    magic: u32,
    link: u32,
    frames: &[Captured],
    word: fn(u32) -> [u8; 4],
    fraction: fn(&Duration) -> u32,
) -> Vec<u8> {
    // 2.4, whose halves stand in the machine's order.
    let version = if word(1) == [1, 0, 0, 0] { 0x0004_0002 } else { 0x0002_0004 };
    let mut file: Vec<u8> = [magic, version, 0, 0, 262_144, link].into_iter().flat_map(word).collect();
    for frame in frames {
        let seconds = u32::try_from(frame.time.as_secs()).unwrap();
        let lengths = [frame.bytes.len(), frame.octets].map(|length| u32::try_from(length).unwrap());
        for value in [seconds, fraction(&frame.time), lengths[0], lengths[1]] {
            file.extend(word(value));
        }
        file.extend(&frame.bytes);
    }
    file
}

/// pcapng with the resolution `10^-power` of a second, as Wireshark writes it: a section, an interface, packets.
pub fn next_generation(frames: &[Captured], power: u8) -> Vec<u8> {
    let mut file =
        block(0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat());
    // Ethernet, snap length, if_tsresol, end of options.
    file.extend(block(1, &[1, 0, 0, 0, 0, 0, 4, 0, 9, 0, 1, 0, power, 0, 0, 0, 0, 0, 0, 0]));
    for frame in frames {
        let count = frame.time.as_nanos() / 10_u128.pow(9 - u32::from(power));
        let count = u64::try_from(count).unwrap();
        let words = [
            0,
            u32::try_from(count >> 32).unwrap(),
            u32::try_from(count & 0xffff_ffff).unwrap(),
            u32::try_from(frame.bytes.len()).unwrap(),
            u32::try_from(frame.octets).unwrap(),
        ];
        let mut body: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        body.extend(&frame.bytes);
        file.extend(block(6, &body));
    }
    file
}

/// A pcapng block; its body is padded to words.
pub fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let length = u32::try_from(body.len() + 12).unwrap().to_le_bytes();
    [&kind.to_le_bytes()[..], &length, &body, &length].concat()
}

/// Reads what replay wrote: always nanoseconds, never cut.
pub fn read(path: &Path) -> Vec<Captured> {
    let mut reader = PcapReader::new(std::fs::File::open(path).unwrap()).unwrap();
    assert_eq!(reader.header().ts_resolution, TsResolution::NanoSecond);
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.unwrap();
        assert_eq!(packet.orig_len as usize, packet.data.len());
        frames.push(Captured::new(packet.timestamp, packet.data.into_owned()));
    }
    frames
}
