//! The kernel's side of the ports: one TAP per port, on which Linux holds the addresses, answers ARP and NDP and runs
//! everything that is not balanced.
//!
//! One thread owns the TAPs and exchanges frames with the workers over rings, so that no worker makes a system call.
//! A TAP dies with the thread that owns it, and with it every address: death withdraws the VIPs. Frames pass
//! unchanged in both directions, 802.1Q tags included.

mod counters;
mod exchange;
mod tap;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use crossbeam::queue::ArrayQueue;
use thiserror::Error;

pub use self::counters::{KernelCounters, SideTotals};
use self::exchange::Exchange;
use self::tap::Tap;
use crate::io::FramePool;
use crate::model::Mac;
use crate::model::PortId;
use crate::model::WorkerId;
use crate::shared::rings::FrameRings;

/// What the kernel's side of a port looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelSide {
    /// The port.
    pub port: PortId,
    /// The name of the TAP, 1 to 15 octets.
    pub interface: String,
    /// The port's MAC address, which the TAP gets too.
    pub mac: Mac,
    /// Largest IP packet.
    pub mtu: u16,
    /// The addresses of the port itself, with prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// How frames of the kernel leave by a port.
#[derive(Clone, Debug)]
pub struct Exit<P> {
    /// The port.
    pub port: PortId,
    /// The worker that transmits on it.
    pub transmitter: WorkerId,
    /// Where the frames are allocated.
    pub pool: P,
}

/// Why the kernel's side could not be set up.
#[derive(Debug, Error)]
pub enum KernelPortError {
    /// The kernel has no TAP driver.
    #[error(
        "interface {interface:?}: /dev/net/tun cannot be opened ({source}); load the tun module (modprobe tun)"
    )]
    NoDriver {
        /// The interface that was to be created.
        interface: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Not permitted.
    #[error("interface {interface:?}: creating it is not permitted; run as root or with CAP_NET_ADMIN")]
    NotPermitted {
        /// The interface that was to be created.
        interface: String,
    },
    /// Another interface has the name.
    #[error(
        "interface {interface:?}: an interface of this name exists; remove it (ip link delete {interface}) or \
         choose another kernel_interface"
    )]
    NameTaken {
        /// The name.
        interface: String,
    },
    /// The name cannot be an interface's.
    #[error(
        "interface {interface:?}: not a name for an interface; use 1 to 15 letters, digits, '.', '_' or '-'"
    )]
    BadName {
        /// The name.
        interface: String,
    },
    /// Anything else.
    #[error("interface {interface:?}: cannot be created with MAC address {mac} and MTU {mtu}: {source}")]
    Create {
        /// The interface that was to be created.
        interface: String,
        /// Its MAC address.
        mac: Mac,
        /// Its MTU.
        mtu: u16,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// No [`Exit`] was given for a port.
    #[error("interface {interface:?}: no worker transmits on its port; give port {port} an exit", port = port.0)]
    NoExit {
        /// The interface.
        interface: String,
        /// Its port.
        port: PortId,
    },
    /// The thread did not start.
    #[error("the thread of the kernel port did not start: {0}; raise the limit of threads (ulimit -u)")]
    Thread(#[source] std::io::Error),
}

/// Frames that control makes itself, on their way to the wire.
#[derive(Clone, Debug)]
pub struct Outbox {
    frames: Arc<ArrayQueue<(PortId, Vec<u8>)>>,
}

impl Outbox {
    fn new() -> Self {
        Self { frames: Arc::new(ArrayQueue::new(OUTBOX)) }
    }

    /// Sends an Ethernet frame by `port`; false, and the frame is lost, when too many are waiting.
    pub fn send(&self, port: PortId, frame: Vec<u8>) -> bool {
        self.frames.push((port, frame)).is_ok()
    }
}

/// The TAPs, created but not yet served.
#[derive(Debug)]
pub struct KernelPort {
    taps: Vec<Tap>,
    outbox: Outbox,
    counters: Arc<KernelCounters>,
}

impl KernelPort {
    /// Creates a TAP for each side, with its MAC address and MTU, down: [`super::announce`] brings it up once its
    /// settings are made.
    ///
    /// # Errors
    ///
    /// The first side that cannot be created; those before it are gone again then.
    pub fn open(sides: &[KernelSide]) -> Result<Self, KernelPortError> {
        let taps = sides.iter().map(Tap::create).collect::<Result<_, _>>()?;
        let counters = Arc::new(KernelCounters::new(sides.iter().map(|side| side.port)));
        Ok(Self { taps, outbox: Outbox::new(), counters })
    }

    /// What will have been exchanged; readable by any thread at any time.
    #[must_use]
    pub fn counters(&self) -> Arc<KernelCounters> {
        Arc::clone(&self.counters)
    }

    /// Where control puts frames of its own.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Serves the TAPs in a thread on the CPU `core` until `stop`; the TAPs are gone when it has ended. Without any
    /// TAP the thread only frees what is punted.
    ///
    /// # Errors
    ///
    /// A side without an exit, or no thread.
    pub fn spawn<P: FramePool>(
        self,
        rings: FrameRings<P::Frame>,
        exits: Vec<Exit<P>>,
        core: usize,
        stop: Arc<AtomicBool>,
    ) -> Result<JoinHandle<()>, KernelPortError> {
        let exchange = Exchange::new(self, rings, exits)?;
        let run = move || {
            if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
                tracing::warn!("kernel_port_not_pinned core={core}");
            }
            exchange.run(&stop);
        };
        std::thread::Builder::new().name("kernel-port".to_owned()).spawn(run).map_err(KernelPortError::Thread)
    }
}

/// Frames of control waiting at most: three announcements of every VIP of a large configuration come in portions
/// anyway.
const OUTBOX: usize = 1024;
