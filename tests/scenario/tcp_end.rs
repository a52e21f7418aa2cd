//! One end of a TCP connection: as much of RFC 9293, 7323 and 2018 as shows whether what is between both ends keeps to
//! them. It shares no code with ours.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use evenkeel::model::Nanos;

use crate::packet::{ACK, Build, Decoded, FIN, RST, SYN};

/// What an end can, and what it has to say.
#[derive(Clone, Debug)]
pub struct Able {
    pub mss: u16,
    pub scale: Option<u8>,
    pub sack: bool,
    /// The beginning of its clock.
    pub clock: Option<u32>,
    pub isn: u32,
    /// Octets it keeps until they are read.
    pub buffer: u32,
    /// Octets it reads each time.
    pub reads: u32,
    /// Octets that it says; see [`text`].
    pub says: usize,
    /// What it puts into a probe of a window of zero: nothing, and one number back, or its next octet.
    pub probes_with_data: bool,
}

/// An end. Its own numbers, and the other's, are counted from their SYNs on, which are 0.
pub struct End {
    pub at: SocketAddr,
    pub peer: Option<SocketAddr>,
    able: Able,
    text: Vec<u8>,
    opens: bool,
    /// What the other's SYN said; `None` until it came.
    agreed: Option<Agreed>,
    /// The oldest number not acknowledged, the next to be sent, the one behind all that were.
    una: u32,
    next: u32,
    most: u32,
    /// The first number that the other does not take.
    takes: u32,
    /// What came and was not heard yet; `None` is the end.
    kept: BTreeMap<u32, Option<u8>>,
    expected: u32,
    /// The first number that we do not take.
    edge: u32,
    unread: u32,
    pub heard: Vec<u8>,
    pub heard_end: bool,
    last_clock: u32,
    owes: bool,
    due: Nanos,
    pub was_reset: bool,
    /// Something said who the client is.
    pub was_told: bool,
}

#[derive(Clone, Copy, Debug)]
struct Agreed {
    isn: u32,
    mss: u16,
    /// Ours, theirs.
    scales: Option<(u8, u8)>,
    sack: bool,
    clocks: bool,
}

#[derive(Debug, Default)]
struct Options {
    mss: Option<u16>,
    scale: Option<u8>,
    sack: bool,
    clocks: Option<(u32, u32)>,
    blocks: Vec<(u32, u32)>,
    toa: bool,
}

fn read(decoded: &Decoded) -> Options {
    let mut options = Options::default();
    let mut rest = decoded.tcp_options.as_slice();
    while let [kind, behind @ ..] = rest {
        if *kind <= 1 {
            rest = if *kind == 1 { behind } else { &[] };
            continue;
        }
        let (option, others) = rest.split_at(behind[0].into());
        rest = others;
        let number = |at: usize| u32::from_be_bytes(option[at..at + 4].try_into().unwrap());
        match (kind, option.len()) {
            (2, 4) => options.mss = Some(u16::from_be_bytes([option[2], option[3]])),
            (3, 3) => options.scale = Some(option[2]),
            (4, 2) => options.sack = true,
            (5, _) => {
                options.blocks.extend((2..option.len()).step_by(8).map(|at| (number(at), number(at + 4))))
            }
            (8, 10) => options.clocks = Some((number(2), number(6))),
            (254, _) => options.toa = true,
            other => panic!("an option that nobody sent: {other:?}"),
        }
    }
    options
}

/// What is said: it does not repeat itself at any power of two.
pub fn text(octets: usize) -> Vec<u8> {
    (0..octets).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect()
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {:?}, sent {}..{}..{} of {}, may {}; heard {} of {}, end {}; reset {}",
            self.at,
            self.agreed,
            self.una,
            self.next,
            self.most,
            self.end(),
            self.takes,
            self.expected,
            self.edge,
            self.heard_end,
            self.was_reset
        )
    }
}

const PATIENCE: Nanos = Nanos::from_millis(400);

fn count(octets: usize) -> u32 {
    u32::try_from(octets).expect("short streams")
}

/// How far `b` is ahead of `a`.
fn ahead(a: u32, b: u32) -> i32 {
    b.wrapping_sub(a).cast_signed()
}

impl End {
    pub fn new(at: SocketAddr, able: Able) -> Self {
        Self {
            at,
            peer: None,
            text: text(able.says),
            able,
            opens: false,
            agreed: None,
            una: 0,
            next: 0,
            most: 0,
            takes: 0,
            kept: BTreeMap::new(),
            expected: 1,
            edge: 1,
            unread: 0,
            heard: Vec::new(),
            heard_end: false,
            last_clock: 0,
            owes: false,
            due: Nanos(0),
            was_reset: false,
            was_told: false,
        }
    }

    /// Begins a connection.
    pub fn open(&mut self, to: SocketAddr) {
        self.peer = Some(to);
        self.opens = true;
    }

    /// Whether all that it has to say was heard, and the other has ended.
    pub fn is_done(&self) -> bool {
        self.heard_end && self.una == self.end()
    }

    /// The number behind its last.
    fn end(&self) -> u32 {
        count(self.able.says) + 2
    }

    fn clock(&self, now: Nanos) -> u32 {
        self.able.clock.unwrap_or(0).wrapping_add(u32::try_from(now.0 / 1_000_000).expect("short tests"))
    }

    /// A segment arrives.
    pub fn hear(&mut self, segment: &Decoded, now: Nanos) {
        let options = read(segment);
        self.was_told |= options.toa;
        self.peer.get_or_insert(segment.from);
        assert_eq!(self.peer, Some(segment.from), "from somebody else");
        let acknowledged = segment.acknowledgement.wrapping_sub(self.able.isn);
        if segment.flags & SYN != 0 {
            return self.hear_syn(segment, &options);
        }
        let Some(agreed) = self.agreed else {
            self.was_reset |= segment.flags & RST != 0 && acknowledged == 1;
            return;
        };
        let sequence = segment.sequence.wrapping_sub(agreed.isn);
        if segment.flags & RST != 0 {
            self.was_reset |= sequence == self.expected;
            return;
        }
        assert_eq!(segment.flags & ACK, ACK);
        assert!(
            acknowledged >= 1 && acknowledged <= self.most,
            "acknowledges {acknowledged} of {}",
            self.most
        );
        self.judge_clocks(agreed, &options, now);
        for (from, to) in options.blocks.iter().filter(|_| agreed.sack) {
            let [from, to] = [*from, *to].map(|edge| edge.wrapping_sub(self.able.isn));
            assert!(1 <= from && from < to && to <= self.most, "a block {from} to {to} of {}", self.most);
        }
        if acknowledged >= self.una {
            if acknowledged > self.una {
                (self.una, self.next) = (acknowledged, self.next.max(acknowledged));
                self.due = now + PATIENCE;
            }
            let scale = agreed.scales.map_or(0, |(_, theirs)| theirs);
            self.takes = self.takes.max(acknowledged + (u32::from(segment.window) << scale));
        }
        self.take(sequence, segment);
    }

    fn judge_clocks(&mut self, agreed: Agreed, options: &Options, now: Nanos) {
        let Some((clock, echo)) = options.clocks.filter(|_| agreed.clocks) else { return };
        let ours = self.clock(now);
        assert!(ahead(echo, ours) >= 0, "an echo of the future: {echo} at {ours}");
        assert!(ahead(self.able.clock.unwrap(), echo) >= 0, "an echo of before the beginning");
        // Delays are short: a clock that jumps is not the other's.
        assert!(
            ahead(self.last_clock, clock).abs() < 1_000_000,
            "a jump from {} to {clock}",
            self.last_clock
        );
        if ahead(self.last_clock, clock) > 0 {
            self.last_clock = clock;
        }
    }

    fn hear_syn(&mut self, segment: &Decoded, options: &Options) {
        self.owes = true;
        let answers = segment.flags & ACK != 0;
        if self.agreed.is_some() || answers && segment.acknowledgement != self.able.isn.wrapping_add(1) {
            return;
        }
        self.agreed = Some(Agreed {
            isn: segment.sequence,
            mss: options.mss.unwrap_or(536).min(self.able.mss),
            scales: self.able.scale.zip(options.scale),
            sack: self.able.sack && options.sack,
            clocks: self.able.clock.is_some() && options.clocks.is_some(),
        });
        self.last_clock = options.clocks.map_or(0, |(clock, _)| clock);
        self.takes = 1 + u32::from(segment.window);
        if answers {
            (self.una, self.next, self.most) = (1, 1, 1);
        }
    }

    /// Takes data in, as far as it was said that they are taken.
    fn take(&mut self, sequence: u32, segment: &Decoded) {
        let data = segment.payload.iter().copied().map(Some);
        let end = (segment.flags & FIN != 0).then_some(None);
        let mut any = false;
        for (number, octet) in (sequence..).zip(data.chain(end)) {
            any = true;
            if number >= self.expected && (number < self.edge || octet.is_none()) {
                self.kept.insert(number, octet);
            }
        }
        // A probe wants an answer, too.
        self.owes |= any || sequence != self.expected;
        while let Some(octet) = self.kept.remove(&self.expected) {
            self.expected += 1;
            match octet {
                Some(octet) => {
                    self.heard.push(octet);
                    self.unread += 1;
                }
                None => self.heard_end = true,
            }
        }
    }

    /// What it has to say now; time may have passed.
    pub fn speak(&mut self, now: Nanos) -> Vec<Vec<u8>> {
        let Some(peer) = self.peer else { return Vec::new() };
        let Some(agreed) = self.agreed else {
            if now < self.due || !self.opens {
                return Vec::new();
            }
            (self.due, self.most) = (now + PATIENCE, 1);
            return vec![self.syn(peer, now)];
        };
        let closed = self.unread + 1 >= self.able.buffer;
        self.unread -= self.unread.min(self.able.reads);
        self.owes |= closed;
        let mut said = Vec::new();
        let is_late = self.una < self.most && now >= self.due;
        if !self.opens && (self.most == 0 || self.una == 0 && (is_late || self.owes)) {
            (self.next, self.most, self.due, self.owes) = (1, 1, now + PATIENCE, false);
            return vec![self.syn(peer, now)];
        }
        if self.una == 0 {
            return said;
        }
        if is_late {
            self.next = self.una;
        }
        while self.next < self.end() && self.next < self.takes {
            let from = self.next as usize - 1;
            // RFC 6691: options are the sender's to take off.
            let room = (self.takes - self.next).min(u32::from(agreed.mss) - 24) as usize;
            let to = (from + room).min(self.able.says);
            // Who watches without looking at numbers must not take the acknowledgement of something else for the end's.
            let all_heard = self.una as usize == self.able.says + 1;
            let fin = if from == self.able.says && all_heard { FIN } else { 0 };
            let data = self.text[from..to].to_vec();
            if data.is_empty() && fin == 0 {
                break;
            }
            said.push(self.segment(peer, self.next, fin, data, now));
            if self.next == self.most || is_late {
                self.due = now + PATIENCE;
            }
            self.next += count(to - from) + u32::from(fin != 0);
            self.most = self.most.max(self.next);
        }
        // A probe that is lost is repeated as what it is.
        let is_shut = self.una < self.end() && self.takes <= self.una;
        if is_shut && now >= self.due {
            self.due = now + PATIENCE;
            let place = self.una as usize - 1;
            if self.able.probes_with_data && place < self.able.says {
                said.push(self.segment(peer, self.una, 0, vec![self.text[place]], now));
                self.most = self.most.max(self.una + 1);
            } else {
                said.push(self.segment(peer, self.una - 1, 0, Vec::new(), now));
            }
        }
        if said.is_empty() && self.owes {
            said.push(self.segment(peer, self.next, 0, Vec::new(), now));
        }
        self.owes = false;
        said
    }

    fn syn(&self, peer: SocketAddr, now: Nanos) -> Vec<u8> {
        let mut build = Build::between(self.at, peer);
        let mut options = [&[2, 4][..], &self.able.mss.to_be_bytes()].concat();
        // Only what the other has offered.
        let theirs = |has: fn(&Agreed) -> bool| self.agreed.as_ref().is_none_or(has);
        if self.able.sack && theirs(|agreed| agreed.sack) {
            options.extend([4, 2, 1, 1]);
        }
        if self.able.clock.is_some() && theirs(|agreed| agreed.clocks) {
            options.extend([1, 1, 8, 10]);
            options.extend(self.clock(now).to_be_bytes());
            options.extend(self.last_clock.to_be_bytes());
        }
        if let Some(scale) = self.able.scale.filter(|_| theirs(|agreed| agreed.scales.is_some())) {
            options.extend([1, 3, 3, scale]);
        }
        build.tcp_options = options;
        build.window = u16::try_from(self.able.buffer).unwrap_or(u16::MAX);
        let expected = self.agreed.map_or(0, |agreed| agreed.isn.wrapping_add(1));
        let flags = if self.opens { SYN } else { SYN | ACK };
        build.flags(flags).numbers(self.able.isn, expected).tcp()
    }

    fn segment(&mut self, peer: SocketAddr, number: u32, flags: u8, data: Vec<u8>, now: Nanos) -> Vec<u8> {
        let agreed = self.agreed.expect("a connection");
        let mut build = Build::between(self.at, peer);
        let mut options = Vec::new();
        if agreed.clocks {
            options.extend([1, 1, 8, 10]);
            options.extend(self.clock(now).to_be_bytes());
            options.extend(self.last_clock.to_be_bytes());
        }
        if agreed.sack
            && let Some((first, _)) = self.kept.first_key_value()
        {
            let length = count((*first..).zip(self.kept.keys()).take_while(|(n, key)| n == *key).count());
            options.extend([1, 1, 5, 10]);
            for edge in [*first, first + length] {
                options.extend(edge.wrapping_add(agreed.isn).to_be_bytes());
            }
        }
        build.tcp_options = options;
        let scale = agreed.scales.map_or(0, |(ours, _)| ours);
        let free = self.able.buffer.saturating_sub(self.unread + count(self.kept.len()));
        build.window = u16::try_from(free >> scale).unwrap_or(u16::MAX);
        // Once taken is taken, and what is between tells in other units may tell a little more.
        let slack = if agreed.scales.is_some() { 127 } else { 0 };
        self.edge = self.edge.max(self.expected + (u32::from(build.window) << scale) + slack);
        let expected = agreed.isn.wrapping_add(self.expected);
        let number = self.able.isn.wrapping_add(number);
        build.flags(flags | ACK).numbers(number, expected).payload(&data).tcp()
    }
}
