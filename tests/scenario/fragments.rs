//! Datagrams in pieces: they arrive as they were sent, translated, whatever their order and wherever they land.

use evenkeel::model::{BackendState, Encapsulation, ForwardingMode, Mac, Nanos, Timeouts, VlanTag};
use evenkeel::shared::DropReason;
use proptest::prelude::*;

use crate::lab::{CLIENT_MAC, LOCAL4, Lab, Plan, VIP4, VIP6};
use crate::packet::{ACK, Build, Kind, SYN, decode};
use crate::pieces::{join, piece, split};

const CLIENT4: &str = "198.51.100.7:40000";
const CLIENT6: &str = "[2001:db8:7::7]:40000";
const DNS4: &str = "203.0.113.80:53";
const DNS6: &str = "[2001:db8::80]:53";

const BOTH: [(&str, &str); 2] = [(CLIENT4, DNS4), (CLIENT6, DNS6)];

/// What Ethernet makes of 4000 octets over IPv6, and could over IPv4.
const CUTS: [usize; 2] = [1448, 2896];

fn text(octets: usize) -> Vec<u8> {
    (0..octets).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

fn datagram(from: &str, to: &str) -> Vec<u8> {
    Build::new(from, to).payload(&text(4000)).udp()
}

/// Delivers frames to workers and returns what was sent because of them all.
fn exchange(lab: &mut Lab, frames: &[Vec<u8>], worker: impl Fn(usize) -> usize) -> Vec<Vec<u8>> {
    for (n, frame) in frames.iter().enumerate() {
        lab.deliver_to(worker(n), frame);
    }
    lab.settle();
    lab.sent()
}

/// The only packet that these fragments are of, put together.
#[track_caller]
fn joined(frames: &[Vec<u8>]) -> crate::packet::Decoded {
    let whole = join(frames);
    assert_eq!(whole.len(), 1, "one packet");
    decode(&whole[0])
}

fn offsets(frames: &[Vec<u8>]) -> Vec<usize> {
    frames.iter().map(|frame| piece(frame).offset).collect()
}

#[test]
fn a_datagram_in_pieces_is_translated_as_a_whole_in_both_directions() {
    for (client, vip) in BOTH {
        let mut lab = Lab::new(Plan::default());
        let sent = exchange(&mut lab, &split(&datagram(client, vip), 77, &CUTS), |_| 0);
        let there = joined(&sent);
        assert_eq!((there.payload.len(), there.ttl), (4000, 63));
        assert_eq!(there.payload, text(4000));
        assert_eq!(there.to.port(), 8080);
        // A whole datagram of the same flow goes the same way.
        let whole = lab.forward(&Build::new(client, vip).payload(b"whole").udp());
        assert_eq!((there.from, there.to), (whole.from, whole.to));

        let answer = Build::answer(&there).payload(&text(8000)).udp();
        let cuts: Vec<usize> = (1..6).map(|n| n * 1448).collect();
        let back = joined(&exchange(&mut lab, &split(&answer, 78, &cuts), |_| 0));
        assert_eq!((back.from, back.to), (vip.parse().unwrap(), client.parse().unwrap()));
        assert_eq!(back.payload, text(8000));
        assert_eq!((lab.tally().flows(), lab.tally().held), (1, 0));
        lab.assert_conserved();
    }
}

#[test]
fn later_fragments_wait_for_the_first_and_follow_it_in_the_order_in_which_they_came() {
    for (client, vip) in BOTH {
        let mut lab = Lab::new(Plan::default());
        let pieces = split(&datagram(client, vip), 77, &[800, 1600, 2400, 3200]);
        let early: Vec<_> = [3, 1, 4].iter().map(|n: &usize| pieces[*n].clone()).collect();
        assert!(exchange(&mut lab, &early, |_| 0).is_empty());
        assert_eq!((lab.tally().held, lab.tally().flows()), (3, 0));
        lab.assert_conserved();
        let mut sent = exchange(&mut lab, &[pieces[0].clone(), pieces[2].clone()], |_| 0);
        assert_eq!(offsets(&sent), [0, 2400, 800, 3200, 1600]);
        sent.sort();
        assert_eq!(joined(&sent).payload, text(4000));
        assert_eq!(lab.tally().held, 0);
        lab.assert_conserved();
    }
}

#[test]
fn a_later_fragment_has_no_ports_whatever_its_content_looks_like() {
    let mut lab = Lab::new(Plan::default());
    // Behind 1480 octets stands what would be a datagram of another flow, to a port that is served.
    let mut payload = text(1480 - 8);
    payload.extend(&Build::new("198.51.100.7:41111", DNS4).payload(b"forged").udp()[34..]);
    let pieces = split(&Build::new(CLIENT4, DNS4).payload(&payload).udp(), 5, &[1480]);
    assert!(lab.exchange(&pieces[1]).is_empty());
    assert_eq!((lab.tally().flows(), lab.tally().held), (0, 1));
    lab.wait(Nanos::from_millis(1_200));
    assert_eq!((lab.tally().flows(), lab.tally().held), (0, 0));
    assert_eq!(lab.dropped(DropReason::FragmentWithoutFirst), 1);
    assert_eq!(lab.pool.available(), 4096);
    lab.assert_conserved();
}

#[test]
fn fragments_without_their_first_are_bounded_in_number_and_time() {
    let mut lab = Lab::new(Plan::default());
    for n in 0..300 {
        let pieces = split(&datagram(CLIENT4, DNS4), n, &CUTS);
        lab.deliver_to(0, &pieces[1]);
    }
    lab.settle();
    assert_eq!((lab.tally().held, lab.dropped(DropReason::FragmentStoreFull)), (256, 44));
    lab.assert_conserved();
    // The ones that came last are those that may still be of use.
    for (n, waits) in [(0, false), (43, false), (44, true), (299, true)] {
        let pieces = split(&datagram(CLIENT4, DNS4), n, &CUTS);
        let sent = exchange(&mut lab, &pieces[..1], |_| 0);
        assert_eq!(sent.len(), if waits { 2 } else { 1 }, "{n}");
    }
    lab.wait(Nanos::from_millis(1_200));
    assert_eq!(lab.tally().held, 0);
    assert_eq!(lab.dropped(DropReason::FragmentWithoutFirst), 254);
    assert_eq!(lab.pool.available(), 4096, "every buffer came back");
    lab.assert_conserved();
}

#[test]
fn a_first_fragment_is_remembered_for_five_seconds_and_a_new_one_takes_its_place() {
    let mut lab = Lab::new(Plan::default());
    let pieces = split(&datagram(CLIENT4, DNS4), 9, &CUTS);
    lab.exchange_raw(&pieces[0]);
    lab.wait(Nanos::from_millis(4_900));
    assert_eq!(lab.exchange_raw(&pieces[1]).len(), 1);
    lab.wait(Nanos::from_millis(200));
    assert_eq!(lab.exchange_raw(&pieces[2]).len(), 0, "it waits again");
    // The sender begins anew with its identifications; now they are another flow's.
    let other = split(&datagram("198.51.100.7:40001", DNS4), 9, &CUTS);
    let sent = lab.exchange_raw(&other[0]);
    assert_eq!(offsets(&sent), [0, 2896], "what waited is taken for the new one's, as receivers do");
    let whole = lab.forward(&Build::new("198.51.100.7:40001", DNS4).udp());
    assert_eq!(piece(&sent[1]).shared.to, whole.to.ip());
}

#[test]
fn tcp_segments_in_pieces_are_of_their_flow() {
    let (client, vip) = (CLIENT4, "203.0.113.80:80");
    let mut lab = Lab::new(Plan::default());
    let syn = lab.forward(&Build::new(client, vip).tcp());
    lab.forward(&Build::answer(&syn).flags(SYN | ACK).tcp());
    let data = Build::new(client, vip).flags(ACK).payload(&text(3000)).tcp();
    let mut pieces = split(&data, 4, &CUTS);
    pieces.reverse();
    let there = joined(&exchange(&mut lab, &pieces, |_| 0));
    assert_eq!((there.from, there.to, there.kind), (syn.from, syn.to, Kind::Tcp));
    assert_eq!(there.payload, text(3000));
    // Nothing of them begins a flow without a SYN: the first is answered, once, and takes the others with it.
    let data = Build::new("198.51.100.7:40009", vip).flags(ACK).payload(&text(3000)).tcp();
    let sent = exchange(&mut lab, &split(&data, 4, &CUTS), |_| 0);
    assert_eq!(sent.len(), 1);
    assert_eq!(decode(&sent[0]).flags, crate::packet::RST);
    assert_eq!(lab.dropped(DropReason::UnknownFlow), 3);
    lab.assert_conserved();
}

#[test]
fn fragments_that_no_honest_sender_makes_are_dropped() {
    for (client, vip) in BOTH {
        let mut lab = Lab::new(Plan::default());
        let web = vip.replace(":53", ":80");
        let syn = Build::new(client, &web).payload(&text(64)).tcp();
        let invalid = |lab: &Lab| lab.dropped(DropReason::FragmentInvalid);
        // RFC 1858, section 3: the flags are in the second one. What follows goes the same way.
        let tiny = split(&syn, 1, &[16, 48]);
        assert!(exchange(&mut lab, &tiny, |_| 0).is_empty());
        assert_eq!(invalid(&lab), 3);
        // Section 4, and RFC 3128: a whole header first, then a piece over its flags.
        let honest = split(&syn, 2, &[32]);
        let over = split(&syn, 2, &[8, 40]);
        let sent = exchange(&mut lab, &[honest[0].clone(), over[1].clone(), honest[1].clone()], |_| 0);
        assert_eq!((offsets(&sent), invalid(&lab)), (vec![0, 32], 4));
        // RFC 5722: over the data behind the header.
        let dns = datagram(client, vip);
        let (honest, over) = (split(&dns, 3, &CUTS), split(&dns, 3, &[1440, 2800]));
        let sent = exchange(&mut lab, &[over[1].clone(), honest[0].clone(), over[1].clone()], |_| 0);
        assert_eq!((offsets(&sent), invalid(&lab)), (vec![0], 6));
        // A length that the next one cannot begin behind.
        let mut odd = split(&Build::new(client, vip).payload(&text(64)).udp(), 4, &[24, 48]);
        odd[1].pop();
        let length = if vip == DNS4 { 16..18 } else { 18..20 };
        let octets = u16::from_be_bytes(odd[1][length.clone()].try_into().unwrap()) - 1;
        odd[1][length].copy_from_slice(&octets.to_be_bytes());
        if vip == DNS4 {
            odd[1][24..26].fill(0);
            let sum = !evenkeel::wire::checksum::fold(evenkeel::wire::checksum::sum(&odd[1][14..34]));
            odd[1][24..26].copy_from_slice(&sum.to_be_bytes());
        }
        assert!(lab.exchange(&odd[1]).is_empty());
        assert_eq!(invalid(&lab), 7);
        lab.assert_conserved();
    }
}

#[test]
fn a_refused_datagram_is_answered_once_and_its_later_fragments_vanish() {
    for (client, vip, answer) in
        [(CLIENT4, "203.0.113.80:54", Kind::Icmp(3, 3)), (CLIENT6, "[2001:db8::80]:54", Kind::Icmp(1, 4))]
    {
        let mut lab = Lab::new(Plan::default());
        let pieces = split(&datagram(client, vip), 1, &CUTS);
        let sent = exchange(&mut lab, &[pieces[1].clone(), pieces[0].clone(), pieces[2].clone()], |_| 0);
        assert_eq!(sent.iter().map(|frame| decode(frame).kind).collect::<Vec<_>>(), [answer]);
        assert_eq!(lab.dropped(DropReason::NoService), 3);
        lab.assert_conserved();
    }
}

#[test]
fn the_last_hop_is_counted_on_every_fragment_and_told_of_the_first() {
    let mut lab = Lab::new(Plan::default());
    lab.forward(&Build::new(CLIENT4, DNS4).udp());
    let dying = Build::new(CLIENT4, DNS4).payload(&text(4000)).ttl(1).udp();
    let sent = exchange(&mut lab, &split(&dying, 1, &CUTS), |_| 0);
    assert_eq!(sent.iter().map(|frame| decode(frame).kind).collect::<Vec<_>>(), [Kind::Icmp(11, 0)]);
    assert_eq!(lab.dropped(DropReason::TtlExpired), 3);
}

#[test]
fn fragments_of_a_flow_that_has_ended_are_no_other_flows() {
    let timeouts = Timeouts { udp: Nanos::from_secs(2), ..Timeouts::default() };
    let mut lab = Lab::new(Plan { timeouts, ..Plan::default() });
    lab.settle();
    let pieces = split(&datagram(CLIENT4, DNS4), 1, &CUTS);
    lab.exchange_raw(&pieces[0]);
    lab.wait(Nanos::from_secs(4));
    assert_eq!(lab.tally().flows(), 0);
    lab.lose(&pieces[1], DropReason::FragmentWithoutFirst);
}

#[test]
fn fragments_from_addresses_that_no_one_may_have_do_not_even_wait() {
    let mut lab = Lab::new(Plan::default());
    for source in ["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", VIP4, LOCAL4] {
        for piece in split(&datagram(&format!("{source}:9"), DNS4), 1, &CUTS) {
            lab.lose(&piece, DropReason::Martian);
        }
    }
    for source in ["::", "::1", "ff02::1", VIP6] {
        for piece in split(&datagram(&format!("[{source}]:9"), DNS6), 1, &CUTS) {
            lab.lose(&piece, DropReason::Martian);
        }
    }
}

#[test]
fn fragments_for_the_kernel_go_to_the_kernel() {
    let mut lab = Lab::new(Plan::default());
    let ping = Build::new("198.51.100.7:0", "203.0.113.80:0").raw(1, &text(4000));
    let ping6 = Build::new("[2001:db8:7::7]:0", "[2001:db8::80]:0").raw(58, &[128; 4000]);
    let mut ospf = Build::new("198.51.100.7:0", "224.0.0.5:0");
    ospf.destination_mac = Mac([1, 0, 0x5e, 0, 0, 5]);
    let ospf = ospf.raw(89, &text(4000));
    let own = datagram(CLIENT4, "192.0.2.10:123");
    let probe = datagram("10.0.9.1:53", "10.0.8.10:4000");
    for (what, frame) in [
        ("a large echo request to a VIP", ping),
        ("the same over IPv6", ping6),
        ("OSPF", ospf),
        ("a datagram to our own address", own),
        ("an answer to a probe that uses a local address", probe),
    ] {
        let mut pieces = split(&frame, 1, &CUTS);
        pieces.reverse();
        assert!(exchange(&mut lab, &pieces, |_| 0).is_empty());
        assert_eq!(lab.punted(), 3, "{what}: {:?}", lab.drops());
    }
    // A protocol that nobody balances.
    assert!(
        exchange(
            &mut lab,
            &split(&Build::new("198.51.100.7:0", "203.0.113.80:0").raw(132, &text(4000)), 2, &CUTS),
            |_| 0
        )
        .is_empty()
    );
    assert_eq!(lab.dropped(DropReason::NoService), 3);
    lab.assert_conserved();
}

#[test]
fn extension_headers_stand_in_front_of_fragments_and_in_the_first_one() {
    let mut lab = Lab::new(Plan::default());
    // Destination options (padding) in front of the datagram: part of what is cut.
    let udp = &datagram(CLIENT6, DNS6)[54..];
    let mut content = vec![17, 0, 1, 4, 0, 0, 0, 0];
    content.extend(udp);
    let whole = Build::new(CLIENT6, DNS6).raw(60, &content);
    let mut pieces = split(&whole, 0xdead_beef, &[1400, 2800]);
    // Hop-by-hop options in front of the fragment header: part of every piece.
    for piece in &mut pieces {
        let length = u16::from_be_bytes([piece[18], piece[19]]) + 8;
        piece[18..20].copy_from_slice(&length.to_be_bytes());
        piece[20] = 0;
        piece.splice(54..54, [44, 0, 1, 4, 0, 0, 0, 0]);
    }
    pieces.reverse();
    let mut sent = exchange(&mut lab, &pieces, |_| 0);
    assert_eq!((sent.len(), lab.tally().flows()), (3, 1), "{:?}", lab.drops());
    for piece in &mut sent {
        assert_eq!(piece.splice(54..62, []).collect::<Vec<_>>(), [44, 0, 1, 4, 0, 0, 0, 0]);
        let length = u16::from_be_bytes([piece[18], piece[19]]) - 8;
        piece[18..20].copy_from_slice(&length.to_be_bytes());
        piece[20] = 44;
    }
    let there = joined(&sent);
    assert_eq!((there.payload, there.to.port()), (text(4000), 8080));
}

#[test]
fn tags_change_and_padding_goes_as_on_whole_packets() {
    let mut lab = Lab::new(Plan { next_hop_vlan: VlanTag::Id(9), ..Plan::default() });
    let tagged = Build::new(CLIENT4, DNS4).payload(&text(1480)).vlan(5).udp();
    let mut pieces = split(&tagged, 3, &[1480]);
    assert_eq!(pieces[1].len(), 18 + 20 + 8);
    pieces[1].resize(64, 0xee);
    let there = joined(&exchange(&mut lab, &pieces, |_| 0));
    assert_eq!((there.vlan, &there.payload), (Some(9), &text(1480)));
    let answer = Build::answer(&there).payload(&text(1480)).vlan(9).udp();
    let back = joined(&exchange(&mut lab, &split(&answer, 3, &[1480]), |_| 0));
    assert_eq!((back.vlan, back.destination_mac), (Some(5), CLIENT_MAC));
}

#[test]
fn a_duplicated_fragment_is_sent_on_like_the_first_of_its_kind() {
    let mut lab = Lab::new(Plan::default());
    let pieces = split(&datagram(CLIENT4, DNS4), 77, &CUTS);
    let twice: Vec<_> = pieces.iter().chain(&pieces).cloned().collect();
    let sent = exchange(&mut lab, &twice, |_| 0);
    assert_eq!(sent.len(), 6);
    assert_eq!(joined(&sent).payload, text(4000));
    assert_eq!(lab.tally().flows(), 1);
}

#[test]
fn wherever_fragments_land_their_flows_owner_sends_them_on() {
    for (client, vip) in [("198.51.100.7", DNS4), ("[2001:db8:7::7]", DNS6)] {
        let mut lab = Lab::new(Plan { workers: 3, ..Plan::default() });
        for n in 0..120_u16 {
            let client = format!("{client}:{}", 20_000 + n);
            let mut pieces = split(&datagram(&client, vip), u32::from(n), &CUTS);
            pieces.rotate_left(usize::from(n % 3));
            let spread = |step: usize| (usize::from(n / 3) + step) % 3;
            let there = joined(&exchange(&mut lab, &pieces, spread));
            assert_eq!(there.payload, text(4000));
            let answer = Build::answer(&there).payload(&text(4000)).udp();
            let mut pieces = split(&answer, u32::from(n), &CUTS);
            pieces.rotate_right(usize::from(n % 3));
            let back = joined(&exchange(&mut lab, &pieces, spread));
            assert_eq!((back.from, back.to), (vip.parse().unwrap(), client.parse().unwrap()));
            assert_eq!(back.payload, text(4000));
        }
        assert_eq!((lab.tally().flows(), lab.tally().held), (120, 0));
        assert!(lab.workers.iter().all(|worker| worker.tally().flows() > 20), "flows spread over workers");
        assert_eq!(lab.tally().handed_off, lab.tally().handed_in);
        lab.assert_conserved();
    }
}

#[test]
fn whole_packets_and_fragments_of_a_flow_share_it_on_every_worker() {
    let mut lab = Lab::new(Plan { workers: 3, ..Plan::default() });
    let whole = lab.exchange_at(1, &Build::new(CLIENT4, DNS4).payload(b"first").udp()).remove(0);
    let pieces = split(&datagram(CLIENT4, DNS4), 8, &CUTS);
    for worker in 0..3 {
        let there = joined(&exchange(&mut lab, &pieces, |_| worker));
        assert_eq!((there.from, there.to), (whole.from, whole.to));
    }
    assert_eq!(lab.tally().flows(), 1);
}

#[test]
fn without_flows_all_fragments_go_to_the_backend_of_the_first() {
    for workers in [1, 3] {
        for (client, vip) in [("198.51.100.7", DNS4), ("[2001:db8:7::7]", DNS6)] {
            let mode = ForwardingMode::DirectRouting;
            let mut lab = Lab::new(Plan { mode, workers, ..Plan::default() });
            for n in 0..30_u16 {
                let client = format!("{client}:{}", 20_000 + n);
                let datagram = Build::new(&client, vip).payload(&text(4000)).udp();
                let mut pieces = split(&datagram, u32::from(n), &CUTS);
                pieces.rotate_left(usize::from(n % 3));
                let sent = exchange(&mut lab, &pieces, |step| step % usize::from(workers));
                let there = joined(&sent);
                assert_eq!((there.to, there.ttl), (vip.parse().unwrap(), 64));
                assert_eq!(there.payload, text(4000));
            }
            assert_eq!((lab.tally().flows(), lab.tally().held), (0, 0));
            lab.assert_conserved();
        }
    }
}

#[test]
fn a_tunnel_takes_all_fragments_to_one_backend_also_when_its_state_changes_between_them() {
    for encapsulation in [Encapsulation::Ip, Encapsulation::Gue { port: 6080 }] {
        let mode = ForwardingMode::Tunnel(encapsulation);
        let mut lab = Lab::new(Plan { mode, ..Plan::default() });
        for n in 0..20_u16 {
            let client = format!("198.51.100.7:{}", 20_000 + n);
            let pieces = split(&datagram(&client, DNS4), u32::from(n), &[1200, 2400, 3600]);
            let mut sent = exchange(&mut lab, &pieces[..2], |_| 0);
            let number = sent[0][33];
            lab.set_backend_state(number, BackendState::Down);
            sent.extend(exchange(&mut lab, &pieces[2..], |_| 0));
            lab.set_backend_state(number, BackendState::Up);
            let outer = if encapsulation == Encapsulation::Ip { 20 } else { 32 };
            let ports: Vec<_> = sent.iter().map(|frame| frame[34..36].to_vec()).collect();
            assert!(sent.iter().all(|frame| frame[33] == number), "all to one backend");
            if outer == 32 {
                assert!(ports.iter().all(|port| *port == ports[0]), "all over one way of several");
            }
            let inner: Vec<Vec<u8>> =
                sent.iter().map(|frame| [&frame[..14], &frame[14 + outer..]].concat()).collect();
            assert_eq!(joined(&inner).payload, text(4000));
        }
        assert_eq!(lab.tally().held, 0);
        lab.assert_conserved();
    }
}

#[test]
fn a_piece_of_a_segment_in_a_tunnel_over_ipv6_has_a_right_outer_checksum() {
    let mode = ForwardingMode::Tunnel(Encapsulation::Gue { port: 6080 });
    for (client, vip) in [(CLIENT4, "203.0.113.80:80"), (CLIENT6, "[2001:db8::80]:80")] {
        let crossed = vip.starts_with('2');
        let mut lab = Lab::new(Plan { mode, crossed, ..Plan::default() });
        let data = Build::new(client, vip).flags(ACK).payload(&text(2000)).tcp();
        for frame in exchange(&mut lab, &split(&data, 1, &[1200]), |_| 0) {
            assert_eq!(frame[12..14], [0x86, 0xdd], "outside is IPv6");
            // Judged by etherparse; what is inside is its payload.
            let outer = decode(&frame);
            assert!(outer.udp_checksum.is_some_and(|checksum| checksum != 0), "{outer:?}");
        }
        assert_eq!(lab.tally().tx_packets, 2, "{:?}", lab.drops());
    }
}

/// A datagram on its way, in pieces.
#[derive(Clone, Debug)]
struct Sent {
    client: u8,
    family: usize,
    octets: usize,
    cuts: Vec<usize>,
    order: Vec<prop::sample::Index>,
    duplicates: Vec<prop::sample::Index>,
}

fn sent() -> impl Strategy<Value = Sent> {
    (
        0..5_u8,
        0..2_usize,
        16..6000_usize,
        prop::collection::vec(1..750_usize, 1..12),
        prop::collection::vec(any::<prop::sample::Index>(), 24),
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    )
        .prop_map(|(client, family, octets, cuts, order, duplicates)| {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut * 8).collect();
            // What Ethernet carries at most.
            cuts.extend((1..5).map(|n| n * 1400));
            Sent { client, family, octets, cuts, order, duplicates }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_any_datagram_in_any_order_with_duplicates_arrives_translated(
        datagrams in prop::collection::vec(sent(), 1..6),
        spread in prop::collection::vec(0..3_usize, 40),
        three: bool,
    ) {
        let workers = if three { 3 } else { 1 };
        let mut lab = Lab::new(Plan { workers, ..Plan::default() });
        for (n, sent) in datagrams.into_iter().enumerate() {
            let (client, vip) = [
                (format!("198.51.100.7:{}", 40_000 + u16::from(sent.client)), DNS4),
                (format!("[2001:db8:7::7]:{}", 40_000 + u16::from(sent.client)), DNS6),
            ][sent.family].clone();
            let whole = Build::new(&client, vip).payload(&text(sent.octets)).udp();
            let mut pieces = split(&whole, u32::try_from(n).unwrap(), &sent.cuts);
            if pieces.len() == 1 {
                continue;
            }
            for duplicate in &sent.duplicates {
                pieces.push(duplicate.get(&pieces).clone());
            }
            for (n, place) in sent.order.iter().enumerate() {
                let n = n % pieces.len();
                let other = place.index(pieces.len());
                pieces.swap(n, other);
            }
            let count = pieces.len();
            let out = exchange(&mut lab, &pieces, |n| spread[n % spread.len()] % usize::from(workers));
            prop_assert_eq!(out.len(), count, "drops: {:?}", lab.drops());
            let there = joined(&out);
            prop_assert_eq!(&there.payload, &text(sent.octets));
            let worker = usize::from(sent.client) % usize::from(workers);
            let same = lab.exchange_at(worker, &Build::new(&client, vip).payload(b"whole").udp()).remove(0);
            prop_assert_eq!((there.from, there.to, there.ttl), (same.from, same.to, same.ttl));
        }
        prop_assert_eq!(lab.tally().held, 0);
        lab.assert_conserved();
        prop_assert_eq!(lab.pool.available(), 4096);
    }
}
