//! A TAP interface: what the kernel takes for a network card.
//!
//! No IFF_VNET_HDR and no offloads (TUNSETOFFLOAD 0, which the crate sets): the kernel then completes every checksum
//! and cuts every segment before a frame gets here.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;

use rustix::net::AddressFamily;
use rustix::net::SocketType;
use tun_rs::DeviceBuilder;
use tun_rs::Layer;
use tun_rs::SyncDevice;

use super::KernelPortError;
use super::KernelSide;
use crate::model::PortId;

/// An open TAP; the interface disappears when it is dropped.
pub(super) struct Tap {
    pub(super) port: PortId,
    pub(super) interface: String,
    device: SyncDevice,
}

impl Tap {
    /// Creates the interface of `side`, down.
    pub(super) fn create(side: &KernelSide) -> Result<Self, KernelPortError> {
        let interface = side.interface.clone();
        if !is_interface_name(&interface) {
            return Err(KernelPortError::BadName { interface });
        }
        // Opening an existing persistent TAP would succeed, and it would outlive this process.
        if exists(&interface) {
            return Err(KernelPortError::NameTaken { interface });
        }
        let device = DeviceBuilder::new()
            .name(&interface)
            .layer(Layer::L2)
            .mac_addr(side.mac.0)
            .mtu(side.mtu)
            .enable(false)
            .build_sync()
            .and_then(|device| device.set_nonblocking(true).map(|()| device));
        match device {
            Ok(device) => Ok(Self { port: side.port, interface, device }),
            Err(source) => Err(refusal(side, source)),
        }
    }

    /// Reads a frame; the number of octets. Never waits: [`io::ErrorKind::WouldBlock`] when there is none.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.device.recv(buffer)
    }

    /// Writes a frame. Never waits.
    pub(super) fn write(&self, frame: &[u8]) -> io::Result<()> {
        self.device.send(frame).map(drop)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap")
            .field("port", &self.port)
            .field("interface", &self.interface)
            .finish_non_exhaustive()
    }
}

fn refusal(side: &KernelSide, source: io::Error) -> KernelPortError {
    let interface = side.interface.clone();
    match source.kind() {
        // ENOENT: no device file; ENODEV and ENXIO: the file is there, the driver is not.
        io::ErrorKind::NotFound => KernelPortError::NoDriver { interface, source },
        io::ErrorKind::PermissionDenied => KernelPortError::NotPermitted { interface },
        io::ErrorKind::ResourceBusy => KernelPortError::NameTaken { interface },
        _ if is_no_device(&source) => KernelPortError::NoDriver { interface, source },
        _ => KernelPortError::Create { interface, mac: side.mac, mtu: side.mtu, source },
    }
}

fn is_no_device(error: &io::Error) -> bool {
    let no_device = [rustix::io::Errno::NODEV, rustix::io::Errno::NXIO];
    no_device.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Narrower than the kernel, which takes anything without '/', ':' and white space; names in scripts and in
/// /proc/sys stay plain. 15 octets: IFNAMSIZ with its final zero.
fn is_interface_name(name: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"._-".contains(&octet);
    (1..=15).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(plain)
}

/// Whether this network namespace has an interface of the name.
fn exists(interface: &str) -> bool {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None);
    socket.is_ok_and(|socket| rustix::net::netdevice::name_to_index(&socket, interface).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Mac;

    #[test]
    fn a_name_the_kernel_would_refuse_or_cut_is_refused_with_the_way_out() {
        for name in ["", "sixteen-octets-x", "a/b", "..", "ek 0"] {
            let side = KernelSide {
                port: PortId(0),
                interface: name.to_owned(),
                mac: Mac([2, 0, 0, 0, 0, 1]),
                mtu: 1500,
                addresses: Vec::new(),
            };
            let error = Tap::create(&side).unwrap_err();
            assert!(matches!(error, KernelPortError::BadName { .. }), "{name:?}: {error}");
        }
        assert!(is_interface_name("ek0"));
        assert!(is_interface_name("front-kernel.10"));
    }

    #[test]
    fn refusals_of_the_kernel_name_the_interface_and_the_fix() {
        let side = KernelSide {
            port: PortId(0),
            interface: "ek0".to_owned(),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            addresses: Vec::new(),
        };
        for (errno, fix) in [
            (rustix::io::Errno::NOENT, "modprobe tun"),
            (rustix::io::Errno::NODEV, "modprobe tun"),
            (rustix::io::Errno::PERM, "CAP_NET_ADMIN"),
            (rustix::io::Errno::BUSY, "ip link delete ek0"),
            (rustix::io::Errno::INVAL, "02:00:00:00:00:01"),
        ] {
            let text = refusal(&side, errno.into()).to_string();
            assert!(text.contains("\"ek0\"") && text.contains(fix), "{errno:?}: {text}");
        }
    }
}
