//! The packets of floods.

use etherparse::NetSlice;
use etherparse::SlicedPacket;
use etherparse::checksum::Sum16BitWords;
use evenkeel::wire::tcp_flags;

use crate::flood::Flood;
use crate::flood::Kind;

#[test]
fn packets_of_a_flood_have_valid_headers_and_checksums() {
    for kind in [Kind::EchoRequest, Kind::EchoReply, Kind::Udp, Kind::Tcp { flags: tcp_flags::SYN }] {
        for to in ["192.0.2.10", "2001:db8:2::10"] {
            assert_valid(&Flood::new(kind, to, 80));
        }
    }
    assert_valid(&Flood::new(Kind::NeighbourSolicitation, "2001:db8:2::10", 0));
    assert_valid(&Flood::new(Kind::Ospf, "224.0.0.5", 0));
    assert_valid(&Flood::new(Kind::Igmp, "224.0.0.9", 0));
}

fn assert_valid(flood: &Flood) {
    for frame in flood.sample(100) {
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let (source, destination, payload) = match packet.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum(), "{flood:?}");
                (header.source().to_vec(), header.destination().to_vec(), ip.payload())
            }
            NetSlice::Ipv6(ip) => {
                (ip.header().source().to_vec(), ip.header().destination().to_vec(), ip.payload())
            }
            NetSlice::Arp(_) => continue,
        };
        let mut sum = Sum16BitWords::new().add_slice(payload.payload);
        let has_pseudo_header = source.len() == 16 || matches!(flood.kind, Kind::Udp | Kind::Tcp { .. });
        if has_pseudo_header {
            let length = u16::try_from(payload.payload.len()).unwrap();
            sum = sum.add_slice(&source).add_slice(&destination);
            sum = sum.add_2bytes([0, payload.ip_number.0]).add_2bytes(length.to_be_bytes());
        }
        assert_eq!(sum.ones_complement(), 0, "{flood:?}");
    }
}
