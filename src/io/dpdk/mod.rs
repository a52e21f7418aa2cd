//! Ports through DPDK: network cards on PCI, and its virtual devices (af_packet, af_xdp, tap, memif, pcap ...).
//!
//! The only module that names DPDK. [`Eal`] starts it, once per process; a [`Device`] is a port that is open; each
//! worker gets a [`DpdkPort`], which is its queue pair on that device, and moves [`DpdkFrame`]s.
//!
//! Invariant: packet memory is never given back to the system before the process ends (see `pool`), so that a frame
//! may be dropped at any time, by any thread, also after its device has been closed.

mod device;
mod eal;
mod error;
mod frame;
mod interface;
mod log;
mod packet_sockets;
mod pool;
mod queue;
mod setup;
mod stats;

pub use device::{DEFAULT_DESCRIPTORS, Device, DeviceOptions};
pub use eal::{Eal, EalOptions, HugePages, MemoryChoice, OrdinaryBecause, RegisteredThread, register_thread};
pub use error::DpdkError;
pub use frame::DpdkFrame;
pub use pool::DpdkPool;
pub use queue::DpdkPort;
pub use stats::{LinkState, PortStats};
