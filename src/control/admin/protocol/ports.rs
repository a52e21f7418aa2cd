//! Ports, as they are shown.

use serde::Deserialize;
use serde::Serialize;

use crate::control::port_watch::PortReading;

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStatus {
    /// As launch found it.
    #[serde(flatten)]
    pub info: PortInfo,
    /// What it said of itself within the last second; missing in the first moments.
    #[serde(flatten)]
    pub reading: Option<PortReading>,
}

/// A port, as launch found it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortInfo {
    /// Its name in the configuration.
    pub name: String,
    /// PCI address or vdev.
    pub device: String,
    /// The driver that serves it.
    pub driver: String,
    /// Its MAC address.
    pub mac: String,
    /// Largest IP packet.
    pub mtu: u16,
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// The TAP that is the kernel's side.
    pub kernel_interface: Option<String>,
}
