//! ICMP errors that we send ourselves: about packets that are too large, and to whom none may be sent.

use etherparse::Ipv4HeaderSlice;
use evenkeel::model::{Encapsulation, ForwardingMode, Nanos};
use evenkeel::shared::DropReason;

use crate::icmp::ENDS;
use crate::icmp_message::{Says, error, message, router, too_big};
use crate::lab::{BACKEND_MAC, Lab, Plan};
use crate::packet::{ACK, Build, Decoded, Kind, SYN, decode};
use crate::pieces::{join, split};

/// The MTU in a frame with packet too big or fragmentation needed.
fn reported(frame: &[u8]) -> u32 {
    let l4 = if frame[14] >> 4 == 4 { 34 } else { 54 };
    u32::from_be_bytes(frame[l4 + 4..l4 + 8].try_into().unwrap())
}

/// The only frame that is sent because of one.
#[track_caller]
fn answer_to(lab: &mut Lab, frame: &[u8]) -> (Decoded, u32) {
    lab.deliver_to(0, frame);
    lab.settle();
    let sent = lab.sent();
    assert_eq!(sent.len(), 1, "drops: {:?}", lab.drops());
    (decode(&sent[0]), reported(&sent[0]))
}

fn kind(says: Says) -> Kind {
    Kind::Icmp(says.0, says.1)
}

#[test]
fn who_sends_more_than_fits_the_way_is_told_what_does() {
    for (client, vip) in ENDS {
        let v6 = vip.contains(':');
        let mut lab = Lab::new(Plan { mtus: (1400, 1300), ..Plan::default() });
        let vip = format!("{vip}:80");
        let syn = lab.forward(&Build::new(client, &vip).tcp());
        let answer = lab.forward(&Build::answer(&syn).flags(SYN | ACK).tcp());
        let headers = if v6 { 60 } else { 40 };
        let of = |octets: usize| vec![1; octets - headers];

        let fits = Build::new(client, &vip).flags(ACK).payload(&of(1300)).tcp();
        assert_eq!(lab.forward(&fits).kind, Kind::Tcp);
        let large = Build::new(client, &vip).flags(ACK).payload(&of(1301)).tcp();
        let (told, mtu) = answer_to(&mut lab, &large);
        assert_eq!((told.kind, mtu), (kind(too_big(v6)), 1300));
        assert_eq!((told.from.ip(), told.to.ip()), (answer.from.ip(), answer.to.ip()), "from the VIP");
        assert!(large[14..].starts_with(&told.payload), "it quotes what the client sent");

        let fits = Build::answer(&syn).flags(ACK).payload(&of(1400)).tcp();
        assert_eq!(lab.forward(&fits).kind, Kind::Tcp);
        let large = Build::answer(&syn).flags(ACK).payload(&of(1401)).tcp();
        let (told, mtu) = answer_to(&mut lab, &large);
        assert_eq!((told.kind, mtu), (kind(too_big(v6)), 1400));
        assert_eq!((told.from.ip(), told.to.ip()), (syn.from.ip(), syn.to.ip()), "from the local address");

        assert_eq!(lab.dropped(DropReason::MtuExceeded), 2);
        lab.assert_conserved();
    }
}

#[test]
fn who_sends_more_than_fits_a_tunnel_is_told_what_does() {
    for (client, vip) in ENDS {
        let v6 = vip.contains(':');
        for (encapsulation, more) in [(Encapsulation::Ip, 0), (Encapsulation::Gue { port: 6080 }, 12)] {
            let mode = ForwardingMode::Tunnel(encapsulation);
            let mut lab = Lab::new(Plan { mode, ..Plan::default() });
            let headers = if v6 { 60 } else { 40 };
            let data = vec![1; 1500 - headers];
            let large = Build::new(client, &format!("{vip}:80")).flags(ACK).payload(&data).tcp();
            let (told, mtu) = answer_to(&mut lab, &large);
            let outer = if v6 { 40 } else { 20 };
            assert_eq!((told.kind, mtu), (kind(too_big(v6)), 1500 - outer - more));
        }
        let mut lab =
            Lab::new(Plan { mode: ForwardingMode::DirectRouting, mtus: (1500, 1400), ..Plan::default() });
        let large = Build::new(client, &format!("{vip}:80")).flags(ACK).payload(&[1; 1440]).tcp();
        assert_eq!(answer_to(&mut lab, &large).1, 1400);
    }
}

#[test]
fn what_may_be_fragmented_and_does_not_fit_leaves_in_pieces() {
    let mut lab = Lab::new(Plan { mtus: (1280, 1300), workers: 3, ..Plan::default() });
    let data: Vec<u8> = (0..=u8::MAX).cycle().take(1420).collect();
    let mut build = Build::new(ENDS[0].0, "203.0.113.80:53").payload(&data);
    build.dont_fragment = false;
    let mut identifications = Vec::new();
    for worker in 0..3 {
        lab.deliver_to(worker, &build.udp());
        lab.settle();
        let sent = lab.sent();
        let (whole, identification) = put_together(&sent, 1300);
        let decoded = decode(&whole);
        assert_eq!((decoded.to.port(), decoded.ttl, decoded.payload.as_slice()), (8080, 63, &data[..]));
        identifications.push(identification);

        let mut answer = Build::answer(&decoded).payload(&data);
        answer.dont_fragment = false;
        lab.deliver_to(worker, &answer.udp());
        lab.settle();
        let (whole, identification) = put_together(&lab.sent(), 1280);
        assert_eq!(decode(&whole).to, build.from);
        identifications.push(identification);
    }
    identifications.sort_unstable();
    identifications.dedup();
    assert_eq!(identifications.len(), 6, "an identification each: {identifications:?}");
    assert_eq!((lab.tally().originated, lab.tally().dropped()), (6, 0));
    lab.assert_conserved();
    assert_eq!(lab.pool.available(), 4096);
}

#[test]
fn options_that_are_meant_for_all_pieces_are_in_all_of_them() {
    let mut lab = Lab::new(Plan { mtus: (1280, 1300), ..Plan::default() });
    let mut build = Build::new(ENDS[0].0, "203.0.113.80:53").payload(&[1; 1420]);
    build.dont_fragment = false;
    // Record route, which is for the first alone, and router alert.
    build.ipv4_options = vec![7, 7, 4, 0, 0, 0, 0, 1, 0x94, 4, 0, 0];
    let sent = lab.exchange_raw(&build.udp());
    assert_eq!(sent.len(), 2, "{:?}", lab.drops());
    assert_eq!((sent[0][14], &sent[0][34..46]), (0x48, &build.ipv4_options[..]));
    assert_eq!((sent[1][14], &sent[1][34..38]), (0x46, &[0x94, 4, 0, 0][..]));
    assert!(sent.iter().all(|frame| frame.len() <= 1314));
    assert_eq!(decode(&join(&sent)[0]).payload, [1; 1420]);

    build.ipv4_options = vec![0x94, 9, 0, 0];
    lab.lose(&build.udp(), DropReason::MtuExceeded);
    lab.assert_conserved();
}

#[test]
fn what_does_not_fit_a_directly_routed_backend_leaves_in_the_pieces_a_router_makes() {
    let mode = ForwardingMode::DirectRouting;
    let mut lab = Lab::new(Plan { mode, mtus: (1500, 1300), ..Plan::default() });
    let mut build = Build::new(ENDS[0].0, "203.0.113.80:53").payload(&[1; 1420]);
    build.dont_fragment = false;
    let mut frame = build.udp();
    let sent = lab.exchange_raw(&frame);
    assert_eq!(sent.len(), 2, "{:?}", lab.drops());
    let whole = join(&sent).remove(0);
    assert_eq!(whole[14..], frame[14..], "to the octet: identification, hops and addresses");
    assert_eq!(whole[..6], BACKEND_MAC.0);

    frame = Build::new(ENDS[0].0, "203.0.113.80:53").payload(&[2; 2700]).udp();
    let pieces = split(&frame, 78, &[1480]);
    pieces.iter().for_each(|piece| lab.deliver_to(0, piece));
    lab.settle();
    let sent = lab.sent();
    assert_eq!(sent.len(), 3);
    assert_eq!(decode(&join(&sent)[0]).payload, [2; 2700]);
    lab.assert_conserved();
}

/// The packet that two frames carry in pieces, as one frame, and its identification.
#[track_caller]
fn put_together(frames: &[Vec<u8>], mtu: usize) -> (Vec<u8>, u16) {
    let [first, second] = frames else { panic!("{} frames", frames.len()) };
    let headers = [first, second].map(|frame| Ipv4HeaderSlice::from_slice(&frame[14..]).unwrap().to_header());
    for (frame, header) in frames.iter().zip(&headers) {
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert!(frame.len() <= mtu + 14);
    }
    assert!(headers[0].more_fragments && !headers[1].more_fragments);
    assert_eq!(headers[0].fragment_offset.value(), 0);
    assert_eq!(usize::from(headers[1].fragment_offset.byte_offset()), first.len() - 34);
    assert_eq!(headers[0].identification, headers[1].identification);
    let mut header = headers[0].clone();
    header.more_fragments = false;
    header.set_payload_len(first.len() + second.len() - 68).unwrap();
    header.header_checksum = header.calc_header_checksum();
    let whole = [&first[..14], &header.to_bytes(), &first[34..], &second[34..]].concat();
    (whole, header.identification)
}

#[test]
fn without_buffers_for_all_pieces_a_packet_is_dropped() {
    let mut lab = Lab::new(Plan { mtus: (1500, 1300), buffers: 1, ..Plan::default() });
    let mut build = Build::new(ENDS[0].0, "203.0.113.80:53").payload(&[1; 1420]);
    build.dont_fragment = false;
    lab.lose(&build.udp(), DropReason::MtuExceeded);
    lab.assert_conserved();
    assert_eq!(lab.pool.available(), 1);
}

#[test]
fn what_is_said_of_size_has_a_rate_of_its_own() {
    let mut lab = Lab::new(Plan { mtus: (1500, 1400), ..Plan::default() });
    let (client, vip) = (ENDS[0].0, "203.0.113.80:80");
    lab.forward(&Build::new(client, vip).tcp());
    // What nobody listens to uses up its own rate.
    for _ in 0..2000 {
        lab.exchange(&Build::new(client, "203.0.113.80:9999").tcp());
    }
    let large = Build::new(client, vip).flags(ACK).payload(&[1; 1440]).tcp();
    let before = lab.tally().unanswered;
    let mut told = 0;
    for _ in 0..3000 {
        told += lab.exchange(&large).len() as u64;
    }
    assert!((1000..1100).contains(&told), "{told} answers in no time");
    assert_eq!(lab.tally().unanswered, before + 3000 - told);
    lab.assert_conserved();
    lab.now = lab.now + Nanos::from_secs(1);
    assert_eq!(lab.forward(&large).kind, Kind::Icmp(3, 4));
}

#[test]
fn an_error_that_does_not_fit_or_has_no_hops_left_is_answered_by_nobody() {
    for (client, vip) in ENDS {
        let v6 = vip.contains(':');
        let mut lab = Lab::new(Plan { mtus: (1500, 1300), ..Plan::default() });
        let syn = lab.forward(&Build::new(client, &format!("{vip}:53")).payload(b"q").udp());
        lab.deliver_to(0, &Build::answer(&syn).payload(&[1; 1400]).udp());
        lab.settle();
        let to_client = lab.sent().remove(0);
        let to = decode(&to_client).from.ip();
        let large = message(router(v6), to, too_big(v6), &to_client[14..]);
        lab.lose(&large, DropReason::MtuExceeded);
        assert_eq!(lab.forward(&error(&to_client, too_big(v6), 576)).kind, kind(too_big(v6)));
    }
}
