//! The kernel interface behind a device: packet sockets, TAPs and some cards have one. Drivers of the first kind call
//! their link up whatever the interface is; the kernel knows.

use rustix::io;
use rustix::ioctl::{Opcode, Updater, ioctl};
use rustix::net::netdevice::index_to_name_inlined;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// Whether the interface with this index, of this thread's network namespace, is up and has a carrier. An interface that
/// is gone is not. Some system calls.
///
/// # Errors
/// The kernel gives no socket.
pub(super) fn is_running(index: u32) -> io::Result<bool> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let Ok(name) = index_to_name_inlined(&socket, index) else { return Ok(false) };
    let mut request = Request { name: [0; NAME], flags: 0, unused: [0; 22] };
    // The last octet stays the NUL that ends the name.
    for (to, from) in request.name[..NAME - 1].iter_mut().zip(name.as_bytes()) {
        *to = *from;
    }
    // SAFETY: SIOCGIFFLAGS reads a name from a `struct ifreq`, and writes flags to it; `Request` is laid out as one.
    let flags = unsafe { Updater::<SIOCGIFFLAGS, Request>::new(&mut request) };
    // SAFETY: as above; the socket is open.
    let asked = unsafe { ioctl(&socket, flags) };
    Ok(asked.is_ok() && request.flags & RUNNING == RUNNING)
}

/// netdevice(7): `struct ifreq`, a name and a union of 24 octets.
#[repr(C)]
struct Request {
    name: [u8; NAME],
    flags: u16,
    unused: [u8; 22],
}

const _: () = assert!(size_of::<Request>() == 40, "as the kernel has it on 64-bit machines");

/// `IFNAMSIZ`.
const NAME: usize = 16;

/// linux/sockios.h.
const SIOCGIFFLAGS: Opcode = 0x8913;

/// `IFF_UP` and `IFF_RUNNING`, of linux/if.h.
const RUNNING: u16 = 0x1 | 0x40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_does_not_run() {
        assert_eq!(is_running(u32::MAX / 2), Ok(false));
    }
}
