//! Values: what the balancer talks about, without I/O, clock or lock.
//!
//! Everything above builds on these types; they depend on nothing but `core` and `std`. Addresses, ports and
//! identifiers are in host byte order; only `wire`, and [`FiveTuple`] inside, have the order on the wire.

mod access;
mod client_address;
mod endpoint;
mod family;
mod five_tuple;
mod forwarding;
mod ids;
mod limits;
mod memory;
mod net;
mod service;
mod syn_proxy;
mod units;

pub use access::AccessRules;
pub use client_address::{ClientAddress, ProxyDatagrams};
pub use endpoint::Endpoint;
pub use family::{Family, V4, V6};
pub use five_tuple::{Direction, FiveTuple, PortPair};
pub use forwarding::{Encapsulation, ForwardingMode, Tracking};
pub use ids::{BackendId, NextHopId, PortId, ServiceId, WorkerId};
pub use limits::{ClientPrefix, PersistenceRules, ServiceLimits};
pub use memory::{Memory, MemoryNeed, TablePages};
pub use net::{Cidr, CidrError, FIRST_LOCAL_PORT, LOCAL_PORTS, MIN_PATH_MTU, Mac, MacError, VlanTag};
pub use service::{
    BackendState, Closeness, HashFeature, OnDeadBackend, OnNoBackend, OnUnknownFlow, PortRange, Protocol,
    Scheduler, ServiceProtocol, Timeouts,
};
pub use syn_proxy::SynProxy;
pub use units::Nanos;
