//! One end of a TCP connection, as far as it takes to see that streams arrive whole: it repeats what is not acknowledged,
//! puts what arrives in order, acknowledges with SACK blocks, and believes nothing that it should not.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use etherparse::{SlicedPacket, TcpOptionElement, TransportSlice};

use crate::packet::{ACK, Build, Decoded, FIN, RST, SYN, decode};

/// See the module. Offsets count from the octet behind a SYN.
#[derive(Debug)]
pub struct Peer {
    pub at: SocketAddr,
    to: SocketAddr,
    isn: u32,
    /// What it says, then FIN.
    says: Vec<u8>,
    /// Octets of a segment.
    segment: usize,
    /// What it has said at least once, and what of that is acknowledged; the SYN apart, the FIN as one octet more.
    said: usize,
    acknowledged: usize,
    opened: bool,
    /// The other side's initial sequence number.
    theirs: Option<u32>,
    heard: Vec<u8>,
    pieces: BTreeMap<usize, Vec<u8>>,
    /// Where the other side's stream ends.
    end: Option<usize>,
    /// The next turn has something to acknowledge.
    owes: bool,
}

impl Peer {
    /// A client that will say this to `to`.
    pub fn client(at: &str, to: &str, (isn, segment): (u32, usize), says: Vec<u8>) -> Self {
        Self {
            at: at.parse().unwrap(),
            to: to.parse().unwrap(),
            isn,
            says,
            segment,
            said: 0,
            acknowledged: 0,
            opened: false,
            theirs: None,
            heard: Vec::new(),
            pieces: BTreeMap::new(),
            end: None,
            owes: false,
        }
    }

    /// The server that a SYN reaches.
    pub fn server(syn: &[u8], numbers: (u32, usize), says: Vec<u8>) -> Self {
        let syn = decode(syn);
        assert_eq!(syn.flags, SYN, "{syn:?}");
        let mut server = Self::client(&syn.to.to_string(), &syn.from.to_string(), numbers, says);
        server.theirs = Some(syn.sequence);
        server
    }

    /// What it has heard so far, in order.
    pub fn heard(&self) -> &[u8] {
        &self.heard
    }

    /// Both streams have ended, and it knows that the other side knows of its own.
    pub fn is_done(&self) -> bool {
        self.acknowledged > self.says.len() && self.has_heard_all()
    }

    fn has_heard_all(&self) -> bool {
        self.end == Some(self.heard.len())
    }

    /// What it sends now, having made up its mind to say the first `ready` octets: all that is not acknowledged.
    pub fn sends(&mut self, ready: usize) -> Vec<Vec<u8>> {
        if self.theirs.is_none() {
            return vec![self.build(SYN, self.isn, &[])];
        }
        if !self.opened {
            return vec![self.build(SYN | ACK, self.isn, &[])];
        }
        let ready = ready.min(self.says.len());
        let mut frames = Vec::new();
        let mut from = self.acknowledged;
        while from < ready && frames.len() < 8 {
            let until = ready.min(from + self.segment);
            let last = until == self.says.len();
            let flags = if last { FIN | ACK } else { ACK };
            frames.push(self.build(flags, self.number(from), &self.says[from..until]));
            self.said = self.said.max(until + usize::from(last));
            from = until;
        }
        if frames.is_empty() && ready == self.says.len() && self.acknowledged <= ready {
            frames.push(self.build(FIN | ACK, self.number(ready), &[]));
            self.said = self.said.max(ready + 1);
        }
        if frames.is_empty() && std::mem::take(&mut self.owes) {
            frames.push(self.build(ACK, self.number(self.acknowledged), &[]));
        }
        self.owes = false;
        frames
    }

    /// A frame arrives.
    #[track_caller]
    pub fn takes(&mut self, frame: &[u8]) {
        let segment = decode(frame);
        assert_eq!((segment.from, segment.to), (self.to, self.at));
        assert_eq!(segment.flags & RST, 0, "nobody resets anything: {segment:?}");
        if segment.flags & SYN != 0 {
            assert_eq!(*self.theirs.get_or_insert(segment.sequence), segment.sequence);
            self.owes = true;
        }
        if segment.flags & ACK != 0 {
            self.hear_acknowledgement(&segment, frame);
        }
        if segment.flags & SYN == 0 {
            self.hear_data(&segment);
        }
    }

    fn hear_acknowledgement(&mut self, segment: &Decoded, frame: &[u8]) {
        let acknowledged = self.offset(segment.acknowledgement, self.isn);
        let sacked = sack_blocks(frame).into_iter().flatten().map(|edge| self.offset(edge, self.isn));
        for offset in std::iter::once(acknowledged).chain(sacked) {
            let said = i64::try_from(self.said).unwrap();
            assert!((0..=said).contains(&offset), "{offset} of {said} octets: {segment:?} {self:?}");
        }
        self.opened = true;
        self.acknowledged = self.acknowledged.max(usize::try_from(acknowledged).unwrap());
    }

    fn hear_data(&mut self, segment: &Decoded) {
        let Some(theirs) = self.theirs else { return };
        let offset = self.offset(segment.sequence, theirs);
        let offset = usize::try_from(offset).unwrap_or_else(|_| panic!("ahead of the stream: {segment:?}"));
        let until = offset + segment.payload.len();
        if segment.flags & FIN != 0 {
            assert_eq!(*self.end.get_or_insert(until), until, "one end");
        }
        self.owes |= !segment.payload.is_empty() || segment.flags & FIN != 0;
        let piece = self.pieces.entry(offset).or_default();
        if piece.len() < segment.payload.len() {
            piece.clone_from(&segment.payload);
        }
        while let Some((offset, piece)) =
            self.pieces.first_key_value().filter(|(offset, _)| **offset <= self.heard.len())
        {
            let known = self.heard.len() - offset;
            let overlap = known.min(piece.len());
            assert_eq!(piece[..overlap], self.heard[*offset..*offset + overlap], "it repeats itself");
            self.heard.extend(&piece[overlap..]);
            self.pieces.pop_first();
        }
    }

    fn offset(&self, number: u32, isn: u32) -> i64 {
        i64::from(number.wrapping_sub(isn).wrapping_sub(1).cast_signed())
    }

    fn number(&self, offset: usize) -> u32 {
        self.isn.wrapping_add(1).wrapping_add(u32::try_from(offset).unwrap())
    }

    fn build(&self, flags: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let expected = self.theirs.map_or(0, |isn| {
            let end = usize::from(self.has_heard_all());
            isn.wrapping_add(1).wrapping_add(u32::try_from(self.heard.len() + end).unwrap())
        });
        let mut build = Build::between(self.at, self.to).flags(flags).numbers(sequence, expected);
        if let Some(theirs) = self.theirs
            && flags & SYN == 0
        {
            build.tcp_options = sack(theirs, &self.pieces);
        }
        build.payload(payload).tcp()
    }
}

/// The option that says what arrived behind a gap.
pub fn sack(isn: u32, pieces: &BTreeMap<usize, Vec<u8>>) -> Vec<u8> {
    let first = isn.wrapping_add(1);
    let blocks: Vec<u8> = pieces
        .iter()
        .filter(|(_, piece)| !piece.is_empty())
        .take(3)
        .flat_map(|(offset, piece)| [*offset, offset + piece.len()])
        .flat_map(|offset| first.wrapping_add(u32::try_from(offset).unwrap()).to_be_bytes())
        .collect();
    if blocks.is_empty() {
        Vec::new()
    } else {
        [&[1, 1, 5, u8::try_from(2 + blocks.len()).unwrap()][..], &blocks].concat()
    }
}

/// The edges in a frame's option.
pub fn sack_blocks(frame: &[u8]) -> Vec<[u32; 2]> {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("{frame:x?}") };
    let mut blocks = Vec::new();
    for option in tcp.options_iterator() {
        if let Ok(TcpOptionElement::SelectiveAcknowledgement(first, rest)) = option {
            blocks.push(first);
            blocks.extend(rest.into_iter().flatten());
        }
    }
    blocks.into_iter().map(|(left, right)| [left, right]).collect()
}
