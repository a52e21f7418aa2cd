//! A port that is open: how many queues and buffers it gets, and what is known of it afterwards.

use std::sync::Arc;

use super::DpdkError;
use super::DpdkPool;
use super::DpdkPort;
use super::Eal;
use super::LinkState;
use super::PortStats;
use super::interface::is_running;
use super::packet_sockets::PacketSockets;
use super::pool::CACHE;
use super::setup::Setup;
use super::stats::link_state;
use super::stats::port_stats;
use crate::io::BURST;
use crate::io::HEADROOM;
use crate::model::Mac;

/// What a port is to be.
#[derive(Clone, Debug)]
pub struct DeviceOptions {
    /// A PCI address or a vdev with its arguments, as configured.
    pub device: String,
    /// How many workers there are; each gets a queue pair, as far as the device has them.
    pub workers: usize,
    /// Largest IP packet, in octets.
    pub mtu: u16,
    /// `None`: the device's.
    pub mac: Option<Mac>,
    /// Packet buffers; `None`: computed.
    pub mbufs: Option<u32>,
    /// Ports of the process: a frame may wait in the transmit ring of any.
    pub ports: usize,
    /// Frames that may wait outside of devices: in the rings between workers and to and from the kernel port.
    pub waiting_frames: usize,
    /// Length of each receive and transmit ring; the device may round it.
    pub descriptors: u16,
}

/// A port that is open and running. It stops and closes when this and every [`DpdkPort`] of it have been dropped.
#[derive(Debug)]
pub struct Device {
    facts: Facts,
    pool: DpdkPool,
    packet_sockets: PacketSockets,
    open: Arc<OpenPort>,
}

/// What was found out or decided while opening.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) device: String,
    pub(super) driver: String,
    /// The index of the kernel interface behind it; 0: none.
    pub(super) interface: u32,
    pub(super) mac: Mac,
    pub(super) promiscuous: bool,
    pub(super) rx_queues: u16,
    pub(super) tx_queues: u16,
}

impl DeviceOptions {
    /// Mebibytes of packet memory that the port asks for at most: what EAL has to know before it starts.
    #[must_use]
    pub fn memory_mib(&self) -> usize {
        let queues = u16::try_from(self.workers).unwrap_or(u16::MAX);
        let mbufs = self.mbufs_for(queues, queues, self.descriptors) as usize;
        (mbufs * (usize::from(self.buffer_octets()) + MBUF_OVERHEAD)).div_ceil(1 << 20)
    }

    /// Octets of a buffer, headroom included: a whole packet fits, so that no frame is received in parts.
    pub(super) fn buffer_octets(&self) -> u16 {
        let frame = self.mtu.saturating_add(LINK_OCTETS);
        // In steps of a kibibyte, as some cards count their buffers.
        let room = frame.max(2048).div_ceil(1024).saturating_mul(1024);
        room.saturating_add(u16::try_from(HEADROOM).unwrap_or(u16::MAX))
    }

    /// Buffers for `rx` and `tx` queues of `descriptors` each: enough that no place where a frame can wait starves
    /// another.
    pub(super) fn mbufs_for(&self, rx: u16, tx: u16, descriptors: u16) -> u32 {
        if let Some(mbufs) = self.mbufs {
            return mbufs;
        }
        let rings = (usize::from(rx) + usize::from(tx) * self.ports) * usize::from(descriptors);
        // A cache holds up to half as much again before it is flushed; one more for the kernel port's thread.
        let threads = (self.workers + 1) * (CACHE as usize * 3 / 2 + BURSTS_IN_HAND * BURST);
        let mbufs = rings + threads + self.waiting_frames;
        // The ring behind a pool has a power of two of places, and one stays empty.
        u32::try_from((mbufs + 1).next_power_of_two() - 1).unwrap_or(u32::MAX)
    }
}

impl Device {
    /// Opens and starts a port. Returns it with a [`DpdkPort`] for each worker, in order; workers beyond the number of
    /// queues get one that does not receive, or does not send.
    ///
    /// # Errors
    /// The device does not exist, is open already, refuses a step, or there is no memory for its buffers.
    pub fn open(eal: &Eal, options: &DeviceOptions) -> Result<(Self, Vec<DpdkPort>), DpdkError> {
        let setup = Setup::find(&options.device)?;
        let (facts, pool, open) = setup.start(eal, options)?;
        let open = Arc::new(open);
        let ports = (0..options.workers)
            .map(|worker| {
                let queue = |queues| u16::try_from(worker).ok().filter(|&queue| queue < queues);
                let (rx, tx) = (queue(facts.rx_queues), queue(facts.tx_queues));
                DpdkPort::new(Arc::clone(&open), pool.clone(), rx, tx)
            })
            .collect();
        let packet_sockets = if facts.driver == AF_PACKET_DRIVER {
            PacketSockets::on_interface(facts.interface)
        } else {
            PacketSockets::default()
        };
        Ok((Self { facts, pool, packet_sockets, open }, ports))
    }

    /// As configured.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.facts.device
    }

    /// DPDK's name of the driver, such as `net_ixgbe`.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.facts.driver
    }

    /// The address that frames to the port carry.
    #[must_use]
    pub const fn mac(&self) -> Mac {
        self.facts.mac
    }

    /// Whether the device refused the configured address, so that it receives every frame on its link and the
    /// address is ours to check.
    #[must_use]
    pub const fn promiscuous(&self) -> bool {
        self.facts.promiscuous
    }

    /// Receive queues: this many workers receive, the first ones.
    #[must_use]
    pub const fn rx_queues(&self) -> u16 {
        self.facts.rx_queues
    }

    /// Transmit queues: this many workers send, the first ones.
    #[must_use]
    pub const fn tx_queues(&self) -> u16 {
        self.facts.tx_queues
    }

    /// The link, as last reported by the device; down while the kernel interface behind the device, if there is one,
    /// is down, without a carrier or gone. Some system calls.
    #[must_use]
    pub fn link(&self) -> LinkState {
        let link = link_state(self.open.port);
        let runs = self.facts.interface == 0 || is_running(self.facts.interface).unwrap_or(true);
        LinkState { up: link.up && runs, ..link }
    }

    /// The device's counters, and what the kernel dropped in front of it.
    #[must_use]
    pub fn stats(&self) -> PortStats {
        let stats = port_stats(self.open.port);
        // Each reading of the kernel's count is reported once: by us, or by a driver that reads it too.
        PortStats { rx_missed: stats.rx_missed + self.packet_sockets.dropped(), ..stats }
    }

    /// The port's packet buffers.
    #[must_use]
    pub const fn pool(&self) -> &DpdkPool {
        &self.pool
    }
}

/// The driver that receives by packet sockets, one for each queue.
const AF_PACKET_DRIVER: &str = "net_af_packet";

/// DPDK's port number, from when the port is configured until nothing uses it any more.
#[derive(Debug)]
pub(super) struct OpenPort {
    port: u16,
}

impl OpenPort {
    /// The caller owns the port, and makes one of these.
    pub(super) const fn new(port: u16) -> Self {
        Self { port }
    }

    #[inline]
    pub(super) const fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for OpenPort {
    fn drop(&mut self) {
        // SAFETY: the port exists, and nobody polls its queues, as every DpdkPort holds this. Not started: no effect.
        unsafe { dpdk_sys::rte_eth_dev_stop(self.port) };
        // SAFETY: as above, and stopped. The pool that the driver gives its buffers back to lives for ever.
        unsafe { dpdk_sys::rte_eth_dev_close(self.port) };
    }
}

/// Of a receive or transmit ring: what fast cards need to ride out a pause of the worker of some 50 us.
pub const DEFAULT_DESCRIPTORS: u16 = 1024;

/// Ethernet header and two VLAN tags.
const LINK_OCTETS: u16 = 14 + 2 * 4;

/// Bursts that a worker works on at once: received, to be sent, handed in, originated.
const BURSTS_IN_HAND: usize = 4;

/// Octets of a buffer beside its room: the mbuf, the pool's header and padding, two pointers in the pool's ring.
const MBUF_OVERHEAD: usize = dpdk_sys::MBUF_STRUCT_OCTETS as usize + 64 + 128 + 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn options(workers: usize, mtu: u16) -> DeviceOptions {
        DeviceOptions {
            device: "net_null0".to_owned(),
            workers,
            mtu,
            mac: None,
            mbufs: None,
            ports: 1,
            waiting_frames: 0,
            descriptors: DEFAULT_DESCRIPTORS,
        }
    }

    #[test]
    fn a_buffer_holds_a_whole_packet_of_the_mtu_with_two_vlan_tags() {
        for (mtu, octets) in [(1280, 2176), (1500, 2176), (2026, 2176), (2027, 3200), (9000, 9344)] {
            assert_eq!(options(1, mtu).buffer_octets(), octets, "mtu {mtu}");
        }
    }

    #[test]
    fn computed_buffers_cover_rings_caches_and_waiting_frames() {
        let one = options(1, 1500);
        assert_eq!(one.mbufs_for(1, 1, 1024), 4095);
        let waiting = DeviceOptions { waiting_frames: 3 * 1024, ports: 2, ..options(1, 1500) };
        assert_eq!(waiting.mbufs_for(1, 1, 1024), 8191);
        assert_eq!(waiting.memory_mib(), 20);
    }

    #[test]
    fn configured_buffers_are_taken_as_they_are() {
        let options = DeviceOptions { mbufs: Some(1_300_000), ..options(1, 1500) };
        assert_eq!(options.mbufs_for(1, 1, 1024), 1_300_000);
        assert!(options.memory_mib() > 2900);
    }
}
