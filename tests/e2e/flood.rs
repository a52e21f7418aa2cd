//! Floods of raw frames from a host of the lab, at a given rate.

use std::fs::File;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::os::fd::AsFd;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use evenkeel::wire::checksum;
use rustix::thread::LinkNameSpaceType;
use rustix::thread::move_into_link_name_space;

use crate::lab::Lab;
use crate::raw_socket;

/// Kinds of packets. Checksums are valid; lengths are the smallest that carry the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// ICMP or ICMPv6 echo request, without data.
    EchoRequest,
    /// ICMP or ICMPv6 echo reply, without data.
    EchoReply,
    /// UDP datagram of 18 octets.
    Udp,
    /// TCP segment without options and data, with random sequence numbers.
    Tcp {
        /// See [`evenkeel::wire::tcp_flags`].
        flags: u8,
    },
    /// ARP request for `to`, to the broadcast address (RFC 826).
    Arp,
    /// Neighbour solicitation for `to`, to its solicited-node group (RFC 4861, section 4.3).
    NeighbourSolicitation,
    /// A packet of IP protocol 89 (OSPF): header of a hello, without a body.
    Ospf,
    /// IGMPv2 membership report for `to` (RFC 2236, section 2).
    Igmp,
}

/// A flood. All sources are random members of one prefix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flood {
    /// Sending host: "client", or "b1" to "b3".
    pub(crate) host: &'static str,
    /// Kind of each packet.
    pub(crate) kind: Kind,
    /// Destination, or the address asked for. A group selects the group's MAC address, anything else the balancer's.
    pub(crate) to: IpAddr,
    /// Destination port of TCP and UDP.
    pub(crate) port: u16,
    /// First source address.
    pub(crate) source: IpAddr,
    /// Low bits of the source that are random, 0 to 32; 0: one source.
    pub(crate) source_bits: u32,
    /// Source port of TCP and UDP, or random from 1024 on.
    pub(crate) source_port: Option<u16>,
    /// Packets per second, 1 to some 500,000.
    pub(crate) rate: u32,
    /// Duration.
    pub(crate) time: Duration,
}

/// A flood in progress. It ends by itself.
pub(crate) struct Running(JoinHandle<Sent>);

/// A finished flood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Frames that the host's interface took.
    pub(crate) frames: u64,
    /// Time that they took.
    pub(crate) elapsed: Duration,
}

impl Flood {
    /// A flood from the client's cable: 200,000 packets per second for five seconds from 2^24 sources of the family of
    /// `to`, none of them an address of the lab.
    pub(crate) fn new(kind: Kind, to: &str, port: u16) -> Self {
        let to: IpAddr = to.parse().unwrap();
        let source = if to.is_ipv4() { "11.0.0.0" } else { "2001:db8:11::" };
        Self {
            host: "client",
            kind,
            to,
            port,
            source: source.parse().unwrap(),
            source_bits: 24,
            source_port: None,
            rate: 200_000,
            time: Duration::from_secs(5),
        }
    }

    /// Starts to send, in a thread in the host's namespace.
    pub(crate) fn start(self, lab: &Lab) -> Running {
        let balancer_end = if self.host == "client" { "front" } else { "back" };
        let read = |host, interface, what: &str| {
            lab.must(host, &["cat", &format!("/sys/class/net/{interface}/{what}")]).trim().to_owned()
        };
        let balancer_mac = mac(&read("balancer", balancer_end, "address"));
        let link = Link {
            index: read(self.host, "eth0", "ifindex").parse().unwrap(),
            source: mac(&read(self.host, "eth0", "address")),
            destination: self.destination_mac().unwrap_or(balancer_mac),
        };
        let namespace = File::open(lab.namespace(self.host)).unwrap();
        Running(thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            self.send(&link)
        }))
    }

    /// Some of its frames, between invented MAC addresses.
    pub(crate) fn sample(&self, count: usize) -> Vec<Vec<u8>> {
        let link = Link { index: 0, source: [2, 0, 0, 0, 0, 1], destination: [2, 0, 0, 0, 0, 2] };
        let mut random = Random(1);
        let mut next = || {
            let mut frame = Vec::new();
            self.write(&mut frame, &link, &mut random);
            frame
        };
        (0..count).map(|_| next()).collect()
    }

    /// The MAC address of a group; `None`: the balancer's.
    fn destination_mac(&self) -> Option<[u8; 6]> {
        match (self.kind, self.to) {
            (Kind::Arp, _) => Some([0xff; 6]),
            (Kind::NeighbourSolicitation, IpAddr::V6(to)) => Some(group_mac(solicited_node(to))),
            // RFC 1112, section 6.4.
            (_, IpAddr::V4(to)) if to.is_multicast() => {
                let [_, b, c, d] = to.octets();
                Some([1, 0, 0x5e, b & 0x7f, c, d])
            }
            (_, IpAddr::V6(to)) if to.is_multicast() => Some(group_mac(to)),
            _ => None,
        }
    }

    fn send(&self, link: &Link) -> Sent {
        let socket = raw_socket::open(link.index);
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ u64::from(self.port) ^ u64::from(std::process::id()));
        let mut frames: Vec<Vec<u8>> = vec![Vec::new(); BATCH];
        let began = Instant::now();
        let mut sent = 0_u64;
        while began.elapsed() < self.time {
            for frame in &mut frames {
                self.write(frame, link, &mut random);
            }
            sent += raw_socket::send_all(&socket, &frames) as u64;
            let due = Duration::from_secs_f64(sent as f64 / f64::from(self.rate));
            if let Some(early) = due.checked_sub(began.elapsed()) {
                thread::sleep(early);
            }
        }
        Sent { frames: sent, elapsed: began.elapsed() }
    }

    /// Writes the next frame.
    fn write(&self, frame: &mut Vec<u8>, link: &Link, random: &mut Random) {
        frame.clear();
        frame.extend_from_slice(&link.destination);
        frame.extend_from_slice(&link.source);
        let source = self.next_source(random);
        let ether_type: u16 = match (self.kind, self.to) {
            (Kind::Arp, _) => 0x0806,
            (_, IpAddr::V4(_)) => 0x0800,
            (_, IpAddr::V6(_)) => 0x86dd,
        };
        frame.extend_from_slice(&ether_type.to_be_bytes());
        match (source, self.to) {
            (IpAddr::V4(source), IpAddr::V4(to)) if self.kind == Kind::Arp => {
                frame.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
                frame.extend_from_slice(&link.source);
                frame.extend_from_slice(&source.octets());
                frame.extend_from_slice(&[0; 6]);
                frame.extend_from_slice(&to.octets());
            }
            (IpAddr::V4(source), IpAddr::V4(to)) => {
                frame.extend_from_slice(&[
                    0x45,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    self.hop_limit(),
                    self.protocol(),
                    0,
                    0,
                ]);
                frame.extend_from_slice(&source.octets());
                frame.extend_from_slice(&to.octets());
                self.write_transport(frame, link, random);
                let total = frame.len() - L3;
                frame[L3 + 2..][..2].copy_from_slice(&u16::try_from(total).unwrap().to_be_bytes());
                let header = !checksum::fold(checksum::sum(&frame[L3..L3 + 20]));
                frame[L3 + 10..][..2].copy_from_slice(&header.to_be_bytes());
            }
            (IpAddr::V6(source), IpAddr::V6(to)) => {
                let to = if self.kind == Kind::NeighbourSolicitation { solicited_node(to) } else { to };
                frame.extend_from_slice(&[0x60, 0, 0, 0, 0, 0, self.protocol(), self.hop_limit()]);
                frame.extend_from_slice(&source.octets());
                frame.extend_from_slice(&to.octets());
                self.write_transport(frame, link, random);
                let payload = frame.len() - L3 - 40;
                frame[L3 + 4..][..2].copy_from_slice(&u16::try_from(payload).unwrap().to_be_bytes());
            }
            _ => panic!("source and destination of one family: {self:?}"),
        }
        // The shortest frame without its check sequence.
        frame.resize(frame.len().max(60), 0);
    }

    /// Appends what follows the IP header, with its checksum.
    fn write_transport(&self, frame: &mut Vec<u8>, link: &Link, random: &mut Random) {
        let is_v4 = self.to.is_ipv4();
        let l4 = frame.len();
        let any = random.next().to_be_bytes();
        let mut ports = [0; 4];
        let source_port =
            self.source_port.unwrap_or_else(|| 1024 + u16::from_be_bytes([any[6], any[7]]) % 64_000);
        ports[..2].copy_from_slice(&source_port.to_be_bytes());
        ports[2..].copy_from_slice(&self.port.to_be_bytes());
        let checksum_at = match self.kind {
            Kind::EchoRequest | Kind::EchoReply => {
                let kind = match (self.kind, is_v4) {
                    (Kind::EchoRequest, true) => 8,
                    (Kind::EchoRequest, false) => 128,
                    (_, true) => 0,
                    (_, false) => 129,
                };
                frame.extend_from_slice(&[kind, 0, 0, 0, any[0], any[1], any[2], any[3]]);
                2
            }
            Kind::Udp => {
                frame.extend_from_slice(&ports);
                frame.extend_from_slice(&[0, 8 + 18, 0, 0]);
                frame.extend_from_slice(&[0x55; 18]);
                6
            }
            Kind::Tcp { flags } => {
                frame.extend_from_slice(&ports);
                frame.extend_from_slice(&any);
                frame.extend_from_slice(&[0x50, flags, 0x72, 0x10, 0, 0, 0, 0]);
                16
            }
            Kind::NeighbourSolicitation => {
                let IpAddr::V6(target) = self.to else { panic!("{self:?}") };
                frame.extend_from_slice(&[135, 0, 0, 0, 0, 0, 0, 0]);
                frame.extend_from_slice(&target.octets());
                frame.extend_from_slice(&[1, 1]);
                frame.extend_from_slice(&link.source);
                2
            }
            // Version 2, hello, 44 octets.
            Kind::Ospf => {
                frame.extend_from_slice(&[2, 1, 0, 44]);
                frame.extend_from_slice(&[0; 40]);
                12
            }
            Kind::Igmp => {
                let IpAddr::V4(group) = self.to else { panic!("{self:?}") };
                frame.extend_from_slice(&[0x16, 0, 0, 0]);
                frame.extend_from_slice(&group.octets());
                2
            }
            Kind::Arp => panic!("ARP is not IP"),
        };
        let length = frame.len() - l4;
        let mut sum = checksum::sum(&frame[l4..]);
        if !is_v4 || matches!(self.kind, Kind::Udp | Kind::Tcp { .. }) {
            let addresses = if is_v4 { 8 } else { 32 };
            sum += checksum::sum(&frame[l4 - addresses..l4]);
            sum += u32::from(self.protocol()) + u32::try_from(length).unwrap();
        }
        let value = match !checksum::fold(sum) {
            0 if self.kind == Kind::Udp => 0xffff,
            value => value,
        };
        frame[l4 + checksum_at..][..2].copy_from_slice(&value.to_be_bytes());
    }

    fn protocol(&self) -> u8 {
        match self.kind {
            Kind::EchoRequest | Kind::EchoReply | Kind::NeighbourSolicitation => {
                if self.to.is_ipv4() {
                    1
                } else {
                    58
                }
            }
            Kind::Udp => 17,
            Kind::Tcp { .. } => 6,
            Kind::Ospf => 89,
            Kind::Igmp => 2,
            Kind::Arp => panic!("ARP is not IP"),
        }
    }

    const fn hop_limit(&self) -> u8 {
        match self.kind {
            // RFC 4861, section 7.1.1: anything less is ignored.
            Kind::NeighbourSolicitation => 255,
            Kind::Ospf | Kind::Igmp => 1,
            Kind::EchoRequest | Kind::EchoReply | Kind::Udp | Kind::Tcp { .. } | Kind::Arp => 64,
        }
    }

    fn next_source(&self, random: &mut Random) -> IpAddr {
        let low = random.next() & ((1 << self.source_bits) - 1);
        match self.source {
            IpAddr::V4(first) => IpAddr::V4((first.to_bits() | u32::try_from(low).unwrap()).into()),
            IpAddr::V6(first) => IpAddr::V6((first.to_bits() | u128::from(low)).into()),
        }
    }
}

impl Running {
    /// Whether the last frame is sent.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits for the end.
    pub(crate) fn wait(self) -> Sent {
        self.0.join().unwrap()
    }
}

impl Sent {
    /// Packets per second that were sent.
    pub(crate) fn rate(&self) -> f64 {
        self.frames as f64 / self.elapsed.as_secs_f64()
    }
}

/// An interface and both ends of its frames.
struct Link {
    index: i32,
    source: [u8; 6],
    destination: [u8; 6],
}

/// xorshift64* (Vigna, 2016): fast, and good enough for sources and numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// RFC 4291, section 2.7.1.
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let prefix: Ipv6Addr = "ff02::1:ff00:0".parse().unwrap();
    Ipv6Addr::from_bits(prefix.to_bits() | address.to_bits() & 0xff_ffff)
}

/// RFC 2464, section 7.
fn group_mac(group: Ipv6Addr) -> [u8; 6] {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

fn mac(text: &str) -> [u8; 6] {
    let octets: Vec<u8> = text.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect();
    octets.try_into().unwrap()
}

/// Frames of one system call.
const BATCH: usize = 32;
/// Length of the Ethernet header.
const L3: usize = 14;
