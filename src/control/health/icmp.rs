//! An ICMP echo request and its reply (RFC 792, RFC 4443).
//!
//! The kernel has a socket type for this that needs no rights and hears of its own replies alone, if the group may use
//! it (`net.ipv4.ping_group_range`). If not, a raw socket does, which hears all ICMP from its peer.

use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;

use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::net::bind;
use rustix::net::ipproto;
use rustix::net::socket_with;
use tokio::net::UdpSocket;

use super::ProbeResult;

/// Asks `target`; returns once it has answered. `token` tells this request from every other under way.
pub(super) async fn ask(target: IpAddr, from: Option<IpAddr>, token: u64) -> io::Result<ProbeResult> {
    let (socket, raw) = open(target, from)?;
    socket.connect(SocketAddr::new(target, 0)).await?;
    let request = request(target, token);
    socket.send(&request).await?;
    let mut packet = [0; 256];
    loop {
        let octets = socket.recv(&mut packet).await?;
        let message = &packet[..octets];
        // Raw sockets for IPv4 give the IP header too.
        let header =
            if raw && target.is_ipv4() { message.first().map_or(0, |o| usize::from(o & 0xf) * 4) } else { 0 };
        if message.get(header..).is_some_and(|message| is_reply(&request, message, raw)) {
            return Ok(Ok(()));
        }
    }
}

/// A socket for echo requests, and whether it is a raw one. `UdpSocket` is only the wrapper that polls and receives.
fn open(target: IpAddr, from: Option<IpAddr>) -> io::Result<(UdpSocket, bool)> {
    let (family, protocol) = match target {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, raw) = match socket_with(family, SocketType::DGRAM, flags, Some(protocol)) {
        Err(Errno::ACCESS | Errno::PERM | Errno::PROTONOSUPPORT) => {
            (socket_with(family, SocketType::RAW, flags, Some(protocol))?, true)
        }
        socket => (socket?, false),
    };
    if let Some(from) = from {
        bind(&socket, &SocketAddr::new(from, 0))?;
    }
    Ok((UdpSocket::from_std(socket.into())?, raw))
}

/// Type, code, checksum, identifier, sequence, data: all but the first three are the token, and the token again.
fn request(target: IpAddr, token: u64) -> [u8; 16] {
    let mut message = [0; 16];
    message[0] = if target.is_ipv4() { ECHO_V4 } else { ECHO_V6 };
    message[4..8].copy_from_slice(&token.to_be_bytes()[4..]);
    message[8..].copy_from_slice(&token.to_be_bytes());
    // The kernel does it for ICMPv6 and over the sockets of its own; over raw ones for IPv4 we do (RFC 1071).
    let mut sum: u32 = message.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from(sum).unwrap_or(u16::MAX);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// Whether `message` is the reply to `request`. The kernel's own sockets put an identifier of theirs in its place.
fn is_reply(request: &[u8; 16], message: &[u8], raw: bool) -> bool {
    let reply = if request[0] == ECHO_V4 { REPLY_V4 } else { REPLY_V6 };
    let compared = if raw { 4 } else { 6 };
    message.get(..2) == Some(&[reply, 0]) && message.get(compared..) == Some(&request[compared..])
}

/// RFC 792, page 14, and RFC 4443, 4.
const ECHO_V4: u8 = 8;
const REPLY_V4: u8 = 0;
const ECHO_V6: u8 = 128;
const REPLY_V6: u8 = 129;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn a_request_sums_up_and_only_its_own_reply_matches() {
        for (target, reply) in
            [(IpAddr::from(Ipv4Addr::LOCALHOST), REPLY_V4), (IpAddr::from(Ipv6Addr::LOCALHOST), REPLY_V6)]
        {
            let asked = request(target, 0x0102_0304_0506_ffff);
            let sum: u32 = asked.chunks_exact(2).map(|p| u32::from(u16::from_be_bytes([p[0], p[1]]))).sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);

            let mut answer = asked;
            assert!(!is_reply(&asked, &answer, true), "our own request, as on loopback");
            answer[0] = reply;
            assert!(is_reply(&asked, &answer, true));
            answer[4] ^= 1;
            assert!(!is_reply(&asked, &answer, true), "another identifier");
            assert!(is_reply(&asked, &answer, false), "the kernel's identifier");
            answer[15] ^= 1;
            assert!(!is_reply(&asked, &answer, false), "another token");
            assert!(!is_reply(&asked, &answer[..7], true));
        }
    }
}
