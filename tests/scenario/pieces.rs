//! Packets cut into fragments as senders do, and put together again as receivers do: by etherparse's reading of headers,
//! without any of our code.

use std::collections::BTreeMap;
use std::net::IpAddr;

use etherparse::{IpFragOffset, Ipv4Header, Ipv4HeaderSlice, Ipv6Header, Ipv6HeaderSlice};

/// Cuts the packet in a frame at these octets of its content, which are multiples of 8.
pub fn split(frame: &[u8], identification: u32, cuts: &[usize]) -> Vec<Vec<u8>> {
    let (link, rest) = frame.split_at(link(frame));
    let content = if rest[0] >> 4 == 4 { usize::from(rest[0] & 15) * 4 } else { 40 };
    let (header, content) = rest.split_at(content);
    let mut bounds = vec![0];
    bounds.extend(cuts.iter().copied().filter(|cut| *cut > 0 && *cut < content.len()));
    bounds.push(content.len());
    bounds.sort_unstable();
    bounds.dedup();
    let piece = |bounds: &[usize]| {
        let more = bounds[1] < content.len();
        let mut piece = link.to_vec();
        if header[0] >> 4 == 4 {
            let mut ip = Ipv4Header::from_slice(header).unwrap().0;
            ip.identification = u16::try_from(identification).unwrap();
            ip.dont_fragment = false;
            ip.more_fragments = more;
            ip.fragment_offset = IpFragOffset::try_new(u16::try_from(bounds[0] / 8).unwrap()).unwrap();
            ip.total_len = u16::try_from(header.len() + bounds[1] - bounds[0]).unwrap();
            ip.header_checksum = ip.calc_header_checksum();
            ip.write(&mut piece).unwrap();
        } else {
            let mut ip = Ipv6Header::from_slice(header).unwrap().0;
            let next = ip.next_header;
            ip.next_header = etherparse::IpNumber::IPV6_FRAGMENTATION_HEADER;
            ip.payload_length = u16::try_from(8 + bounds[1] - bounds[0]).unwrap();
            ip.write(&mut piece).unwrap();
            piece.extend([next.0, 0]);
            piece.extend((u16::try_from(bounds[0]).unwrap() | u16::from(more)).to_be_bytes());
            piece.extend(identification.to_be_bytes());
        }
        piece.extend(&content[bounds[0]..bounds[1]]);
        piece
    };
    bounds.windows(2).map(piece).collect()
}

/// What a fragment shares with the others of its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shared {
    pub from: IpAddr,
    pub to: IpAddr,
    pub identification: u32,
}

/// A fragment.
#[derive(Clone, Debug)]
pub struct Piece {
    pub shared: Shared,
    pub offset: usize,
    pub more: bool,
    pub ttl: u8,
    link: Vec<u8>,
    header: Vec<u8>,
    content: Vec<u8>,
}

/// Reads a fragment, checks the checksum of its header, and that nothing is behind it.
#[track_caller]
pub fn piece(frame: &[u8]) -> Piece {
    let (link, rest) = frame.split_at(link(frame));
    if rest[0] >> 4 == 4 {
        let slice = Ipv4HeaderSlice::from_slice(rest).unwrap();
        let mut ip = slice.to_header();
        assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "IPv4 header checksum");
        assert_eq!(usize::from(ip.total_len), rest.len(), "padding");
        assert!(ip.is_fragmenting_payload(), "{ip:?}");
        let shared = Shared {
            from: slice.source_addr().into(),
            to: slice.destination_addr().into(),
            identification: ip.identification.into(),
        };
        let (offset, more) = (usize::from(ip.fragment_offset.byte_offset()), ip.more_fragments);
        ip.more_fragments = false;
        ip.fragment_offset = IpFragOffset::ZERO;
        let mut header = Vec::new();
        ip.write(&mut header).unwrap();
        let content = rest[header.len()..].to_vec();
        Piece { shared, offset, more, ttl: ip.time_to_live, link: link.to_vec(), header, content }
    } else {
        let slice = Ipv6HeaderSlice::from_slice(rest).unwrap();
        let mut ip = slice.to_header();
        assert_eq!(usize::from(ip.payload_length) + 40, rest.len(), "padding");
        assert_eq!(ip.next_header.0, 44, "a fragment header behind the first");
        let place = u16::from_be_bytes([rest[42], rest[43]]);
        let identification = u32::from_be_bytes(rest[44..48].try_into().unwrap());
        let shared =
            Shared { from: slice.source_addr().into(), to: slice.destination_addr().into(), identification };
        ip.next_header.0 = rest[40];
        let mut header = Vec::new();
        ip.write(&mut header).unwrap();
        Piece {
            shared,
            offset: usize::from(place & 0xfff8),
            more: place & 1 == 1,
            ttl: ip.hop_limit,
            link: link.to_vec(),
            header,
            content: rest[48..].to_vec(),
        }
    }
}

/// The frames of the whole packets that these fragments are of, in the order of what each packet's share. Panics if one
/// is not complete, or two fragments of it do not fit each other.
#[track_caller]
pub fn join(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut packets: BTreeMap<Shared, Vec<Piece>> = BTreeMap::new();
    for piece in frames.iter().map(|frame| piece(frame)) {
        packets.entry(piece.shared).or_default().push(piece);
    }
    packets.into_values().map(join_one).collect()
}

#[track_caller]
fn join_one(mut pieces: Vec<Piece>) -> Vec<u8> {
    pieces.sort_by_key(|piece| piece.offset);
    let mut content: Vec<u8> = Vec::new();
    let first = pieces[0].clone();
    let complete = pieces.iter().any(|piece| !piece.more);
    for piece in pieces {
        assert_eq!((&piece.link, piece.ttl), (&first.link, first.ttl), "the same way and as many hops");
        assert!(piece.offset <= content.len(), "a fragment of {:?} is missing", piece.shared);
        let known = &content[piece.offset..];
        let same = known.len().min(piece.content.len());
        assert_eq!(known[..same], piece.content[..same], "two fragments differ in what both have");
        content.extend(&piece.content[same..]);
    }
    assert!(complete, "the last fragment is missing");
    let mut frame = first.link;
    let mut header = first.header;
    if header[0] >> 4 == 4 {
        let mut ip = Ipv4Header::from_slice(&header).unwrap().0;
        ip.total_len = u16::try_from(header.len() + content.len()).unwrap();
        ip.header_checksum = ip.calc_header_checksum();
        header.clear();
        ip.write(&mut header).unwrap();
    } else {
        header[4..6].copy_from_slice(&u16::try_from(content.len()).unwrap().to_be_bytes());
    }
    frame.extend(header);
    frame.extend(content);
    frame
}

/// Whether a frame holds a fragment that is not a whole packet.
pub fn is_piece(frame: &[u8]) -> bool {
    let rest = &frame[link(frame)..];
    match rest[0] >> 4 {
        4 => u16::from_be_bytes([rest[6], rest[7]]) & 0x3fff != 0,
        _ => rest[6] == 44 && u16::from_be_bytes([rest[42], rest[43]]) & 0xfff9 != 0,
    }
}

/// Octets of the Ethernet header with its tags.
fn link(frame: &[u8]) -> usize {
    let tags = (12..)
        .step_by(4)
        .take_while(|at| frame[*at..at + 2] == [0x81, 0] || frame[*at..at + 2] == [0x88, 0xa8]);
    14 + 4 * tags.count()
}
