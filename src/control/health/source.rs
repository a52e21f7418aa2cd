//! Sockets of probes, and the address that they leave from.
//!
//! Without one of its own a probe leaves from wherever the kernel's routes say. With one, it may be a local address,
//! whose ports from 4096 on belong to the flows: answers to the ports below come to the kernel, and so these are used
//! for every probe with an address of its own, a probe each.

use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering;

use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::SocketType;
use rustix::net::bind;
use rustix::net::socket_with;
use rustix::net::sockopt::set_socket_reuseaddr;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::net::UdpSocket;

/// The ports that probes with an address of their own leave from.
pub const PROBE_PORTS: Range<u16> = 1024..4096;

/// Hands out source ports, each in its turn.
#[derive(Debug, Default)]
pub(super) struct Ports(AtomicU16);

impl Ports {
    /// Opens a TCP connection.
    pub(super) async fn connect(&self, target: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
        let Some(from) = from else { return TcpStream::connect(target).await };
        let mut taken = Errno::ADDRINUSE;
        for _ in 0..TRIES {
            let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // Sockets of probes to others have the port too.
            socket.set_reuseaddr(true)?;
            match socket.bind(SocketAddr::new(from, self.next())) {
                Err(error) if is(&error, Errno::ADDRINUSE) => continue,
                bound => bound?,
            }
            match socket.connect(target).await {
                // The same connection as a while ago, which rests (TIME_WAIT).
                Err(error) if is(&error, Errno::ADDRNOTAVAIL) => taken = Errno::ADDRNOTAVAIL,
                connected => return connected,
            }
        }
        Err(taken.into())
    }

    /// Opens a UDP socket to `target`. It hears of ICMP errors and of nobody else.
    pub(super) async fn datagrams(&self, target: SocketAddr, from: Option<IpAddr>) -> io::Result<UdpSocket> {
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
        if let Some(from) = from {
            set_socket_reuseaddr(&socket, true)?;
            let mut tries = 0..TRIES;
            while let Err(errno) = bind(&socket, &SocketAddr::new(from, self.next())) {
                if tries.next().is_none() || errno != Errno::ADDRINUSE {
                    return Err(errno.into());
                }
            }
        }
        let socket = UdpSocket::from_std(socket.into())?;
        socket.connect(target).await?;
        Ok(socket)
    }

    fn next(&self) -> u16 {
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        PROBE_PORTS.start + turn % (PROBE_PORTS.end - PROBE_PORTS.start)
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// Ports tried before a probe is given up as one that this machine could not send.
const TRIES: usize = 64;
