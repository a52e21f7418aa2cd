//! What a device counts, and its link.

/// A device's own counters since it was started; they include what no worker ever sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Frames received.
    pub rx_packets: u64,
    /// Octets received.
    pub rx_octets: u64,
    /// Frames that the device dropped because its receive rings were full: the workers are too slow.
    pub rx_missed: u64,
    /// Frames received damaged.
    pub rx_errors: u64,
    /// Times that a receive ring found no free packet buffer: `mbufs` is too small.
    pub rx_no_buffer: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Octets sent.
    pub tx_octets: u64,
    /// Frames that the device failed to send.
    pub tx_errors: u64,
}

/// A device's link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Whether there is one.
    pub up: bool,
    /// Megabits per second; `None` where the device does not know.
    pub speed_mbps: Option<u32>,
    /// Both directions at once.
    pub full_duplex: bool,
}

/// The counters of a port that exists; zeros if the driver has none.
pub(super) fn port_stats(port: u16) -> PortStats {
    let mut stats = dpdk_sys::rte_eth_stats::default();
    // SAFETY: the callee checks the port number and fills `stats`, which is ours; any thread may call it.
    let result = unsafe { dpdk_sys::rte_eth_stats_get(port, &raw mut stats) };
    if result != 0 {
        return PortStats::default();
    }
    PortStats {
        rx_packets: stats.ipackets,
        rx_octets: stats.ibytes,
        rx_missed: stats.imissed,
        rx_errors: stats.ierrors,
        rx_no_buffer: stats.rx_nombuf,
        tx_packets: stats.opackets,
        tx_octets: stats.obytes,
        tx_errors: stats.oerrors,
    }
}

/// The link of a port that exists; down if the driver cannot say. Does not wait for a link that is coming up.
pub(super) fn link_state(port: u16) -> LinkState {
    let mut link = dpdk_sys::evenkeel_link::default();
    // SAFETY: the callee checks the port number and fills `link`, which is ours; any thread may call it.
    let result = unsafe { dpdk_sys::evenkeel_link_get(port, &raw mut link) };
    if result != 0 {
        return LinkState::default();
    }
    let known =
        ![dpdk_sys::RTE_ETH_SPEED_NUM_NONE, dpdk_sys::RTE_ETH_SPEED_NUM_UNKNOWN].contains(&link.speed_mbps);
    LinkState {
        up: link.up != 0,
        speed_mbps: known.then_some(link.speed_mbps),
        full_duplex: link.full_duplex != 0,
    }
}
