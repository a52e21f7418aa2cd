//! What in this machine loses or delays answers to probes, from counters that grow.

use super::ledger::Ledger;
use super::port_watch::PortReading;
use super::port_watch::PortWatch;
use super::suspicion::Strain;
use crate::model::Nanos;
use crate::shared::DropReason;
use crate::shared::Tally;

/// The counters at the last look.
#[derive(Debug, Default)]
pub(super) struct StrainWatch {
    last: Option<Seen>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    late: Nanos,
    policed: u64,
    kernel_side: u64,
    ports: u64,
}

/// Lateness between two looks that is strain, of the 250 ms that these are apart.
const LATE: Nanos = Nanos::from_millis(100);

/// Policed punts among which answers to probes, or to neighbour requests, can be.
const ANSWERS_LOST: [DropReason; 3] =
    [DropReason::PuntPolicedNeighbour, DropReason::PuntPolicedProbe, DropReason::PuntPolicedReply];

impl StrainWatch {
    /// Looks at the counters; `late` is the sum of our delays. What has grown since the last look strains this machine.
    pub(super) fn look(&mut self, ledger: &Ledger, ports: &PortWatch, late: Nanos) -> Option<Strain> {
        let policed =
            |tally: Tally| ANSWERS_LOST.iter().map(|reason| tally.drops[*reason as usize]).sum::<u64>();
        self.compare(Seen {
            late,
            policed: ledger.workers().map(|(_, tally)| policed(tally)).sum(),
            kernel_side: ports.latest().iter().map(kernel_side_losses).sum(),
            ports: ports.latest().iter().map(|port| port.rx_missed + port.rx_no_buffer).sum(),
        })
    }

    fn compare(&mut self, now: Seen) -> Option<Strain> {
        let before = self.last.replace(now)?;
        let grown = [
            (now.late.since(before.late) >= LATE, Strain::Late),
            (now.policed > before.policed, Strain::PuntsPoliced),
            (now.kernel_side > before.kernel_side, Strain::KernelSide),
            (now.ports > before.ports, Strain::PortLoss),
        ];
        grown.into_iter().find(|(grown, _)| *grown).map(|(_, strain)| strain)
    }
}

fn kernel_side_losses(port: &PortReading) -> u64 {
    port.kernel.map_or(0, |side| side.tap_full + side.no_buffer + side.ring_full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_grows_is_strain_until_it_stands_still() {
        let mut watch = StrainWatch::default();
        let quiet = Seen { policed: 7, ..Seen::default() };
        assert_eq!(watch.compare(quiet), None, "losses before the first look");
        assert_eq!(watch.compare(quiet), None);
        let policed = Seen { policed: 8, ..quiet };
        assert_eq!(watch.compare(policed), Some(Strain::PuntsPoliced));
        assert_eq!(watch.compare(policed), None);
        let late = Seen { late: LATE, ..policed };
        assert_eq!(watch.compare(late), Some(Strain::Late));
    }
}
