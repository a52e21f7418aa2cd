//! Which packets begin a flow, and which are turned away.

use evenkeel::model::{ForwardingMode, Mac, OnUnknownFlow};
use evenkeel::shared::DropReason;

use crate::lab::{LOCAL4, LOCAL6, Lab, Plan};
use crate::packet::{ACK, Build, FIN, Kind, RST, SYN};

const CLIENT: &str = "198.51.100.7:40000";
const WEB: &str = "203.0.113.80:80";

#[test]
fn only_a_syn_creates_tcp_state_and_others_get_a_reset() {
    let mut lab = Lab::new(Plan::default());
    for (flags, answer) in [(ACK, RST), (SYN | ACK, RST), (FIN | ACK, RST)] {
        let mut build = Build::new(CLIENT, WEB).flags(flags);
        build.acknowledgement = 777;
        let reset = lab.forward(&build.tcp());
        assert_eq!(reset.flags, answer, "{flags:#04x}");
        assert_eq!(reset.from, WEB.parse().unwrap());
        assert_eq!(reset.sequence, 777);
    }
    assert_eq!(lab.dropped(DropReason::UnknownFlow), 3);
    assert_eq!(lab.tally().flows(), 0);
    lab.assert_conserved();
}

#[test]
fn a_reset_of_no_flow_is_not_answered() {
    let mut lab = Lab::new(Plan::default());
    lab.lose(&Build::new(CLIENT, WEB).flags(RST).tcp(), DropReason::UnknownFlow);
}

#[test]
fn unknown_flows_vanish_where_the_service_says_so() {
    let mut lab = Lab::new(Plan { on_unknown_flow: OnUnknownFlow::Drop, ..Plan::default() });
    lab.lose(&Build::new(CLIENT, WEB).flags(ACK).tcp(), DropReason::UnknownFlow);
}

#[test]
fn a_port_without_a_service_is_refused_and_never_reaches_the_kernel() {
    let mut lab = Lab::new(Plan::default());
    let reset = lab.forward(&Build::new(CLIENT, "203.0.113.80:22").tcp());
    assert_eq!((reset.flags, reset.acknowledgement), (RST | ACK, 1001));
    let unreachable = lab.forward(&Build::new(CLIENT, "203.0.113.80:161").payload(b"x").udp());
    assert_eq!(unreachable.kind, Kind::Icmp(3, 3));
    assert_eq!(lab.punted(), 0);
    assert_eq!(lab.dropped(DropReason::NoService), 2);
}

#[test]
fn packets_that_no_one_may_send_are_dropped() {
    for mode in [ForwardingMode::FullNat, ForwardingMode::DirectRouting] {
        let mut lab = Lab::new(Plan { mode, ..Plan::default() });
        for source in [
            "127.0.0.1",
            "127.255.255.255",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "169.254.0.0",
            "169.254.255.255",
            LOCAL4,
        ] {
            for to in [WEB, "203.0.113.80:53"] {
                lab.lose(&Build::new(&format!("{source}:40000"), to).tcp(), DropReason::Martian);
                lab.lose(&Build::new(&format!("{source}:40000"), to).udp(), DropReason::Martian);
            }
        }
        for source in ["::", "::1", "ff02::1", "::ffff:192.0.2.1", "fe80::1", "febf:ffff::1", LOCAL6] {
            let frame = Build::new(&format!("[{source}]:40000"), "[2001:db8::80]:80").tcp();
            lab.lose(&frame, DropReason::Martian);
        }
        assert_eq!(lab.tally().flows(), 0);
        for (client, vip) in [
            ("169.253.255.255:40000", WEB),
            ("169.255.0.0:40000", WEB),
            ("[fec0::1]:40000", "[2001:db8::80]:80"),
            ("[fe7f::1]:40000", "[2001:db8::80]:80"),
        ] {
            lab.forward(&Build::new(client, vip).tcp());
        }
    }
}

#[test]
fn a_packet_whose_sender_chooses_its_way_is_dropped_on_a_flow_and_without_one() {
    for options in [
        vec![131, 7, 4, 10, 0, 0, 1, 0],
        vec![1, 137, 7, 4, 10, 0, 0, 1],
        vec![0x94, 4, 0, 0, 131, 3, 4, 0],
        vec![131, 11, 12, 10, 0, 0, 1, 10, 0, 0, 2, 0],
    ] {
        let mut lab = Lab::new(Plan::default());
        let mut build = Build::new("198.51.100.7:40000", WEB);
        let routed = |build: &Build| Build { ipv4_options: options.clone(), ..build.clone() };
        lab.lose(&routed(&build).tcp(), DropReason::SourceRoute);
        lab.lose(
            &routed(&Build::new("198.51.100.7:40000", "203.0.113.80:53")).udp(),
            DropReason::SourceRoute,
        );
        lab.lose(&routed(&Build::new("198.51.100.7:40000", "10.0.8.1:22")).tcp(), DropReason::SourceRoute);
        assert_eq!((lab.tally().flows(), lab.punted()), (0, 0));
        let syn = lab.forward(&build.tcp());
        build = build.flags(ACK);
        lab.lose(&routed(&build).tcp(), DropReason::SourceRoute);
        lab.lose(&routed(&Build::answer(&syn).flags(SYN | ACK)).tcp(), DropReason::SourceRoute);
        // The kinds stand inside an option, and behind the end.
        build.ipv4_options = vec![0x94, 4, 131, 137, 0, 131, 3, 4];
        lab.forward(&build.tcp());
    }
}

#[test]
fn a_packet_from_the_address_it_goes_to_is_dropped() {
    let mut lab = Lab::new(Plan::default());
    for address in ["203.0.113.80:80", "[2001:db8::80]:80", "10.0.8.10:5000", "[fd00:8::10]:5000"] {
        lab.lose(&Build::new(address, address).tcp(), DropReason::Martian);
    }
    assert_eq!((lab.tally().flows(), lab.punted()), (0, 0));
}

#[test]
fn tcp_flags_that_no_tcp_sends_together_are_dropped_on_a_flow_and_without_one() {
    const PSH: u8 = 8;
    const URG: u8 = 32;
    for ends in [(CLIENT, WEB), ("[2001:db8::7]:40000", "[2001:db8::80]:80")] {
        let mut lab = Lab::new(Plan::default());
        let segment = |source_port: u16, flags: u8| {
            let mut build = Build::new(ends.0, ends.1);
            build.from.set_port(source_port);
            build.vlan = (source_port == 1).then_some(7);
            let mut frame = build.flags(ACK).payload(b"data").tcp();
            set_flags(&mut frame, flags);
            frame
        };
        let syn = lab.forward(&segment(40_000, SYN));
        lab.forward(&Build::answer(&syn).flags(SYN | ACK).tcp());
        lab.forward(&segment(40_000, ACK));
        let mut lost = 0;
        for flags in 0..64 {
            let is_possible =
                [SYN, SYN | ACK, ACK, FIN | ACK, RST, RST | ACK].contains(&(flags & !(PSH | URG)));
            if is_possible {
                continue;
            }
            for port in [40_000, 40_001, 1] {
                lab.lose(&segment(port, flags), DropReason::TcpFlagsInvalid);
                lost += 1;
            }
        }
        assert_eq!((lost, lab.tally().flows()), (40 * 3, 1));
        // The flow is none the worse for it.
        assert_eq!(lab.forward(&segment(40_000, ACK | PSH | URG)).payload, b"data");
        assert_eq!(lab.forward(&segment(40_000, FIN | ACK | URG)).payload, b"data");
        lab.assert_conserved();
    }
}

/// Writes flags into an untagged or tagged TCP segment and mends its checksum.
fn set_flags(frame: &mut [u8], flags: u8) {
    let l3 = if frame[12..14] == [0x81, 0] { 18 } else { 14 };
    let l4 = if frame[l3] >> 4 == 4 { l3 + 20 } else { l3 + 40 };
    let (was, at) = (frame[l4 + 13], l4 + 13);
    frame[at] = flags;
    // RFC 1624, equation 3.
    let sum = u32::from(!u16::from_be_bytes([frame[l4 + 16], frame[l4 + 17]]))
        + u32::from(!u16::from(was))
        + u32::from(flags);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let [high, low] = sum.to_be_bytes()[2..].try_into().map(|[a, b]: [u8; 2]| [!a, !b]).unwrap();
    (frame[l4 + 16], frame[l4 + 17]) = (high, low);
}

#[test]
fn a_frame_for_another_station_is_dropped() {
    let mut lab = Lab::new(Plan::default());
    let mut build = Build::new(CLIENT, WEB);
    build.destination_mac = Mac([2, 0, 0, 0, 0, 0x77]);
    lab.lose(&build.tcp(), DropReason::NotOurMac);
}

#[test]
fn a_packet_to_a_vip_in_a_frame_for_everybody_is_nobodys() {
    let mut lab = Lab::new(Plan::default());
    for mac in [Mac([0xff; 6]), Mac([1, 0, 0x5e, 0, 0, 1])] {
        for to in [WEB, "203.0.113.80:9999", "10.0.8.10:22"] {
            let mut build = Build::new(CLIENT, to);
            build.destination_mac = mac;
            lab.lose(&build.tcp(), DropReason::NotOurMac);
            lab.lose(&build.udp(), DropReason::NotOurMac);
        }
    }
    // To a group both ways, as routing protocols are: the kernel's.
    let mut hello = Build::new("198.51.100.7:0", "224.0.0.5:0");
    hello.destination_mac = Mac([1, 0, 0x5e, 0, 0, 5]);
    assert_eq!(lab.exchange(&hello.raw(89, &[2; 24])), []);
    assert_eq!(lab.punted(), 1);
}

#[test]
fn what_is_not_for_a_service_goes_to_the_kernel() {
    let mut lab = Lab::new(Plan::default());
    let mut arp = vec![0xff; 6];
    arp.extend([2, 0, 0, 0, 0, 0xc, 0x08, 0x06]);
    arp.extend([0; 46]);
    let reply = [0, 0, 0xff, 0xfd, 0, 1, 0, 1];
    let solicitation = Build { ttl: 255, ..Build::new("[fe80::1]:0", "[2001:db8::80]:0") };
    for (description, frame) in [
        ("ARP", arp),
        ("ssh to our own address", Build::new(CLIENT, "192.0.2.10:22").tcp()),
        ("an answer to a ping of its own", Build::new(CLIENT, "192.0.2.10:0").raw(1, &reply)),
        ("neighbour solicitation for a VIP", solicitation.raw(58, &[135; 24])),
        (
            "an answer to a probe that uses a local address",
            Build::new("10.0.9.1:8080", "10.0.8.10:4095").flags(SYN | ACK).tcp(),
        ),
    ] {
        assert_eq!(lab.exchange(&frame), [], "{description}");
        assert_eq!(lab.punted(), 1, "{description}; drops {:?}", lab.drops());
    }
    lab.assert_conserved();
}

#[test]
fn a_return_packet_without_a_flow_resets_the_backend() {
    let mut lab = Lab::new(Plan::default());
    let mut build = Build::new("10.0.9.1:8080", "10.0.8.10:5000").flags(ACK);
    build.acknowledgement = 4242;
    let reset = lab.forward(&build.tcp());
    assert_eq!((reset.flags, reset.sequence, reset.to), (RST, 4242, "10.0.9.1:8080".parse().unwrap()));
    assert_eq!(lab.dropped(DropReason::UnknownReturn), 1);
}

#[test]
fn malformed_packets_are_dropped_by_the_reason_that_fits() {
    let good = Build::new(CLIENT, WEB).payload(b"data").tcp();
    let spoil = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = good.clone();
        change(&mut frame);
        frame
    };
    // Makes the header checksum right again after a change to the header.
    let mend = |frame: &mut Vec<u8>| {
        frame[24..26].fill(0);
        let sum = evenkeel::wire::checksum::sum(&frame[14..34]);
        let checksum = !evenkeel::wire::checksum::fold(sum);
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    };
    let mut lab = Lab::new(Plan::default());
    for (description, frame, reason) in [
        ("an empty frame", Vec::new(), DropReason::FrameTruncated),
        ("half an Ethernet header", good[..9].to_vec(), DropReason::FrameTruncated),
        ("half an IP header", good[..24].to_vec(), DropReason::FrameTruncated),
        ("an IP packet cut short", good[..good.len() - 1].to_vec(), DropReason::IpTruncated),
        ("version 5", spoil(&|f| f[14] = 0x55), DropReason::IpHeaderInvalid),
        ("header length 16", spoil(&|f| f[14] = 0x44), DropReason::IpHeaderInvalid),
        ("header checksum", spoil(&|f| f[24] ^= 1), DropReason::IpChecksumWrong),
        (
            "total length below the header",
            spoil(&|f| {
                f[17] = 19;
                f[16] = 0;
                mend(f)
            }),
            DropReason::IpHeaderInvalid,
        ),
        (
            "TCP header beyond the packet",
            spoil(&|f| f[14 + 20 + 12] = 0xf0),
            DropReason::TransportHeaderInvalid,
        ),
        ("TCP header of 16 octets", spoil(&|f| f[14 + 20 + 12] = 0x40), DropReason::TransportHeaderInvalid),
        (
            "a later fragment over the TCP header",
            spoil(&|f| {
                f[21] = 2;
                mend(f)
            }),
            DropReason::FragmentInvalid,
        ),
    ] {
        let before = lab.dropped(reason);
        assert_eq!(lab.exchange(&frame), [], "{description}");
        assert_eq!(lab.dropped(reason), before + 1, "{description}: {:?}", lab.drops());
    }
    lab.assert_conserved();
}
