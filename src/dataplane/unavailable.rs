//! The answer of a TCP service without a backend that shows a page: a whole HTTP conversation, without a flow.
//!
//! ```text
//!   client  SYN s            ->
//!           <- SYN c, ACK s+1            c is a cookie
//!           ACK c+1          ->          silence
//!           request, ACK c+1 ->          the first segment
//!           <- page, FIN, ACK of it all
//!           ACK of all       ->          silence
//!           FIN              ->
//!           <- ACK
//! ```
//!
//! All that is known of a connection stands in each of its segments (after RFC 4987, 3.6). What a client acknowledges is
//! the cookie and what we have said behind it, which is one of few things:
//!
//! ```text
//!   cookie = | 12 bits: of connection and first sequence number | 20 bits: mark of the connection |
//! ```
//!
//! The page goes to the first segment alone: its sequence number tells the client's first one, so its cookie must be
//! right in all bits. Lost on its way it comes again with the same numbers, and gets the same answer. In later segments
//! the mark must be right, and tells what the client has heard. Until it has heard the page nothing more is acknowledged,
//! as the first segment may be missing; what it says comes again when it has, and is acknowledged then.

use super::flow::FlowFamily;
use super::pipeline::{Arrival, Pipeline, View};
use super::verdict::Verdict;
use crate::hash::{IndexKey, SipKey};
use crate::model::{Family, FiveTuple, Nanos};
use crate::shared::DropReason;
use crate::wire::craft::{Refusal, Reply, Say};
use crate::wire::tcp_flags::{FIN, RST, SYN};
use crate::wire::{Layout, Segment};

/// The secret of the cookies, the same for all workers of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cookies(SipKey);

/// How long a connection has the same cookies. They hold for the next such time, too: a client that is silent for one to
/// two minutes is a stranger, as with Linux's SYN cookies.
const SLOT: Nanos = Nanos::from_secs(64);

/// The bits of a cookie that mark the connection, whatever the client's first sequence number. The low ones, as there
/// what was said behind a cookie shows; so many that one segment in 10^5 of a stranger's passes for one of ours, and gets
/// silence or an acknowledgement.
const MARK: u32 = (1 << 20) - 1;

/// What a segment to a service that shows a page means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// It has no cookie of ours.
    Stranger,
    /// It needs no answer.
    Heard,
    /// It gets this one.
    Answer(Reply),
}

impl Cookies {
    /// The cookies of a process with this key.
    #[must_use]
    pub(super) fn new(key: &IndexKey) -> Self {
        // Not the index hash itself: strangers see cookies, and could learn from them to aim at one bucket.
        Self(key.derive(u64::from_be_bytes(*b"cookies ")))
    }

    /// The answer to a client's SYN, which says that segments of up to `mss` octets are taken.
    fn accept<F: Family>(&self, tuple: &FiveTuple<F>, syn: &Segment, mss: u16, now: Nanos) -> Reply {
        Reply {
            sequence: self.cookie(tuple, syn.sequence, slot(now)),
            acknowledgement: syn.sequence.wrapping_add(1),
            say: Say::Accept { mss },
        }
    }

    /// The meaning of a segment that is no bare SYN; `data` are its data.
    fn meaning<F: Family>(
        &self,
        tuple: &FiveTuple<F>,
        segment: &Segment,
        data: &[u8],
        now: Nanos,
    ) -> Meaning {
        let Some(acknowledged) = segment.acknowledgement.filter(|_| segment.flags & (SYN | RST) == 0) else {
            return Meaning::Stranger;
        };
        let cookie_before = |said: Say| acknowledged.wrapping_sub(said.octets()).wrapping_sub(1);
        let slots = [slot(now), slot(now).wrapping_sub(1)];
        let heard = slots.into_iter().find_map(|slot| {
            let mark = self.mark(tuple, slot);
            let said = [Say::Acknowledge, Say::Close, Say::Page, Say::Head];
            let said = said.into_iter().find(|said| cookie_before(*said) & MARK == mark)?;
            Some((slot, said))
        });
        let Some((slot, said)) = heard else { return Meaning::Stranger };
        let is_first = self.cookie(tuple, segment.sequence.wrapping_sub(1), slot) == cookie_before(said);
        let speaks = segment.octets() > 0;
        let closes = segment.flags & FIN != 0;
        let say = if said != Say::Acknowledge {
            // The page or the end.
            if !speaks && !closes {
                return Meaning::Heard;
            }
            Say::Acknowledge
        } else if !is_first || !speaks && !closes {
            return Meaning::Heard;
        } else if data.starts_with(b"HEAD ") {
            Say::Head
        } else if speaks {
            Say::Page
        } else {
            Say::Close
        };
        Meaning::Answer(Reply { sequence: acknowledged, acknowledgement: segment.next(), say })
    }

    /// Our first sequence number on a connection that begins in this slot with this one of the client's.
    fn cookie<F: Family>(&self, tuple: &FiveTuple<F>, sequence: u32, slot: u64) -> u32 {
        self.hash(tuple, slot, 1 << 32 | u64::from(sequence)) & !MARK | self.mark(tuple, slot)
    }

    fn mark<F: Family>(&self, tuple: &FiveTuple<F>, slot: u64) -> u32 {
        self.hash(tuple, slot, 0) & MARK
    }

    #[expect(clippy::cast_possible_truncation, reason = "any 32 bits of a hash are as good as others")]
    fn hash<F: Family>(&self, tuple: &FiveTuple<F>, slot: u64, what: u64) -> u32 {
        let [w0, w1, w2, w3] = F::words(tuple.addresses());
        let ports = u64::from(tuple.ports().word()) << 8 | u64::from(F::VERSION);
        self.0.hash(&[w0, w1, w2, w3, ports, slot, what]) as u32
    }
}

impl Pipeline {
    /// The verdict on a SYN that a service which shows a page cannot serve, for this reason.
    #[cold]
    pub(super) fn accept_for_page<F: FlowFamily>(
        &self,
        reason: DropReason,
        head: &[u8],
        tuple: &FiveTuple<F>,
        arrival: Arrival,
        view: View<'_>,
    ) -> Verdict {
        let Some(syn) = Segment::read(&arrival.packet, head) else {
            return Verdict::Refuse(reason, Refusal::Unreachable);
        };
        let Layout { l3, l4, .. } = F::LAYOUT;
        // RFC 9293, 3.7.1: without the fixed headers. No more than what crosses Ethernet, whatever our own port takes.
        let mtu = self.ports[arrival.port.index()].egress.mtu.min(1500);
        let reply = self.cookies.accept(tuple, &syn, mtu.saturating_sub(l4 - l3 + 20), view.now);
        Verdict::Refuse(reason, Refusal::Reply(reply))
    }

    /// The verdict on a segment that is no SYN and has no flow, to such a service; `None` if it has no cookie of ours.
    #[cold]
    pub(super) fn show_page<F: FlowFamily>(
        &self,
        head: &[u8],
        tuple: &FiveTuple<F>,
        arrival: Arrival,
        view: View<'_>,
    ) -> Option<Verdict> {
        let segment = Segment::read(&arrival.packet, head)?;
        match self.cookies.meaning(tuple, &segment, segment.data(head), view.now) {
            Meaning::Stranger => None,
            Meaning::Heard => Some(Verdict::Drop(DropReason::NoBackend)),
            Meaning::Answer(reply) => Some(Verdict::Refuse(DropReason::NoBackend, Refusal::Reply(reply))),
        }
    }
}

const fn slot(now: Nanos) -> u64 {
    now.0 / SLOT.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Protocol, V4, V6};
    use crate::wire::ethernet::Link;
    use crate::wire::tcp_flags::ACK;
    use crate::wire::{Parsed, parse};

    const NOW: Nanos = Nanos::from_secs(1_000);

    fn cookies() -> Cookies {
        Cookies::new(&IndexKey::new([1, 2, 3, 4]))
    }

    fn segment(flags: u8, sequence: u32, acknowledgement: u32, data: &[u8]) -> Segment {
        let mut frame = Vec::new();
        let mut header = etherparse::TcpHeader::new(40_000, 80, sequence, 1024);
        header.acknowledgment_number = acknowledgement;
        (header.syn, header.ack) = (flags & SYN != 0, flags & ACK != 0);
        (header.fin, header.rst) = (flags & FIN != 0, flags & RST != 0);
        let builder =
            etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([192, 0, 2, 1], [203, 0, 113, 80], 64);
        builder.tcp_header(header).write(&mut frame, data).unwrap();
        let link = Link::read(&frame).unwrap();
        let Ok(Parsed::Ip(packet)) = parse(&link, &frame, frame.len()) else { panic!("{frame:x?}") };
        Segment::read(&packet, &frame).unwrap()
    }

    fn v4(client: (u32, u16), vip: (u32, u16)) -> FiveTuple<V4> {
        FiveTuple::new(client, vip, Protocol::Tcp)
    }

    fn meaning<F: Family>(
        tuple: &FiveTuple<F>,
        flags: u8,
        numbers: (u32, u32),
        data: &[u8],
        now: Nanos,
    ) -> Meaning {
        cookies().meaning(tuple, &segment(flags, numbers.0, numbers.1, data), data, now)
    }

    proptest! {
        #[test]
        fn a_cookie_holds_for_its_own_connection_for_one_to_two_slots(
            client: (u128, u16),
            vip: (u128, u16),
            sequence: u32,
            seconds in 0_u64..1 << 30,
        ) {
            let tuple = FiveTuple::<V6>::new(client, vip, Protocol::Tcp);
            let began = Nanos::from_secs(seconds);
            let syn = segment(SYN, sequence, 0, b"");
            let cookie = cookies().accept(&tuple, &syn, 1440, began).sequence;
            let numbers = (sequence.wrapping_add(1), cookie.wrapping_add(1));
            let page = Meaning::Answer(Reply {
                sequence: numbers.1,
                acknowledgement: numbers.0.wrapping_add(2),
                say: Say::Page,
            });
            for later in [0, 63, 64] {
                prop_assert_eq!(meaning(&tuple, ACK, numbers, b"GE", began + Nanos::from_secs(later)), page);
            }
            prop_assert_ne!(meaning(&tuple, ACK, numbers, b"GE", began + Nanos::from_secs(128)), page);
        }

        #[test]
        fn a_cookie_of_one_connection_never_shows_the_page_to_another(
            client: (u32, u16),
            vip: (u32, u16),
            sequence: u32,
            other in prop_oneof![
                any::<(u32, u16)>().prop_map(|client| (Some(client), None, None)),
                any::<(u32, u16)>().prop_map(|vip| (None, Some(vip), None)),
                any::<u32>().prop_map(|sequence| (None, None, Some(sequence))),
            ],
        ) {
            let syn = segment(SYN, sequence, 0, b"");
            let cookie = cookies().accept(&v4(client, vip), &syn, 1460, NOW).sequence;
            let tuple = v4(other.0.unwrap_or(client), other.1.unwrap_or(vip));
            let claimed = other.2.unwrap_or(sequence);
            prop_assume!((tuple, claimed) != (v4(client, vip), sequence));
            let answer = meaning(&tuple, ACK, (claimed.wrapping_add(1), cookie.wrapping_add(1)), b"GET", NOW);
            // Of another first sequence number 12 bits decide: it is the client's own, and it only harms itself.
            let pages = matches!(answer, Meaning::Answer(Reply { say: Say::Page | Say::Head, .. }));
            prop_assert!(!pages || other.2.is_some(), "{answer:?}");
        }
    }

    #[test]
    fn strangers_are_taken_for_ours_no_oftener_than_the_mark_allows() {
        let tuple = v4((1, 40_000), (2, 80));
        let known = (0..200_000_u32)
            .map(|n| n.wrapping_mul(0x9e37_79b9))
            .filter(|n| meaning(&tuple, ACK, (*n, n.rotate_left(7)), b"", NOW) != Meaning::Stranger)
            .count();
        // Four things said, two slots, 20 bits: 1.5 expected.
        assert!(known <= 8, "{known}");
    }

    #[test]
    fn a_later_segment_is_not_taken_for_the_first_one() {
        let (mut taken, tuple) = (0, v4((1, 40_000), (2, 80)));
        for sequence in 0..1_000_u32 {
            let cookie = cookies().accept(&tuple, &segment(SYN, sequence, 0, b""), 1460, NOW).sequence;
            let later = meaning(&tuple, ACK, (sequence + 200, cookie.wrapping_add(1)), b"more", NOW);
            taken += usize::from(later != Meaning::Heard);
        }
        // 12 bits: 0.25 expected.
        assert!(taken <= 4, "{taken}");
    }
}
