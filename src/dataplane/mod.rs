//! The data plane: what happens to packets.
//!
//! Start at [`worker`]: the loop. It calls the stages in [`pipeline`] (inspect, balance), `forward` (a packet of a flow;
//! `alter` and `toa` where more than its addresses changes), [`admit`] (a new flow), `pick` (its backend), `syn_proxy` and
//! `connecting` (a flow whose client comes first), `stateless` (a packet of a service that keeps no flows), [`fragments`] (a
//! piece of a packet), `icmp` and [`steer`] (whose flow is it), over the tables in [`flow`]; `flow_life` is how flows
//! change and end, `evict` which of them give way to new ones, `farewell` what their sides are told, `sweep` what new tables mean for them. Nothing here opens a
//! socket, reads a clock, takes a lock, allocates after start or logs; time and tables are arguments, errors are drop
//! reasons.

pub mod admit;
mod alter;
mod connecting;
mod evict;
mod farewell;
pub mod fast_path;
mod fate;
pub mod flow;
mod flow_life;
mod former_lease;
mod forward;
pub mod fragments;
mod icmp;
pub mod inspect;
mod kill;
mod lanes;
pub mod last_hop;
pub mod limits;
mod link;
mod listing;
pub mod local_ports;
mod pick;
mod pieces;
pub mod pipeline;
mod prefetch;
mod proxy;
mod punt;
mod stateless;
pub mod steer;
mod sweep;
mod syn_cookie;
mod syn_proxy;
mod table_memory;
mod toa;
mod tunnel_error;
mod unavailable;
pub mod verdict;
mod ways;
pub mod worker;

pub use local_ports::PortClass;
pub use pipeline::Settings;
pub use verdict::Verdict;
pub use worker::{Worker, WorkerPort};
