//! The packets of the latency rig: what they are made of, and the mark that they carry.
//!
//! ```text
//! Ethernet | IPv4 | UDP | trial (32 bits) | due (64 bits) | zeros
//! ```
//! `due` is when the packet was to be sent, in nanoseconds since its trial began.

use std::net::Ipv4Addr;

use evenkeel::model::Mac;

/// From a client of the flow's own to the VIP: 18 octets of payload, and no UDP checksum, as the mark changes.
pub(super) fn of_flow(flow: u32) -> [u8; OCTETS] {
    let client = (0x0a40_0000 + flow / CLIENT_PORTS).to_be_bytes();
    let port = u16::try_from(1024 + flow % CLIENT_PORTS).expect("below 65536");
    let builder = etherparse::PacketBuilder::ethernet2(PEER_MAC.0, OUR_MAC.0)
        .ipv4(client, VIP.octets(), 64)
        .udp(port, VIP_PORT);
    let mut bytes = Vec::with_capacity(OCTETS);
    builder.write(&mut bytes, &[0; OCTETS - PAYLOAD_AT]).expect("a vector takes every octet");
    let mut bytes: [u8; OCTETS] = bytes.try_into().expect("headers of 42 octets and the payload");
    // RFC 768: no checksum.
    bytes[40..42].fill(0);
    bytes
}

/// Writes the mark: the number of the trial, and when the packet is to be sent.
#[inline]
pub(super) fn mark(head: &mut [u8], trial: u32, due: u64) {
    head[TRIAL_AT..TRIAL_AT + 4].copy_from_slice(&trial.to_be_bytes());
    head[DUE_AT..DUE_AT + 8].copy_from_slice(&due.to_be_bytes());
}

/// What the bytes of a packet that came back say.
pub(super) enum Mark {
    /// When it was to be sent.
    Due(u64),
    /// It was late, and its trial is over.
    FormerTrial,
    /// It is not one of ours, or not translated as it should be.
    Foreign,
}

/// Reads the mark of a packet that came back in a trial with this number.
#[inline]
pub(super) fn read(head: &[u8], trial: u32) -> Mark {
    let Some(head) = head.first_chunk::<OCTETS>() else { return Mark::Foreign };
    let [source, destination] = [&head[26..30], &head[30..34]];
    let translated = source[..3] == LOCAL_PREFIX
        && BACKENDS.iter().any(|backend| destination == backend.octets())
        && head[36..38] == VIP_PORT.to_be_bytes();
    let number = head[TRIAL_AT..TRIAL_AT + 4].try_into().map_or(0, u32::from_be_bytes);
    let due = head[DUE_AT..DUE_AT + 8].try_into().map_or(0, u64::from_be_bytes);
    match (translated, number == trial) {
        (false, _) => Mark::Foreign,
        (true, false) => Mark::FormerTrial,
        (true, true) => Mark::Due(due),
    }
}

/// The address of evenkeel's port.
pub(super) const OUR_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// The generator's.
pub(super) const PEER_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);

/// Where packets are sent to.
pub(super) const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 80);
/// And the port of it.
pub(super) const VIP_PORT: u16 = 53;
/// Where evenkeel sends them.
pub(super) const BACKENDS: [Ipv4Addr; 4] = [
    Ipv4Addr::new(10, 0, 9, 1),
    Ipv4Addr::new(10, 0, 9, 2),
    Ipv4Addr::new(10, 0, 9, 3),
    Ipv4Addr::new(10, 0, 9, 4),
];

/// Of evenkeel's local addresses.
const LOCAL_PREFIX: [u8; 3] = [10, 0, 8];

/// Ports that a client uses.
const CLIENT_PORTS: u32 = 60_000;

/// The smallest frame of Ethernet, without its checksum.
pub(super) const OCTETS: usize = 60;

/// Behind the headers of Ethernet, IPv4 and UDP.
const PAYLOAD_AT: usize = 14 + 20 + 8;
const TRIAL_AT: usize = PAYLOAD_AT;
const DUE_AT: usize = TRIAL_AT + 4;
