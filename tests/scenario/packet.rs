//! Packets made and judged with etherparse, which shares no code with ours.

use std::net::{IpAddr, SocketAddr};

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    IpHeaders, IpNumber, Ipv4Header, Ipv4HeaderSlice, Ipv6FlowLabel, Ipv6Header, NetSlice, PacketBuilder,
    PacketBuilderStep, SlicedPacket, TransportSlice,
};
use evenkeel::model::{Mac, Protocol};

use crate::lab::{CLIENT_MAC, OUR_MAC};

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// The first sequence number of both sides.
const ISN: u32 = 1000;

/// A frame to be built: defaults are an untagged TCP SYN from a client's MAC address with TTL 64. Both sides' SYNs have
/// number 1000; other segments follow their sender's SYN and acknowledge the other side's, unless they have other
/// [`numbers`](Build::numbers).
#[derive(Clone, Debug)]
pub struct Build {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgement: u32,
    /// Whether the numbers are other than the default ones.
    pub numbered: bool,
    pub payload: Vec<u8>,
    pub ttl: u8,
    pub vlan: Option<u16>,
    pub source_mac: Mac,
    pub destination_mac: Mac,
    pub ipv4_options: Vec<u8>,
    pub tcp_options: Vec<u8>,
    pub window: u16,
    pub dont_fragment: bool,
}

impl Build {
    pub fn new(from: &str, to: &str) -> Self {
        Self::between(from.parse().unwrap(), to.parse().unwrap())
    }

    pub fn between(from: SocketAddr, to: SocketAddr) -> Self {
        Self {
            from,
            to,
            flags: SYN,
            sequence: ISN,
            acknowledgement: ISN + 1,
            numbered: false,
            payload: Vec::new(),
            ttl: 64,
            vlan: None,
            source_mac: CLIENT_MAC,
            destination_mac: OUR_MAC,
            ipv4_options: Vec::new(),
            tcp_options: Vec::new(),
            window: 4096,
            dont_fragment: true,
        }
    }

    /// The packet that answers `decoded`.
    pub fn answer(decoded: &Decoded) -> Self {
        let mut build = Self::between(decoded.to, decoded.from);
        build.source_mac = decoded.destination_mac;
        build
    }

    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        if !self.numbered {
            self.sequence = if flags & SYN == 0 { ISN + 1 } else { ISN };
        }
        self
    }

    /// With these flags, on a connection that ends with nothing said: its FINs, or resets, follow the SYN, and whatever
    /// else comes then is behind them and acknowledges the other side's.
    pub fn closes(self, flags: u8) -> Self {
        self.flags(flags).numbers(ISN + if flags & (FIN | RST) == 0 { 2 } else { 1 }, ISN + 2)
    }

    /// Sequence number and acknowledgement.
    pub fn numbers(mut self, sequence: u32, acknowledgement: u32) -> Self {
        self.sequence = sequence;
        self.acknowledgement = acknowledgement;
        self.numbered = true;
        self
    }

    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// With the option that offers segments of this size.
    pub fn mss(mut self, mss: u16) -> Self {
        self.tcp_options = [[2, 4], mss.to_be_bytes()].concat();
        self
    }

    pub fn vlan(mut self, vlan: u16) -> Self {
        self.vlan = Some(vlan);
        self
    }

    pub fn tcp(&self) -> Vec<u8> {
        let flag = |bit| self.flags & bit != 0;
        let mut step = self.ip().tcp(self.from.port(), self.to.port(), self.sequence, self.window);
        if flag(SYN) {
            step = step.syn();
        }
        if flag(FIN) {
            step = step.fin();
        }
        if flag(RST) {
            step = step.rst();
        }
        if flag(ACK) {
            step = step.ack(self.acknowledgement);
        }
        let mut frame = Vec::new();
        step.options_raw(&self.tcp_options).unwrap().write(&mut frame, &self.payload).unwrap();
        frame
    }

    pub fn udp(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        self.ip().udp(self.from.port(), self.to.port()).write(&mut frame, &self.payload).unwrap();
        frame
    }

    /// A frame whose IP payload is `bytes`, of IP protocol `protocol`; IPv6 extension headers go in this way.
    pub fn raw(&self, protocol: u8, bytes: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        self.ip().write(&mut frame, IpNumber(protocol), bytes).unwrap();
        frame
    }

    fn ip(&self) -> PacketBuilderStep<IpHeaders> {
        let ethernet = PacketBuilder::ethernet2(self.source_mac.0, self.destination_mac.0);
        let headers = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut header =
                    Ipv4Header::new(0, self.ttl, IpNumber::TCP, from.octets(), to.octets()).unwrap();
                header.dont_fragment = self.dont_fragment;
                header.options = self.ipv4_options.as_slice().try_into().unwrap();
                IpHeaders::Ipv4(header, Default::default())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let header = Ipv6Header {
                    traffic_class: 0,
                    flow_label: Ipv6FlowLabel::ZERO,
                    payload_length: 0,
                    next_header: IpNumber::TCP,
                    hop_limit: self.ttl,
                    source: from.octets(),
                    destination: to.octets(),
                };
                IpHeaders::Ipv6(header, Default::default())
            }
            _ => panic!("one family a packet"),
        };
        match self.vlan {
            Some(id) => ethernet.single_vlan(id.try_into().unwrap()).ip(headers),
            None => ethernet.ip(headers),
        }
    }
}

/// What etherparse says of a frame that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    pub source_mac: Mac,
    pub destination_mac: Mac,
    pub vlan: Option<u16>,
    /// Port 0 where there are no ports.
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub ttl: u8,
    pub kind: Kind,
    pub flags: u8,
    pub sequence: u32,
    pub acknowledgement: u32,
    pub window: u16,
    pub tcp_options: Vec<u8>,
    pub payload: Vec<u8>,
    pub udp_checksum: Option<u16>,
    pub octets: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tcp,
    Udp,
    /// ICMP or ICMPv6 type and code.
    Icmp(u8, u8),
}

impl Kind {
    pub fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
        }
    }
}

/// Reads a frame and checks every checksum in it against one computed from scratch.
#[track_caller]
pub fn decode(frame: &[u8]) -> Decoded {
    let sliced = SlicedPacket::from_ethernet(frame).expect("etherparse reads what we send");
    let vlan = sliced.vlan_ids().last().map(|id| id.value());
    let (from, to, ttl, addresses) = match sliced.net.as_ref().expect("an IP packet") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_header_checksum(&header);
            let ends = Addresses::V4(header.to_header());
            (IpAddr::V4(header.source_addr()), IpAddr::V4(header.destination_addr()), header.ttl(), ends)
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            let ends = Addresses::V6(header.to_header());
            (
                IpAddr::V6(header.source_addr()),
                IpAddr::V6(header.destination_addr()),
                header.hop_limit(),
                ends,
            )
        }
        other => panic!("not IP: {other:?}"),
    };
    let mut decoded = Decoded {
        destination_mac: Mac(frame[..6].try_into().unwrap()),
        source_mac: Mac(frame[6..12].try_into().unwrap()),
        vlan,
        from: SocketAddr::new(from, 0),
        to: SocketAddr::new(to, 0),
        ttl,
        kind: Kind::Tcp,
        flags: 0,
        sequence: 0,
        acknowledgement: 0,
        window: 0,
        tcp_options: Vec::new(),
        payload: Vec::new(),
        udp_checksum: None,
        octets: frame.len(),
    };
    match sliced.transport.expect("a transport header") {
        TransportSlice::Tcp(tcp) => {
            let header = tcp.to_header();
            let expected = match &addresses {
                Addresses::V4(ip) => header.calc_checksum_ipv4(ip, tcp.payload()).unwrap(),
                Addresses::V6(ip) => header.calc_checksum_ipv6(ip, tcp.payload()).unwrap(),
            };
            assert_eq!(header.checksum, expected, "TCP checksum");
            decoded.from.set_port(tcp.source_port());
            decoded.to.set_port(tcp.destination_port());
            let bit = |set, bit| if set { bit } else { 0 };
            decoded.flags =
                bit(tcp.syn(), SYN) | bit(tcp.ack(), ACK) | bit(tcp.fin(), FIN) | bit(tcp.rst(), RST);
            decoded.sequence = tcp.sequence_number();
            decoded.acknowledgement = tcp.acknowledgment_number();
            decoded.window = tcp.window_size();
            decoded.tcp_options = tcp.options().to_vec();
            decoded.payload = tcp.payload().to_vec();
        }
        TransportSlice::Udp(udp) => {
            let header = udp.to_header();
            if header.checksum != 0 {
                let expected = match &addresses {
                    Addresses::V4(ip) => header.calc_checksum_ipv4(ip, udp.payload()).unwrap(),
                    Addresses::V6(ip) => header.calc_checksum_ipv6(ip, udp.payload()).unwrap(),
                };
                assert_eq!(header.checksum, expected, "UDP checksum");
            }
            decoded.kind = Kind::Udp;
            decoded.udp_checksum = Some(header.checksum);
            decoded.from.set_port(udp.source_port());
            decoded.to.set_port(udp.destination_port());
            decoded.payload = udp.payload().to_vec();
        }
        TransportSlice::Icmpv4(icmp) => {
            // Over the octets: what the type leaves unused is no part of etherparse's header.
            let sum = Sum16BitWords::new().add_slice(icmp.slice()).ones_complement();
            assert_eq!(sum, 0, "ICMP checksum");
            decoded.kind = Kind::Icmp(icmp.type_u8(), icmp.code_u8());
            decoded.payload = icmp.payload().to_vec();
        }
        TransportSlice::Igmp(_) => panic!("we send no IGMP"),
        TransportSlice::Icmpv6(icmp) => {
            let Addresses::V6(ip) = &addresses else { panic!("ICMPv6 over IPv4") };
            assert!(icmp.is_checksum_valid(ip.source, ip.destination), "ICMPv6 checksum");
            decoded.kind = Kind::Icmp(icmp.type_u8(), icmp.code_u8());
            decoded.payload = icmp.payload().to_vec();
        }
    }
    decoded
}

enum Addresses {
    V4(Ipv4Header),
    V6(Ipv6Header),
}

#[track_caller]
fn assert_header_checksum(header: &Ipv4HeaderSlice<'_>) {
    assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum(), "IPv4 header checksum");
}
