//! What goes over the control socket: one JSON object a line, a request down and a reply up.
//!
//! Client and server share these types. Over HTTP go the same results.

mod flows;
mod limits;
mod ports;
mod services;
mod syn_proxy;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::control::difference::Difference;

pub use flows::FlowStatus;
pub use flows::Flows;
pub use limits::LimitStatus;
pub use ports::PortInfo;
pub use ports::PortStatus;
pub use services::{ServiceStatus, Services};
pub use syn_proxy::SynProxyStatus;

/// Octets in a request, its end of line included.
pub const LARGEST_REQUEST: usize = 64 * 1024;

/// A request, as `{"command":"flows","service":"web","limit":10}`. Variants without fields are structs: for unit variants of a
/// tagged enum serde takes any fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Answered with a [`Status`].
    // In braces, these too: of a variant without fields serde takes any.
    Status {},
    /// Answered with [`Services`].
    Services {},
    /// Answered with [`Backends`].
    Backends {
        /// Only of this service.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
    },
    /// Answered with [`Flows`].
    Flows(FlowQuery),
    /// Answered with the backend, as [`Backends`] with one in it.
    Backend(BackendOrder),
    /// Answered with [`Counters`].
    Counters {},
    /// Answered with a [`Reload`].
    Reload {
        /// Only say what would change.
        #[serde(default)]
        dry_run: bool,
    },
}

/// What is wanted of a backend, at once and without a change of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendOrder {
    /// Whose it is.
    pub service: String,
    /// Which: `10.0.9.1:80`.
    pub backend: String,
    /// What.
    pub action: BackendAction,
}

/// What can be wanted of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum BackendAction {
    /// No new flows; in maintenance once the last one has ended.
    Drain {
        /// Or after this time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        within_seconds: Option<u32>,
    },
    /// In maintenance at once.
    Disable,
    /// In service again, if it is healthy.
    Enable,
    /// This share of new flows, 0 to 65535, until a reload changes the configured one.
    Weight(u16),
}

/// Which flows to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowQuery {
    /// Of this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// On this backend: `10.0.9.1:80`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Of clients in this prefix: `192.0.2.0/24` or a single address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Only those that are not on the backend that their packets name: it was out of service when they began, or got
    /// their slot only later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub displaced: bool,
    /// At most this many; 100 if not given, never more than [`MOST_FLOWS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Flows in one reply.
pub const MOST_FLOWS: usize = 100_000;

/// A reply: `{"result": ...}` or `{"error": ...}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply<T> {
    /// What was asked for.
    Result(T),
    /// Why there is none.
    Error(Fault),
}

/// Why a request has no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// For programs.
    pub kind: FaultKind,
    /// For people.
    pub message: String,
}

/// The kinds of [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Not a request: no JSON, an unknown command or field, an impossible value.
    Malformed,
    /// Longer than [`LARGEST_REQUEST`].
    TooLarge,
    /// Too many clients at once.
    Busy,
    /// No such service or backend.
    NotFound,
    /// The configuration cannot be loaded; nothing changed.
    Refused,
    /// The balancer is ending.
    Leaving,
}

/// The balancer as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `appliance.name`.
    pub name: String,
    /// Of the program.
    pub version: String,
    /// Since control started.
    pub uptime_seconds: u64,
    /// The VIPs are announced and every worker turns.
    pub ready: bool,
    /// Leaving: the VIPs are withdrawn, established flows go on.
    pub draining: bool,
    /// Of the latest snapshot.
    pub snapshot_version: u64,
    /// Something has changed since, and goes out with the next snapshot, within 100 ms.
    pub snapshot_pending: bool,
    /// VIPs that the network leads here.
    pub vips_announced: usize,
    /// Where packet buffers come from.
    pub memory: String,
    /// Client prefixes with connections that count for their limits.
    #[serde(default)]
    pub clients: usize,
    /// How many there is room for.
    #[serde(default)]
    pub max_clients: usize,
    /// Services whose SYNs are answered in their backends' place now.
    #[serde(default)]
    pub syn_proxies_active: Vec<String>,
    /// Connections that were not held to the limits of their client prefix, as there was no room for it.
    #[serde(default)]
    pub clients_unlimited: u64,
    /// Client prefixes whose backend is remembered.
    #[serde(default)]
    pub persistent_clients: usize,
    /// Flows whose backend was not remembered, as there was no room for their client.
    #[serde(default)]
    pub persistence_forgotten: u64,
    /// Lines of the log that were lost, as nothing read them or they could not be written.
    #[serde(default)]
    pub log_lines_dropped: u64,
    /// Why it is not ready, most important first.
    #[serde(default)]
    pub not_ready: Vec<String>,
    /// Whether nearly all backends are silent, and held in service until that is verified.
    #[serde(default)]
    pub suspicion: bool,
    /// How often they were.
    #[serde(default)]
    pub suspicions: u64,
    /// Probes that could not be sent, once for each backend that they are about.
    #[serde(default)]
    pub probes_not_sent: u64,
    /// Probe results discarded because this machine was late.
    #[serde(default)]
    pub probes_discarded: u64,
    /// Each port.
    pub ports: Vec<PortStatus>,
    /// Each worker.
    pub workers: Vec<WorkerStatus>,
    /// The sums over workers.
    pub total: Totals,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// From 0.
    pub id: u16,
    /// The CPU it runs on.
    pub core: usize,
    /// It has not turned for a second.
    pub stalled: bool,
    /// Share of the last second's turns in which something arrived, 0 to 1.
    pub occupancy: f64,
    /// Flows it has room for.
    pub flow_capacity: u64,
    /// What it counted.
    #[serde(flatten)]
    pub totals: Totals,
}

/// What workers count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Turns.
    pub turns: u64,
    /// Turns in which something arrived.
    pub busy_turns: u64,
    /// Frames received.
    pub rx_packets: u64,
    /// Their octets.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Their octets.
    pub tx_bytes: u64,
    /// Frames given to the kernel.
    pub punted: u64,
    /// Frames taken from other workers.
    pub handed_in: u64,
    /// Frames given to other workers.
    pub handed_off: u64,
    /// Frames taken from the kernel.
    pub injected: u64,
    /// Frames made here.
    pub originated: u64,
    /// ICMP errors about packets of flows, sent on.
    #[serde(default)]
    pub icmp_errors: u64,
    /// TCP resets sent on that do not end their flow at once, as their number is not the one expected.
    #[serde(default)]
    pub resets_doubted: u64,
    /// Pings answered.
    #[serde(default)]
    pub echoes: u64,
    /// Frames inside the worker now.
    pub held: u64,
    /// Flows now.
    pub flows: u64,
    /// Flows since the start.
    pub flows_created: u64,
    /// Flows evicted for the sake of new ones.
    #[serde(default)]
    pub flows_evicted: u64,
    /// Flows now that are displaced.
    #[serde(default)]
    pub displaced: u64,
    /// Frames dropped, by reason; reasons that never occurred are left out.
    pub drops: BTreeMap<String, u64>,
}

/// Backends, by service, in the order of the configuration; removed ones that still have an id last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backends {
    /// See above.
    pub backends: Vec<BackendStatus>,
}

/// A backend of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Whose it is.
    pub service: String,
    /// Where it listens.
    pub address: String,
    /// Where it listens; 0: the port the client used.
    pub port: u16,
    /// Lower serves first.
    pub tier: u8,
    /// Its share of new flows: by configuration or operator, times what its agent advises.
    pub weight: u32,
    /// `up`, `standby` (healthy, of a tier that does not serve), `draining`, `maintenance`, `down` (by its probes or its
    /// agent, which may also drain it or put it in maintenance), `unknown` (not probed yet) or `removed`.
    pub state: String,
    /// For how long.
    pub since_seconds: u64,
    /// The latest probe's outcome: `ok`, a failure such as `timeout` or `status=503`, `not sent: REASON`, or nothing.
    pub last_check: Option<String>,
    /// Changes of state.
    pub transitions: u64,
    /// Flows now.
    pub flows: u64,
    /// Flows created.
    pub connections: u64,
    /// Connections that count for its limit, or for its service's scheduler.
    #[serde(default)]
    pub limited_connections: u32,
    /// Connections that it takes at a time; 0: any number.
    #[serde(default)]
    pub max_connections: u32,
    /// Local ports in use for its endpoint.
    #[serde(default)]
    pub local_ports_used: u64,
    /// Local ports that there are for its endpoint. 0: it needs none.
    #[serde(default)]
    pub local_ports_capacity: u64,
    /// The share in use on the worker where it is the greatest, 0 to 1: that one refuses first.
    #[serde(default)]
    pub local_ports_ratio: f64,
    /// From clients.
    pub packets_in: u64,
    /// From clients.
    pub bytes_in: u64,
    /// TCP: SYNs that clients sent again, as it had not answered.
    pub syns_unanswered: u64,
    /// TCP: SYNs that it answered with a RST.
    pub syns_reset: u64,
    /// Flows refused because no local port was left.
    #[serde(default)]
    pub local_ports_refused: u64,
    /// To clients.
    pub packets_out: u64,
    /// To clients.
    pub bytes_out: u64,
}

/// Every reason for which frames are dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// See above.
    pub counters: Vec<CounterStatus>,
}

/// Drops for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterStatus {
    /// The name in metrics.
    pub reason: String,
    /// What happened.
    pub sentence: String,
    /// Over all workers.
    pub total: u64,
    /// By worker.
    pub workers: Vec<u64>,
}

/// A reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// False for a dry run.
    pub applied: bool,
    /// What changed or would change.
    pub difference: Difference,
    /// Warnings about the new configuration, as `evenkeel check` prints them.
    #[serde(default)]
    pub warnings: Vec<String>,
}
