//! The steps from a device's name to a port that runs, one function each.
//!
//! DPDK wants them in this order: probe, configure, queues, addresses, start. No offload is asked for: checksums are
//! updated incrementally, and a buffer holds a whole frame.

use std::ffi::CStr;
use std::ffi::CString;
use std::io;

use super::DeviceOptions;
use super::DpdkError;
use super::DpdkPool;
use super::Eal;
use super::MemoryChoice;
use super::device::Facts;
use super::device::OpenPort;
use super::eal::device_name;
use super::eal::is_pci;
use super::pool::PoolOptions;
use crate::model::Mac;

/// A port that exists and is not open yet.
pub(super) struct Setup<'a> {
    device: &'a str,
    port: u16,
}

/// What the device allows, of what is asked here.
struct Limits {
    driver: String,
    rx_queues: u16,
    tx_queues: u16,
    smallest_mtu: u16,
    largest_mtu: u16,
    rss_flows: u64,
    /// The kernel interface behind it; 0: none.
    interface: u32,
}

/// What the port is configured with.
struct Queues {
    rx: u16,
    tx: u16,
    rx_descriptors: u16,
    tx_descriptors: u16,
}

impl<'a> Setup<'a> {
    /// Finds the port of a device, after having its driver make it if need be.
    pub(super) fn find(device: &'a str) -> Result<Self, DpdkError> {
        let name = port_name(device);
        if let Some(port) = port_by_name(&name) {
            return Ok(Self { device, port });
        }
        // A PCI device was probed when EAL started, or not at all.
        if !is_pci(device) && !probe(device) {
            return Err(DpdkError::Probe { device: device.to_owned() });
        }
        match port_by_name(&name) {
            Some(port) => Ok(Self { device, port }),
            None => Err(DpdkError::NoPort { device: device.to_owned(), name }),
        }
    }

    /// Configures the port and starts it.
    pub(super) fn start(
        &self,
        eal: &Eal,
        options: &DeviceOptions,
    ) -> Result<(Facts, DpdkPool, OpenPort), DpdkError> {
        let limits = self.limits()?;
        self.check_mtu(options.mtu, &limits)?;
        let (open, owner) = self.claim()?;
        let workers = u16::try_from(options.workers).unwrap_or(u16::MAX);
        let (rx, tx) = (workers.min(limits.rx_queues), workers.min(limits.tx_queues));
        let pool = PoolOptions {
            number: owner,
            mbufs: options.mbufs_for(rx, tx, options.descriptors),
            octets: options.buffer_octets(),
            socket: self.memory_socket(),
            ordinary_pages: matches!(eal.memory(), MemoryChoice::Ordinary { .. }),
        };
        let pool = DpdkPool::create(&pool).map_err(|source| DpdkError::Pool {
            device: self.device.to_owned(),
            mbufs: pool.mbufs,
            octets: pool.octets,
            source,
        })?;

        self.configure(rx, tx, options.mtu, limits.rss_flows)?;
        let (rx_descriptors, tx_descriptors) = self.descriptors(options.descriptors)?;
        self.set_up_queues(&Queues { rx, tx, rx_descriptors, tx_descriptors }, &pool)?;
        self.set_mtu(options.mtu)?;
        let own = self.mac()?;
        let mac = options.mac.unwrap_or(own);
        let refused = mac != own && self.set_mac(mac).is_err();
        // SAFETY: the port is configured, has its queues, and is used by no other thread yet.
        self.check("start", unsafe { dpdk_sys::rte_eth_dev_start(self.port) }, "")?;
        self.receive_groups(refused)?;

        let facts = Facts {
            device: self.device.to_owned(),
            driver: limits.driver,
            interface: limits.interface,
            mac,
            promiscuous: refused,
            rx_queues: rx,
            tx_queues: tx,
        };
        Ok((facts, pool, open))
    }

    /// Takes the port for itself, before anything of it is changed. The number is the owner's, unique in the process.
    fn claim(&self) -> Result<(OpenPort, u64), DpdkError> {
        let mut owner = dpdk_sys::rte_eth_dev_owner::default();
        // SAFETY: `owner.id` is ours, and filled by the callee.
        self.check("taking it", unsafe { dpdk_sys::rte_eth_dev_owner_new(&raw mut owner.id) }, "")?;
        // SAFETY: the port exists; `owner` is copied, and its name is an empty NUL-terminated string.
        match unsafe { dpdk_sys::rte_eth_dev_owner_set(self.port, &raw const owner) } {
            0 => Ok((OpenPort::new(self.port), owner.id)),
            _ => Err(DpdkError::OpenAlready { device: self.device.to_owned() }),
        }
    }

    fn limits(&self) -> Result<Limits, DpdkError> {
        let mut info = dpdk_sys::rte_eth_dev_info::default();
        // SAFETY: the port exists; `info` is ours, and filled by the callee.
        let result = unsafe { dpdk_sys::rte_eth_dev_info_get(self.port, &raw mut info) };
        self.check("asking for its limits", result, "")?;
        let driver = if info.driver_name.is_null() {
            String::new()
        } else {
            // SAFETY: not null, and a NUL-terminated string that is part of the driver, which stays loaded.
            unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned()
        };
        Ok(Limits {
            driver,
            rx_queues: info.max_rx_queues,
            tx_queues: info.max_tx_queues,
            smallest_mtu: info.min_mtu,
            largest_mtu: largest_mtu(info.max_mtu, info.max_rx_pktlen),
            rss_flows: info.flow_type_rss_offloads & dpdk_sys::EVENKEEL_RSS_FLOWS,
            interface: info.if_index,
        })
    }

    fn check_mtu(&self, mtu: u16, limits: &Limits) -> Result<(), DpdkError> {
        if (limits.smallest_mtu..=limits.largest_mtu).contains(&mtu) {
            return Ok(());
        }
        Err(DpdkError::Mtu {
            device: self.device.to_owned(),
            mtu,
            smallest: limits.smallest_mtu,
            largest: limits.largest_mtu,
        })
    }

    /// The NUMA node of the device; -1: any.
    fn memory_socket(&self) -> i32 {
        // SAFETY: the port exists.
        unsafe { dpdk_sys::rte_eth_dev_socket_id(self.port) }
    }

    fn configure(&self, rx: u16, tx: u16, mtu: u16, rss_flows: u64) -> Result<(), DpdkError> {
        let mut conf = dpdk_sys::rte_eth_conf::default();
        conf.rxmode.mtu = u32::from(mtu);
        // With the device's own key and table: several queues are of no use if all frames come to the first.
        if rx > 1 && rss_flows != 0 {
            conf.rxmode.mq_mode = dpdk_sys::RTE_ETH_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_hf = rss_flows;
        }
        // SAFETY: the port exists, is stopped and ours alone; `conf` is copied, and its pointers are null.
        let result = unsafe { dpdk_sys::rte_eth_dev_configure(self.port, rx, tx, &raw const conf) };
        self.check("configuring its queues", result, "")
    }

    /// The nearest ring lengths that the device has.
    fn descriptors(&self, wanted: u16) -> Result<(u16, u16), DpdkError> {
        let (mut rx, mut tx) = (wanted, wanted);
        // SAFETY: the port exists; both numbers are ours, and adjusted by the callee.
        let result =
            unsafe { dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.port, &raw mut rx, &raw mut tx) };
        self.check("fitting the length of its rings", result, "")?;
        Ok((rx, tx))
    }

    fn set_up_queues(&self, queues: &Queues, pool: &DpdkPool) -> Result<(), DpdkError> {
        let socket = self.memory_socket().cast_unsigned();
        for queue in 0..queues.rx {
            // SAFETY: the port is configured with this queue and stopped; no configuration means the driver's
            // default; the pool lives for ever.
            let result = unsafe {
                dpdk_sys::rte_eth_rx_queue_setup(
                    self.port,
                    queue,
                    queues.rx_descriptors,
                    socket,
                    std::ptr::null(),
                    pool.as_ptr(),
                )
            };
            let hint = "; if it holds many packets (a capture with infinite_rx holds all), raise mbufs";
            self.check("setting up a receive queue", result, hint)?;
        }
        for queue in 0..queues.tx {
            // SAFETY: the port is configured with this queue and stopped; no configuration means the driver's default.
            let result = unsafe {
                dpdk_sys::rte_eth_tx_queue_setup(
                    self.port,
                    queue,
                    queues.tx_descriptors,
                    socket,
                    std::ptr::null(),
                )
            };
            self.check("setting up a transmit queue", result, "")?;
        }
        Ok(())
    }

    /// For devices that pass it on to an interface of the kernel; a card took it with the configuration.
    fn set_mtu(&self, mtu: u16) -> Result<(), DpdkError> {
        // SAFETY: the port is configured and stopped.
        match unsafe { dpdk_sys::rte_eth_dev_set_mtu(self.port, mtu) } {
            result if unsupported(result) => Ok(()),
            result => self.check("setting its MTU", result, "; lower mtu, or give the device larger buffers"),
        }
    }

    fn mac(&self) -> Result<Mac, DpdkError> {
        let mut address = dpdk_sys::rte_ether_addr::default();
        // SAFETY: the port exists; `address` is ours, and filled by the callee.
        let result = unsafe { dpdk_sys::rte_eth_macaddr_get(self.port, &raw mut address) };
        self.check("asking for its MAC address", result, "")?;
        Ok(Mac(address.addr_bytes))
    }

    fn set_mac(&self, mac: Mac) -> Result<(), DpdkError> {
        let mut address = dpdk_sys::rte_ether_addr { addr_bytes: mac.0 };
        // SAFETY: the port is configured; the address is copied.
        let result = unsafe { dpdk_sys::rte_eth_dev_default_mac_addr_set(self.port, &raw mut address) };
        self.check("setting its MAC address", result, "")
    }

    /// Lets in every multicast frame (neighbour discovery and routing protocols of the kernel's side), and all frames
    /// if the port has an address that the device does not know. A device that does not support this does not filter.
    fn receive_groups(&self, all_frames: bool) -> Result<(), DpdkError> {
        // SAFETY: the port exists and is configured.
        let groups = unsafe { dpdk_sys::rte_eth_allmulticast_enable(self.port) };
        if !all_frames && (groups == 0 || unsupported(groups)) {
            return Ok(());
        }
        // SAFETY: the port exists and is configured.
        match unsafe { dpdk_sys::rte_eth_promiscuous_enable(self.port) } {
            result if unsupported(result) => Ok(()),
            result => self.check("receiving all frames", result, "; set mac = \"auto\""),
        }
    }

    /// Turns DPDK's negative error numbers into an error.
    fn check(&self, step: &'static str, result: i32, hint: &'static str) -> Result<(), DpdkError> {
        if result >= 0 {
            return Ok(());
        }
        Err(DpdkError::Setup { device: self.device.to_owned(), step, source: os_error(result), hint })
    }
}

/// Has a driver make the port of a vdev. What EAL returns if not is the driver's -1 more often than an error number.
fn probe(device: &str) -> bool {
    let Ok(arguments) = CString::new(device) else { return false };
    // SAFETY: EAL runs (Device::open has its proof); the text is NUL-terminated and copied.
    unsafe { dpdk_sys::rte_dev_probe(arguments.as_ptr()) == 0 }
}

/// What DPDK calls a device's port: the whole PCI address, with domain, or the vdev's name.
fn port_name(device: &str) -> String {
    let name = device_name(device);
    if !is_pci(device) {
        return name.to_owned();
    }
    let domain = if name.split(':').count() == 2 { "0000:" } else { "" };
    format!("{domain}{name}").to_ascii_lowercase()
}

fn port_by_name(name: &str) -> Option<u16> {
    let name = CString::new(name).ok()?;
    let mut port = 0;
    // SAFETY: the name is NUL-terminated; `port` is ours, and filled by the callee.
    let result = unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut port) };
    (result == 0).then_some(port)
}

/// Of the largest packet and the largest frame that a device states, the limit that binds. The difference of the two
/// is what the device adds to a packet; where it states the largest possible packet, it is an Ethernet header and FCS.
fn largest_mtu(packet: u16, frame: u32) -> u16 {
    let stated = packet != u16::MAX && frame > u32::from(packet);
    let overhead = if stated { frame - u32::from(packet) } else { 14 + 4 };
    u16::try_from(frame.saturating_sub(overhead)).map_or(packet, |largest| largest.min(packet))
}

fn os_error(result: i32) -> io::Error {
    io::Error::from_raw_os_error(result.saturating_neg())
}

fn unsupported(result: i32) -> bool {
    os_error(result).kind() == io::ErrorKind::Unsupported
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_mtu_follows_from_the_largest_frame_where_that_binds() {
        for (packet, frame, largest) in
            [(9216, 9238, 9216), (u16::MAX, 1522, 1504), (u16::MAX, u32::MAX, u16::MAX), (1500, 0, 0)]
        {
            assert_eq!(largest_mtu(packet, frame), largest, "{packet} {frame}");
        }
    }

    #[test]
    fn a_port_is_called_by_its_whole_pci_address_or_by_the_name_of_its_vdev() {
        for (device, name) in [
            ("0000:03:00.0", "0000:03:00.0"),
            ("AF:00.0", "0000:af:00.0"),
            ("0001:03:00.0,representor=0", "0001:03:00.0"),
            ("net_pcap0,rx_pcap=03:00.0", "net_pcap0"),
            ("net_ring1", "net_ring1"),
        ] {
            assert_eq!(port_name(device), name, "{device}");
        }
    }
}
