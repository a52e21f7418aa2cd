//! What a replay says at its end.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::app::table::{Column, Table};
use crate::shared::{DropReason, Tally};

/// What became of the frames, and with an events file of the backends.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    received: u64,
    sent: u64,
    originated: u64,
    icmp_errors: u64,
    echoes: u64,
    punted: u64,
    dropped: u64,
    drops: BTreeMap<&'static str, u64>,
    flows_created: u64,
    flows: u64,
    #[serde(flatten)]
    health: Option<HealthReport>,
}

/// What became of the events, and of the backends by them.
#[derive(Debug, Serialize)]
pub(super) struct HealthReport {
    /// Events up to the last frame.
    pub(super) events_applied: usize,
    /// Events that would come after the last frame.
    pub(super) events_left: usize,
    /// What the events made control publish.
    pub(super) snapshots_published: u64,
    /// The configured ones, in the order of the file.
    pub(super) backends: Vec<BackendReport>,
}

/// A backend at the end.
#[derive(Debug, Serialize)]
pub(super) struct BackendReport {
    pub(super) service: String,
    pub(super) backend: String,
    pub(super) weight: u32,
    pub(super) state: String,
    pub(super) connections: u64,
    pub(super) flows: u64,
}

impl Report {
    pub(super) fn new(tally: &Tally, health: Option<HealthReport>) -> Self {
        let drops = DropReason::ALL.into_iter().map(|reason| (reason.name(), tally.drops[reason as usize]));
        Self {
            received: tally.rx_packets,
            sent: tally.tx_packets,
            originated: tally.originated,
            icmp_errors: tally.icmp_errors,
            echoes: tally.echoes,
            punted: tally.punted,
            dropped: tally.dropped(),
            drops: drops.filter(|(_, count)| *count > 0).collect(),
            flows_created: tally.flows_created,
            flows: tally.flows(),
            health,
        }
    }

    pub(super) fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    pub(super) fn text(&self) -> String {
        let mut table = Table::new(&[Column::Left("FRAMES"), Column::Right("COUNT")]);
        for (what, count) in [
            ("received", self.received),
            ("sent", self.sent),
            ("of them made here", self.originated),
            ("of them translated ICMP errors", self.icmp_errors),
            ("of them answers to pings", self.echoes),
            ("punted to the kernel", self.punted),
            ("dropped", self.dropped),
        ] {
            table.row([what.to_owned(), count.to_string()]);
        }
        for (reason, count) in &self.drops {
            table.row([format!("  {reason}"), count.to_string()]);
        }
        let health = self.health.as_ref().map(HealthReport::text).unwrap_or_default();
        format!("{table}\nflows created {}, left {}\n{health}", self.flows_created, self.flows)
    }
}

impl HealthReport {
    fn text(&self) -> String {
        let up = self.backends.iter().filter(|backend| backend.state == "up").count();
        format!(
            "events applied {}, left {}; snapshots published {}; backends up {up} of {}\n",
            self.events_applied,
            self.events_left,
            self.snapshots_published,
            self.backends.len()
        )
    }
}
