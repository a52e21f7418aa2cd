//! What can go wrong between the configuration and a port that runs.

use std::io;

use thiserror::Error;

/// A failure to start DPDK or to open a port. The message says what failed, on which device, and the way out; the
/// driver's own words precede it on standard error.
#[derive(Debug, Error)]
pub enum DpdkError {
    /// [`Eal::start`](super::Eal::start) was called before.
    #[error("DPDK was started before in this process, and starts once; restart the process")]
    AlreadyStarted,

    /// `memory = "hugepages"`, and there are not enough.
    #[error(
        "memory = \"hugepages\": {free_mib} MiB of huge pages are free, {needed_mib} MiB are needed; reserve more \
         (sysctl -w vm.nr_hugepages={pages} with pages of {page_kib} KiB) or set memory = \"no-hugepages\""
    )]
    TooFewHugepages {
        /// Free in all sizes.
        free_mib: usize,
        /// What the ports need.
        needed_mib: usize,
        /// Pages of the default size that would do.
        pages: usize,
        /// That size.
        page_kib: usize,
    },

    /// The process may not run on the control core.
    #[error(
        "control_core = {core}: the process cannot be pinned to CPU {core}; choose one of the CPUs that \
         `taskset -cp $$` lists"
    )]
    ControlCore {
        /// The CPU asked for.
        core: usize,
    },

    /// An argument with a NUL character, or one that EAL takes for the end of its arguments.
    #[error("eal_args: DPDK does not take {argument:?} as an argument of EAL; remove it")]
    Argument {
        /// The argument.
        argument: String,
    },

    /// EAL did not start.
    #[error("DPDK (EAL) did not start with {arguments:?}: {source}; look for EAL's message above")]
    Eal {
        /// All of its arguments.
        arguments: Vec<String>,
        /// Why.
        source: io::Error,
    },

    /// A thread could not be made known to DPDK.
    #[error(
        "DPDK has no room for another thread: {source}; it takes 128 (RTE_MAX_LCORE), so configure fewer workers"
    )]
    Thread {
        /// Why.
        source: io::Error,
    },

    /// No driver took the device.
    #[error(
        "device {device:?}: no driver took it (its message is above); write a PCI address or a vdev with its \
         arguments, such as \"net_af_packet0,iface=eth1\", whose interface or file exists"
    )]
    Probe {
        /// As configured.
        device: String,
    },

    /// A driver took the device but made no port of that name.
    #[error(
        "device {device:?}: DPDK has no port {name:?}; is it a network card, and bound to vfio-pci (dpdk-devbind.py \
         --status)?"
    )]
    NoPort {
        /// As configured.
        device: String,
        /// The name looked for.
        name: String,
    },

    /// The packet buffers did not fit into memory.
    #[error(
        "device {device:?}: no memory for {mbufs} packet buffers of {octets} octets: {source}; lower mbufs, reserve \
         more huge pages, or give more ordinary memory with eal_args = [\"-m\", \"MIB\"]"
    )]
    Pool {
        /// As configured.
        device: String,
        /// How many.
        mbufs: u32,
        /// Of which size.
        octets: u16,
        /// Why.
        source: io::Error,
    },

    /// The same device twice.
    #[error("device {device:?} is open already; give each port a device of its own")]
    OpenAlready {
        /// As configured.
        device: String,
    },

    /// The device cannot carry packets that large.
    #[error(
        "device {device:?}: mtu = {mtu} is not possible, the device takes {smallest} to {largest}; set it to that"
    )]
    Mtu {
        /// As configured.
        device: String,
        /// Asked for.
        mtu: u16,
        /// The device's smallest.
        smallest: u16,
        /// The device's largest.
        largest: u16,
    },

    /// A step of setting the device up failed.
    #[error("device {device:?}: {step} failed: {source}{hint}")]
    Setup {
        /// As configured.
        device: String,
        /// What was tried.
        step: &'static str,
        /// Why.
        source: io::Error,
        /// "; " and the way out, where there is one to name.
        hint: &'static str,
    },
}
