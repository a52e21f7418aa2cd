//! What crosses between the planes, and nothing else does.
//!
//! Down: the [`Snapshot`] and the [`Fib`], immutable, published through `publish`; a bounded ring of
//! [`Command`]s per worker. Up: [`WorkerCounters`], single writer; a bounded ring of [`Event`]s per worker. Frames
//! cross in the [`rings`] between workers and the kernel port. Beside these, what workers must agree on at once: the
//! [`Limits`] and the [`Persistence`] of clients, and the [`SynProxies`], which control only reads.

mod access;
mod choice;
mod counters;
mod drop_reason;
mod fib;
mod flow_record;
mod limits;
mod path_mtus;
mod persistence;
mod prefix_table;
mod publish;
mod punt;
mod rate;
pub mod rings;
mod service_counters;
mod snapshot;
mod syn_proxies;
mod sync;

pub use access::Access;
pub use choice::{Choice, Positions};
pub use counters::{BackendCounters, BackendTotals, Capacities, Tally, WorkerCounters};
pub use drop_reason::DropReason;
pub use fib::{Egress, Fib, NextHop, Resolution, ReversePath, Route};
pub use flow_record::{FlowFilter, FlowPage, FlowRecord, FlowState};
pub use limits::{Applicant, ClientSlot, Holds, Limits};
pub use path_mtus::PathMtus;
pub use persistence::{Persistence, PersistenceGroup, PersistentBackends, Placement, Remembered};
pub use publish::{Publisher, Reader, channel};
pub use punt::PuntClass;
pub use rings::{Command, Event};
pub use service_counters::{ServiceCounters, ServiceTotals};
pub use snapshot::{
    AddressRole, AddressRoles, RoleFamily, ServiceBackend, ServiceTable, Snapshot, TunnelPath, VipServices,
};
pub use syn_proxies::SynProxies;
