//! What ports say of themselves: links, what cards lose before a worker sees it, packet buffers, the kernel's side.
//!
//! Read about once a second, as asking a card may take its time; what is shown is the last reading.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use super::change::Change;
use super::kernel_port::SideTotals;

/// A port at one moment; counts are since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortReading {
    /// Whether it has a link.
    pub link_up: bool,
    /// Megabits per second; `None` where the device does not know.
    pub speed_mbps: Option<u32>,
    /// Frames that the device dropped because its receive rings were full: the workers are too slow.
    pub rx_missed: u64,
    /// Frames received damaged.
    pub rx_errors: u64,
    /// Frames or polls that found no free packet buffer: `mbufs` is too small.
    pub rx_no_buffer: u64,
    /// Frames that the device failed to send.
    pub tx_errors: u64,
    /// Packet buffers.
    pub mbufs: u64,
    /// Those in use: in rings, in queues and in hands.
    pub mbufs_in_use: u64,
    /// What the kernel's side exchanged and lost; `None`: there is none.
    pub kernel: Option<SideTotals>,
}

impl PortReading {
    /// Frames lost between the wire and the workers, and on the way out.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.rx_missed + self.rx_errors + self.rx_no_buffer + self.tx_errors
    }
}

/// Reads every port, in the order of the configuration. Takes no time that control would miss.
pub type ReadPorts = Box<dyn Fn() -> Vec<PortReading> + Send>;

/// Reads the ports and tells what has changed.
pub struct PortWatch {
    read: ReadPorts,
    ports: Vec<Port>,
    latest: Vec<PortReading>,
    looks: u32,
}

struct Port {
    name: Arc<str>,
    /// As last told; one that was never told has a link.
    told_up: bool,
    /// It had a link once.
    was_up: bool,
    told_lost: bool,
}

/// What is wrong with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortFault {
    /// Which.
    pub port: Arc<str>,
    /// What.
    pub kind: FaultKind,
}

/// See [`PortFault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It has no link.
    NoLink,
    /// Its TAP was deleted.
    KernelSideLost,
}

impl fmt::Display for PortFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            FaultKind::NoLink => write!(f, "port {} has no link", self.port),
            FaultKind::KernelSideLost => {
                write!(f, "the kernel's side of port {} is gone; restart to get it back", self.port)
            }
        }
    }
}

/// Looks, a second apart, that a card may take to find its link after the start: as long as autonegotiation lasts.
const START_LOOKS: u32 = 5;

impl PortWatch {
    /// Of ports with these names, in the order in which `read` gives them.
    #[must_use]
    pub fn new(read: ReadPorts, names: impl Iterator<Item = String>) -> Self {
        let port = |name: String| Port { name: name.into(), told_up: true, was_up: false, told_lost: false };
        Self { read, ports: names.map(port).collect(), latest: Vec::new(), looks: 0 }
    }

    /// Reads every port. Returns links that came and went since the last time, and some time after the start those that
    /// were never there.
    pub fn look(&mut self) -> Vec<Change> {
        self.latest = (self.read)();
        self.looks = self.looks.saturating_add(1);
        let mut changes = Vec::new();
        for (port, reading) in self.ports.iter_mut().zip(&self.latest) {
            if reading.kernel.is_some_and(|side| side.lost) && !std::mem::replace(&mut port.told_lost, true) {
                changes.push(Change::KernelInterfaceLost { port: Arc::clone(&port.name) });
            }
            let up = reading.link_up;
            port.was_up |= up;
            if up == port.told_up || !port.was_up && self.looks <= START_LOOKS {
                continue;
            }
            port.told_up = up;
            let name = Arc::clone(&port.name);
            changes.push(if up { Change::PortUp { port: name } } else { Change::PortDown { port: name } });
        }
        changes
    }

    /// What is wrong with the ports, as told so far.
    #[must_use]
    pub fn faults(&self) -> Vec<PortFault> {
        let of = |port: &Port| {
            let fault = |kind| PortFault { port: Arc::clone(&port.name), kind };
            let lost = port.told_lost.then(|| fault(FaultKind::KernelSideLost));
            [lost, (!port.told_up).then(|| fault(FaultKind::NoLink))]
        };
        self.ports.iter().flat_map(of).flatten().collect()
    }

    /// The last readings, in the order of the configuration; none before the first [`look`](Self::look).
    #[must_use]
    pub fn latest(&self) -> &[PortReading] {
        &self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_link_is_told_when_it_goes_and_comes_and_if_it_does_not_come_after_the_start() {
        let links = Arc::new([true, false].map(AtomicBool::new));
        let read = Arc::clone(&links);
        let reading = move |link: &AtomicBool| PortReading {
            link_up: link.load(Ordering::Relaxed),
            ..PortReading::default()
        };
        let read: ReadPorts = Box::new(move || read.iter().map(reading).collect());
        let mut watch = PortWatch::new(read, ["front", "back"].map(str::to_owned).into_iter());
        assert_eq!(watch.latest(), []);
        for _ in 0..START_LOOKS {
            assert_eq!(watch.look(), [], "it may be coming up");
        }
        assert_eq!(watch.look(), [Change::PortDown { port: "back".into() }]);
        assert_eq!(watch.look(), []);
        links.iter().for_each(|link| {
            link.fetch_xor(true, Ordering::Relaxed);
        });
        let expected = [Change::PortDown { port: "front".into() }, Change::PortUp { port: "back".into() }];
        assert_eq!(watch.look(), expected);
        assert!(watch.latest()[1].link_up);
        assert_eq!(watch.faults(), [PortFault { port: "front".into(), kind: FaultKind::NoLink }]);
    }

    #[test]
    fn a_lost_kernel_side_is_told_once_and_stays_a_fault() {
        let lost = SideTotals { lost: true, ..SideTotals::default() };
        let reading = PortReading { link_up: true, kernel: Some(lost), ..PortReading::default() };
        let mut watch =
            PortWatch::new(Box::new(move || vec![reading.clone()]), ["front".to_owned()].into_iter());
        assert_eq!(watch.look(), [Change::KernelInterfaceLost { port: "front".into() }]);
        assert_eq!(watch.look(), []);
        assert_eq!(watch.faults(), [PortFault { port: "front".into(), kind: FaultKind::KernelSideLost }]);
    }
}
