//! What the tests of the kernel's side share: a network namespace of their own, frames, and waiting for conditions.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "all of this runs inside tests")]

use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use evenkeel::control::kernel_port::{Exit, KernelPort, KernelSide};
use evenkeel::io::mem::{MemFrame, Pool};
use evenkeel::model::{Mac, PortId, WorkerId};
use evenkeel::shared::PuntClass;
use evenkeel::shared::rings::FrameRings;
use rustix::thread::UnshareFlags;

/// The MAC address of the port under test.
pub(crate) const OURS: Mac = Mac([2, 0, 0, 0, 0, 0x10]);
/// The MAC address of the neighbour that the tests play.
pub(crate) const THEIRS: Mac = Mac([2, 0, 0, 0, 0, 0x20]);

/// Runs `test` in a thread with a network namespace of its own, which is gone with the thread. Children and threads
/// started by `test` are in it too.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let body = move || {
        // SAFETY: only the network namespace is unshared, not the file descriptor table.
        let unshared = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
        unshared.expect("this test needs root: it creates a network namespace and a TAP in it");
        test();
    };
    if let Err(panic) = std::thread::spawn(body).join() {
        std::panic::resume_unwind(panic);
    }
}

/// As [`in_namespace`], with a tokio runtime of one thread.
pub(crate) fn in_namespace_async<T: Future<Output = ()>>(test: impl FnOnce() -> T + Send + 'static) {
    in_namespace(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
}

/// Runs a command line; its output. Fails the test if it fails.
pub(crate) fn shell(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What `condition` gives, as soon as it gives something; fails after five seconds.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// As [`eventually`], while other tasks of the runtime go on.
pub(crate) async fn eventually_async<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

const DEADLINE: Duration = Duration::from_secs(20);

/// The side of port 0 with these addresses ("192.0.2.10/24").
pub(crate) fn side(addresses: &[&str]) -> KernelSide {
    let address = |text: &&str| {
        let (address, length) = text.split_once('/').unwrap();
        (address.parse::<IpAddr>().unwrap(), length.parse().unwrap())
    };
    KernelSide {
        port: PortId(0),
        interface: "ek0".to_owned(),
        mac: OURS,
        mtu: 1400,
        addresses: addresses.iter().map(address).collect(),
    }
}

/// A running kernel port for one side, whose frames a worker would send.
pub(crate) struct Running {
    pub(crate) rings: FrameRings<MemFrame>,
    pub(crate) pool: Pool,
    pub(crate) counters: Arc<evenkeel::control::kernel_port::KernelCounters>,
    pub(crate) outbox: evenkeel::control::kernel_port::Outbox,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Creates the TAP and serves it.
    pub(crate) fn start(side: &KernelSide) -> Self {
        let kernel_port = KernelPort::open(std::slice::from_ref(side)).unwrap();
        let rings = FrameRings::new(2, 6);
        let pool = Pool::new(2048, 2048);
        let (counters, outbox) = (kernel_port.counters(), kernel_port.outbox());
        let stop = Arc::new(AtomicBool::new(false));
        let exits = vec![Exit { port: side.port, transmitter: WorkerId(1), pool: pool.clone() }];
        let thread = kernel_port.spawn(rings.clone(), exits, 0, Arc::clone(&stop)).unwrap();
        Self { rings, pool, counters, outbox, stop, thread: Some(thread) }
    }

    /// Ends the thread.
    pub(crate) fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    /// Gives the kernel a frame, as a worker that punts it.
    pub(crate) fn punt(&self, bytes: &[u8]) {
        let frame = self.pool.frame(bytes).unwrap();
        let punt = evenkeel::shared::rings::PortFrame { port: PortId(0), frame };
        self.rings.punts.push(PuntClass::Other, punt).unwrap();
    }

    /// The next frame for the wire that `wanted` accepts; others are freed.
    pub(crate) fn next_injection(&self, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        use evenkeel::io::Frame;
        while let Some(injection) = self.rings.injections[1].pop() {
            assert_eq!(injection.port, PortId(0));
            if wanted(injection.frame.head()) {
                return Some(injection.frame.head().to_vec());
            }
        }
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An ARP request of the neighbour `from` for `target`.
pub(crate) fn arp_request(from: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    arp(1, THEIRS, from, [0xff; 6], ([0; 6], target))
}

/// An ARP packet in its frame.
pub(crate) fn arp(operation: u16, mac: Mac, ip: [u8; 4], to: [u8; 6], target: ([u8; 6], [u8; 4])) -> Vec<u8> {
    let operation = operation.to_be_bytes();
    [&to[..], &mac.0, &[8, 6, 0, 1, 8, 0, 6, 4], &operation, &mac.0, &ip, &target.0, &target.1].concat()
}

/// Whether a frame is an ARP packet of this operation for this target address.
pub(crate) fn is_arp(frame: &[u8], operation: u8, target: [u8; 4]) -> bool {
    frame.len() >= 42 && frame[12..14] == [8, 6] && frame[21] == operation && frame[38..42] == target
}
