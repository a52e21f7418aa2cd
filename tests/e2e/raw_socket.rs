//! A socket that sends whole frames.

use std::io::IoSlice;
use std::os::fd::OwnedFd;

use rustix::net::AddressFamily;
use rustix::net::MMsgHdr;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendFlags;
use rustix::net::SocketType;
use rustix::net::addr::SocketAddrArg;
use rustix::net::addr::SocketAddrLen;
use rustix::net::addr::SocketAddrOpaque;

/// A socket for the interface with this index, of the calling thread's namespace. It receives nothing.
pub(crate) fn open(index: i32) -> OwnedFd {
    let socket = rustix::net::socket(AddressFamily::PACKET, SocketType::RAW, None).unwrap();
    let family = AddressFamily::PACKET.as_raw();
    let address = LinkAddress {
        family,
        protocol: 0,
        index,
        hardware_type: 0,
        packet_type: 0,
        length: 0,
        address: [0; 8],
    };
    rustix::net::bind(&socket, &address).unwrap();
    socket
}

/// Sends frames with one system call; how many the interface took.
pub(crate) fn send_all(socket: &OwnedFd, frames: &[Vec<u8>]) -> usize {
    let slices: Vec<[IoSlice<'_>; 1]> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
    let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> =
        slices.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let messages = slices.iter().zip(&mut controls);
    let mut messages: Vec<MMsgHdr<'_>> =
        messages.map(|(slice, control)| MMsgHdr::new(slice, control)).collect();
    // ENOBUFS and its like: the interface is busy, and the next batch comes at once.
    rustix::net::sendmmsg(socket, &mut messages, SendFlags::empty()).unwrap_or(0)
}

/// The kernel's `sockaddr_ll` (packet(7)).
#[repr(C)]
struct LinkAddress {
    family: u16,
    protocol: u16,
    index: i32,
    hardware_type: u16,
    packet_type: u8,
    length: u8,
    address: [u8; 8],
}

// SAFETY: the pointer is to a whole `sockaddr_ll`, and is valid while `f` runs.
unsafe impl SocketAddrArg for LinkAddress {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        f(std::ptr::from_ref(self).cast(), SIZE)
    }
}

const SIZE: SocketAddrLen = 20;
const _: () = assert!(size_of::<LinkAddress>() == SIZE as usize);
