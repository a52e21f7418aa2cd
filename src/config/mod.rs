//! The configuration: read from TOML, checked as a whole, and then plain values.
//!
//! [`load`] reports every error of a file at once, each with its line and column and the way out. What passes is a
//! [`Config`] that needs no further checks: addresses are parsed, names are resolved, ranges hold.
//!
//! The way of a file: `syntax` makes TOML of it, `raw` reads every value on its own (`table`, `value`, `fields`), and
//! `check` looks at them together. Each reports what it finds and goes on without the wrong part. `document` is the way
//! up to there of any file of ours.

mod announce;
mod check;
pub(crate) mod document;
mod duration;
mod error;
mod fields;
mod health;
mod raw;
mod report;
mod sections;
mod source;
pub(crate) mod suggest;
mod syntax;
mod table;
mod value;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use crate::model::AccessRules;
use crate::model::Cidr;
use crate::model::ClientAddress;
use crate::model::Endpoint;
use crate::model::ForwardingMode;
use crate::model::HashFeature;
use crate::model::Mac;
pub use crate::model::Memory;
use crate::model::OnDeadBackend;
use crate::model::OnNoBackend;
use crate::model::OnUnknownFlow;
use crate::model::PersistenceRules;
use crate::model::PortId;
use crate::model::PortRange;
use crate::model::Scheduler;
use crate::model::ServiceLimits;
use crate::model::ServiceProtocol;
use crate::model::SynProxy;
use crate::model::Timeouts;

pub use announce::{Announce, AnnounceRules};
use document::Document;
pub use error::{ConfigError, ConfigErrors, ConfigWarning, Position};
pub use health::{
    AgentConfig, DnsProbe, Expect, FailureWindow, HealthConfig, HttpProbe, ProbeKind, Rcode, RecordType,
    TlsProbe, UdpProbe,
};
pub(crate) use report::Report;
pub(crate) use table::{At, Entry, Table};
pub(crate) use value::Value;

/// Reads and checks the file at `path`, which stands in errors as it is given here.
///
/// # Errors
///
/// Every mistake in the file, or why it could not be read.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    document::load(path, "-c", read).map(Config::of)
}

/// Checks `text`, which errors say is in `file_name`.
///
/// # Errors
///
/// Every mistake in the text.
pub fn parse(file_name: &str, text: &str) -> Result<Config, ConfigErrors> {
    document::parse(file_name, text, read).map(Config::of)
}

fn read<'a>(table: Table<'a>, report: &'a Report<'a>) -> Option<Config> {
    check::check(raw::File::read(table), report)
}

/// A whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[appliance]`.
    pub appliance: Appliance,
    /// `[[port]]`, in order: [`PortId`] counts them.
    pub ports: Vec<PortConfig>,
    /// `[[next_hop]]`.
    pub next_hops: Vec<StaticNextHop>,
    /// `[timeouts]`.
    pub timeouts: Timeouts,
    /// `[[service]]`, names unique.
    pub services: Vec<ServiceConfig>,
    /// Every address of `[local_addresses]`, in order and without repetition.
    pub local_addresses: Vec<IpAddr>,
    /// `[hooks]`.
    pub hooks: Arc<HooksConfig>,
    /// Parts of the file that will hardly work as meant, in its order.
    pub warnings: Vec<ConfigWarning>,
}

/// Whom to tell of changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HooksConfig {
    /// A program with its arguments.
    pub script: Option<Vec<String>>,
    /// An `http` address.
    pub webhook: Option<Uri>,
    /// How long each may take.
    pub timeout: Duration,
}

impl Config {
    fn of(document: Document<Self>) -> Self {
        Self { warnings: document.warnings, ..document.value }
    }

    /// Writes the warnings to the log, when the configuration takes effect.
    pub fn log_warnings(&self) {
        self.warnings.iter().for_each(|warning| tracing::warn!(reason = %warning, "configuration_warning"));
    }

    /// The port with this name.
    #[must_use]
    pub fn port(&self, name: &str) -> Option<PortId> {
        let position = self.ports.iter().position(|port| port.name == name)?;
        u16::try_from(position).ok().map(PortId)
    }

    /// The service with this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&ServiceConfig> {
        self.services.iter().find(|service| service.name == name)
    }
}

/// The process as a whole. Everything here but `hash_seed`, `drain_timeout` and `min_path_mtu` needs a
/// restart to change.
#[derive(Clone, Debug, PartialEq)]
pub struct Appliance {
    /// Shown in status and metrics.
    pub name: String,
    /// The CPU that control and the kernel port run on.
    pub control_core: usize,
    /// The CPUs of the workers, at least one, all different.
    pub workers: Vec<usize>,
    /// Where packet buffers come from.
    pub memory: Memory,
    /// Size of each worker's flow table, per address family.
    pub flows_per_worker: usize,
    /// What a worker does when nothing arrives.
    pub idle: Idle,
    /// The Unix socket for commands.
    pub control_socket: PathBuf,
    /// Where HTTP serves metrics and the API; `None`: nowhere.
    pub http_listen: Option<std::net::SocketAddr>,
    /// Packet buffers per port; `None`: computed from queues and bursts.
    pub mbufs: Option<u32>,
    /// Seed of the choice of backends; the same on every balancer of a cluster.
    pub hash_seed: u64,
    /// Appended to DPDK's own arguments.
    pub eal_args: Vec<String>,
    /// How long SIGTERM waits for established flows.
    pub drain_timeout: Duration,
    /// The least path MTU that an ICMP error may report to a backend, in octets of IP packet, 68 to 9000; 1280 at least
    /// for IPv6.
    pub min_path_mtu: u16,
    /// Room for this many services.
    pub max_services: usize,
    /// Room for this many backends, over all services.
    pub max_backends: usize,
    /// Room for this many client prefixes that services limit, at a time.
    pub max_clients: usize,
}

/// `idle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Poll without end.
    Poll,
    /// Sleep for short, growing spans while nothing arrives.
    Adaptive,
}

/// A port.
#[derive(Clone, Debug, PartialEq)]
pub struct PortConfig {
    /// Unique.
    pub name: String,
    /// A PCI address or a DPDK vdev with its arguments.
    pub device: String,
    /// `None`: the device's.
    pub mac: Option<Mac>,
    /// Name of the TAP that is the kernel's side of the port; `None`: no kernel side.
    pub kernel_interface: Option<String>,
    /// Addresses (with prefix lengths) that the kernel's side gets.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Largest IP packet, 1280 to 9000 octets.
    pub mtu: u16,
}

/// A next hop that does not come from the kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct StaticNextHop {
    /// What it leads to.
    pub prefix: Cidr,
    /// By which port.
    pub port: PortId,
    /// To whom.
    pub mac: Mac,
    /// With which 802.1Q tag; `None`: as the frame came.
    pub vlan: Option<u16>,
}

/// A virtual service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceConfig {
    /// Unique.
    pub name: String,
    /// The address clients use.
    pub vip: IpAddr,
    /// The ports clients use.
    pub ports: PortRange,
    /// TCP, UDP or both.
    pub protocol: ServiceProtocol,
    /// How packets get to the backends.
    pub mode: ForwardingMode,
    /// Whether each datagram is a flow of its own. Of UDP in full NAT alone.
    pub one_packet: bool,
    /// Without flows: how long sessions on the former first target of a slot are looked after once configuration or
    /// operator gave the slot to another; 0: not at all.
    pub transition: Duration,
    /// How backends are picked.
    pub scheduler: Scheduler,
    /// What the choice hashes.
    pub hash: HashFeature,
    /// What backends are told of the client's address.
    pub client_address: ClientAddress,
    /// What a client gets when no backend is in service.
    pub on_no_backend: OnNoBackend,
    /// What TCP packets of no flow get.
    pub on_unknown_flow: OnUnknownFlow,
    /// What becomes of TCP connections on a backend that answers no probe.
    pub on_dead_backend: OnDeadBackend,
    /// How long a backend that is down has not answered when it is dead.
    pub dead_after: Duration,
    /// How long the weight of a backend grows that has come back into service; 0: not at all.
    pub slow_start: Duration,
    /// How long a tier that has come back waits before it serves again; 0: not at all.
    pub hold_down: Duration,
    /// When the VIP is announced.
    pub announce: AnnounceRules,
    /// Below this percentage of healthy backends health is disregarded; 0: never.
    pub panic_threshold: u8,
    /// What packets to backends carry as their source, all of the VIP's family; for a tunnel of the backends', for direct
    /// routing none.
    pub local_addresses: Vec<IpAddr>,
    /// Whether clients go to the backend that they were sent to before.
    pub persistence: Option<PersistenceConfig>,
    /// Which clients it lets in; `None`: all.
    pub access: Option<Arc<AccessRules>>,
    /// How much it lets in.
    pub limits: ServiceLimits,
    /// When SYNs are answered in the backends' place.
    pub syn_proxy: SynProxy,
    /// Per cent of each worker's flow table that it may hold when hardly any of it is free, 1 to 100.
    pub flow_share: u8,
    /// How its backends are probed.
    pub health: HealthConfig,
    /// Endpoints unique within the service, all of the VIP's family but in a tunnel.
    pub backends: Vec<BackendConfig>,
}

/// `[service.persistence]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistenceConfig {
    /// For whom and how long.
    pub rules: PersistenceRules,
    /// The services with this name share the entries of their clients. They have the same rules, and no service has two
    /// backends at one address.
    pub group: Option<String>,
}

/// A backend of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendConfig {
    /// Where it listens. Port 0: the port the client used, for services on a range.
    pub endpoint: Endpoint,
    /// Its share of new flows, 0 to 65535; 0: none.
    pub weight: u32,
    /// Lower serves first.
    pub tier: u8,
    /// Connections that it takes at a time; 0: any number.
    pub max_connections: u32,
}
