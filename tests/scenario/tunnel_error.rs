//! ICMP errors about the outer packets of tunnels.

use std::net::IpAddr;

use evenkeel::model::{Encapsulation, ForwardingMode, Nanos};
use evenkeel::shared::DropReason;

use crate::icmp_message::{Says, message, router};
use crate::lab::{CLIENT_MAC, Lab, Plan, VIP4, VIP6};
use crate::packet::{ACK, Build, Kind, decode};

const GUE: Encapsulation = Encapsulation::Gue { port: 6080 };

/// A tunnel, with its VIP, and whether outer and inner packet are of different families.
#[derive(Clone, Copy, Debug)]
struct Tunnel {
    encapsulation: Encapsulation,
    vip: &'static str,
    crossed: bool,
}

impl Tunnel {
    fn all() -> impl Iterator<Item = Self> {
        [Encapsulation::Ip, GUE].into_iter().flat_map(|encapsulation| {
            [(VIP4, false), (VIP6, false), (VIP4, true), (VIP6, true)].map(|(vip, crossed)| Self {
                encapsulation,
                vip,
                crossed,
            })
        })
    }

    fn lab(self) -> Lab {
        Lab::new(self.plan())
    }

    fn plan(self) -> Plan {
        let mode = ForwardingMode::Tunnel(self.encapsulation);
        Plan { mode, crossed: self.crossed, ..Plan::default() }
    }

    fn unreachable(self) -> Says {
        if self.is_outer_v6() { (1, 3, [0; 4]) } else { (3, 1, [0; 4]) }
    }

    fn is_inner_v6(self) -> bool {
        self.vip == VIP6
    }

    fn is_outer_v6(self) -> bool {
        self.is_inner_v6() != self.crossed
    }

    /// Octets of the outer headers.
    fn overhead(self) -> u32 {
        let ip = if self.is_outer_v6() { 40 } else { 20 };
        ip + if self.encapsulation == GUE { 12 } else { 0 }
    }

    /// A segment that fits 1500 octets in its outer headers, and not 1400.
    fn large(self) -> Vec<u8> {
        let build = match self.vip {
            VIP4 => Build::new("198.51.100.7:40000", "203.0.113.80:80"),
            _ => Build::new("[2001:db8:7::7]:40000", "[2001:db8::80]:80"),
        };
        build.flags(ACK).payload(&[7; 1370]).tcp()
    }

    /// What a router says of the outer packet in `frame`, of which it quotes `octets`.
    fn error(self, frame: &[u8], says: Says, octets: usize) -> Vec<u8> {
        let source: IpAddr = if self.is_outer_v6() {
            <[u8; 16]>::try_from(&frame[22..38]).unwrap().into()
        } else {
            <[u8; 4]>::try_from(&frame[26..30]).unwrap().into()
        };
        message(router(self.is_outer_v6()), source, says, &frame[14..14 + octets])
    }

    fn too_big(self, mtu: u16) -> Says {
        let [high, low] = mtu.to_be_bytes();
        if self.is_outer_v6() { (2, 0, [0, 0, high, low]) } else { (3, 4, [0, 0, high, low]) }
    }

    /// Whether a frame tells the client this MTU.
    #[track_caller]
    fn assert_tells(self, frame: &[u8], mtu: u32) {
        let told = decode(frame);
        let (kind, place) = if self.is_inner_v6() { (Kind::Icmp(2, 0), 58) } else { (Kind::Icmp(3, 4), 38) };
        assert_eq!((told.kind, told.from.ip()), (kind, self.vip.parse::<IpAddr>().unwrap()), "{self:?}");
        let said = u32::from_be_bytes(frame[place..place + 4].try_into().unwrap());
        assert_eq!(said, mtu, "{self:?}");
    }
}

fn only(lab: &mut Lab, frame: &[u8]) -> Vec<u8> {
    lab.deliver_to(0, frame);
    lab.settle();
    let mut sent = lab.sent();
    assert_eq!(sent.len(), 1, "frames sent; drops: {:?}", lab.drops());
    sent.remove(0)
}

#[test]
fn client_learns_a_reported_path_mtu_with_its_next_packet_for_ten_minutes() {
    for tunnel in Tunnel::all() {
        let shortest = if tunnel.is_outer_v6() { 48 } else { 28 };
        for octets in [shortest, 548] {
            let mut lab = tunnel.lab();
            let outer = only(&mut lab, &tunnel.large());
            let error = tunnel.error(&outer, tunnel.too_big(1400), octets);
            let expected = 1400 - tunnel.overhead();
            // The client's way is not in the forwarding table here, so that it is told with its next packet.
            lab.lose(&error, DropReason::TunnelError);
            tunnel.assert_tells(&only(&mut lab, &tunnel.large()), expected);
            assert_eq!(lab.dropped(DropReason::MtuExceeded), 1);
            lab.assert_conserved();
            lab.now = lab.now + Nanos::from_secs(601);
            assert_eq!(only(&mut lab, &tunnel.large()).len(), outer.len(), "the report is ten minutes old");
        }
    }
}

#[test]
fn client_with_a_route_hears_at_once_of_an_error_that_quotes_its_packet() {
    for tunnel in Tunnel::all() {
        let mut lab = Lab::new(Plan { clients_routed: true, ..tunnel.plan() });
        let outer = only(&mut lab, &tunnel.large());
        let told = only(&mut lab, &tunnel.error(&outer, tunnel.too_big(1400), 548));
        tunnel.assert_tells(&told, 1400 - tunnel.overhead());
        assert_eq!(told[..6], CLIENT_MAC.0, "{tunnel:?}");
        tunnel.assert_tells(&only(&mut lab, &tunnel.large()), 1400 - tunnel.overhead());
        lab.assert_conserved();
    }
}

#[test]
fn client_with_a_route_hears_that_the_host_behind_its_tunnel_is_unreachable() {
    for tunnel in Tunnel::all() {
        let mut lab = Lab::new(Plan { clients_routed: true, ..tunnel.plan() });
        let outer = only(&mut lab, &tunnel.large());
        let told = decode(&only(&mut lab, &tunnel.error(&outer, tunnel.unreachable(), 548)));
        let kind = if tunnel.is_inner_v6() { Kind::Icmp(1, 3) } else { Kind::Icmp(3, 1) };
        assert_eq!((told.kind, told.from.ip()), (kind, tunnel.vip.parse::<IpAddr>().unwrap()), "{tunnel:?}");
        // Nothing is told of a quote that is too short.
        let shortest = if tunnel.is_outer_v6() { 48 } else { 28 };
        lab.lose(&tunnel.error(&outer, tunnel.unreachable(), shortest), DropReason::TunnelError);
        lab.assert_conserved();
    }
}

#[test]
fn implausible_report_changes_no_path_mtu() {
    for tunnel in Tunnel::all() {
        let mut lab = tunnel.lab();
        let outer = only(&mut lab, &tunnel.large());
        let least = if tunnel.is_outer_v6() { 1280 } else { 576 };
        let size = u16::try_from(outer.len() - 14).unwrap();
        for mtu in [least - 1, size, u16::MAX] {
            lab.lose(&tunnel.error(&outer, tunnel.too_big(mtu), 548), DropReason::IcmpMtuImpossible);
        }
        // To an address that is no tunnel's end.
        let mut other = outer.clone();
        other[if tunnel.is_outer_v6() { 53 } else { 33 }] ^= 0x40;
        lab.deliver_to(0, &tunnel.error(&other, tunnel.too_big(1400), 548));
        // In other outer headers than ours.
        let mut other = outer.clone();
        let protocol = if tunnel.is_outer_v6() { 20 } else { 23 };
        other[protocol] = if tunnel.encapsulation == GUE { 4 } else { 17 };
        lab.deliver_to(0, &tunnel.error(&other, tunnel.too_big(1400), 548));
        lab.settle();
        assert_eq!(lab.sent(), Vec::<Vec<u8>>::new(), "{tunnel:?}");
        assert_eq!(only(&mut lab, &tunnel.large()).len(), outer.len(), "{tunnel:?}");
    }
}

#[test]
fn packet_of_the_least_mtu_of_ipv6_passes_a_tunnel_of_any_reported_mtu() {
    let tunnel = Tunnel { encapsulation: Encapsulation::Ip, vip: VIP6, crossed: true };
    let mut lab = tunnel.lab();
    let outer = only(&mut lab, &tunnel.large());
    lab.lose(&tunnel.error(&outer, tunnel.too_big(600), 548), DropReason::TunnelError);
    tunnel.assert_tells(&only(&mut lab, &tunnel.large()), 1280);
}
