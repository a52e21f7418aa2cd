//! The file as typed: every value read on its own, absent and wrong ones still told apart.

mod access;
mod client_address;
mod health;
mod limits;
mod persistence;
mod syn_proxy;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use crate::model::Cidr;
use crate::model::HashFeature;
use crate::model::Mac;
use crate::model::OnDeadBackend;
use crate::model::OnNoBackend;
use crate::model::OnUnknownFlow;
use crate::model::PortRange;
use crate::model::Scheduler;
use crate::model::ServiceProtocol;
use crate::model::Tracking;

use super::fields;
use super::table::{Entry, Table};
use super::value::{List, Value};
use super::{Announce, Idle, Memory};

pub(super) use access::{Access, AccessList};
pub(super) use client_address::{ClientAddress, Told};
pub(super) use health::{Agent, FailureWindow, Health, Probe};
pub(super) use limits::Limits;
pub(super) use persistence::Persistence;
pub(super) use syn_proxy::{SynProxy, When};

/// Cores are numbered below this (`CPU_SETSIZE` of the C library).
const CORES: usize = 1024;

/// A Unix socket's path is at most this long (`sun_path` of Linux less the final zero).
const MAX_SOCKET_PATH: usize = 107;

const HOUR: Duration = Duration::from_secs(3600);

/// The whole file.
pub(super) struct File<'a> {
    pub(super) appliance: Appliance,
    pub(super) ports: Entry<Vec<Port>>,
    pub(super) next_hops: Entry<Vec<NextHop>>,
    pub(super) timeouts: Timeouts,
    pub(super) pools: Entry<Vec<Pool<'a>>>,
    pub(super) services: Entry<Vec<Service>>,
    pub(super) hooks: Hooks,
}

/// `[hooks]`.
pub(super) struct Hooks {
    pub(super) script: Entry<List<String>>,
    pub(super) webhook: Entry<Uri>,
    pub(super) timeout: Entry<Duration>,
}

/// `[appliance]`.
pub(super) struct Appliance {
    pub(super) name: Entry<String>,
    pub(super) control_core: Entry<usize>,
    pub(super) workers: Entry<List<usize>>,
    pub(super) memory: Entry<Memory>,
    pub(super) flows_per_worker: Entry<usize>,
    pub(super) idle: Entry<Idle>,
    pub(super) control_socket: Entry<PathBuf>,
    pub(super) http_listen: Entry<Option<SocketAddr>>,
    pub(super) mbufs: Entry<Option<u32>>,
    pub(super) hash_seed: Entry<u64>,
    pub(super) eal_args: Entry<List<String>>,
    pub(super) drain_timeout: Entry<Duration>,
    pub(super) min_path_mtu: Entry<u16>,
    pub(super) max_services: Entry<usize>,
    pub(super) max_backends: Entry<usize>,
    pub(super) max_clients: Entry<usize>,
}

/// `[[port]]`.
pub(super) struct Port {
    pub(super) at: usize,
    pub(super) name: Entry<String>,
    pub(super) device: Entry<String>,
    pub(super) mac: Entry<Option<Mac>>,
    pub(super) kernel_interface: Entry<Option<String>>,
    pub(super) addresses: Entry<List<(IpAddr, u8)>>,
    pub(super) mtu: Entry<u16>,
}

/// `[[next_hop]]`.
pub(super) struct NextHop {
    pub(super) prefix: Entry<Cidr>,
    pub(super) port: Entry<String>,
    pub(super) mac: Entry<Mac>,
    pub(super) vlan: Entry<u16>,
}

/// `[timeouts]`.
pub(super) struct Timeouts {
    pub(super) tcp_syn: Entry<Duration>,
    pub(super) tcp_established: Entry<Duration>,
    pub(super) tcp_half_closed: Entry<Duration>,
    pub(super) tcp_fin: Entry<Duration>,
    pub(super) udp: Entry<Duration>,
    pub(super) udp_new: Entry<Duration>,
    pub(super) one_packet: Entry<Duration>,
}

/// A key of `[local_addresses]`.
pub(super) struct Pool<'a> {
    pub(super) name: &'a str,
    /// `None`: not even a list.
    pub(super) addresses: Option<List<IpAddr>>,
}

/// `[[service]]`.
pub(super) struct Service {
    pub(super) at: usize,
    pub(super) name: Entry<String>,
    pub(super) vip: Entry<IpAddr>,
    pub(super) ports: Entry<PortRange>,
    pub(super) protocol: Entry<ServiceProtocol>,
    pub(super) mode: Entry<Mode>,
    pub(super) one_packet: Entry<bool>,
    pub(super) flow_share: Entry<u8>,
    pub(super) encapsulation: Entry<Encapsulation>,
    pub(super) encapsulation_port: Entry<u16>,
    pub(super) tracking: Entry<Tracking>,
    pub(super) transition: Entry<Duration>,
    pub(super) scheduler: Entry<Scheduler>,
    pub(super) hash: Entry<HashFeature>,
    pub(super) client_address: ClientAddress,
    pub(super) on_no_backend: Entry<OnNoBackend>,
    pub(super) on_unknown_flow: Entry<OnUnknownFlow>,
    pub(super) on_dead_backend: Entry<OnDeadBackend>,
    pub(super) dead_after: Entry<Duration>,
    pub(super) slow_start: Entry<Duration>,
    pub(super) hold_down: Entry<Duration>,
    pub(super) announce: Entry<Announce>,
    pub(super) quorum: Entry<u16>,
    pub(super) announce_hold: Entry<Duration>,
    pub(super) panic_threshold: Entry<u8>,
    pub(super) pool: Entry<String>,
    pub(super) syn_proxy: SynProxy,
    pub(super) access: Access,
    pub(super) limits: Entry<Limits>,
    pub(super) persistence: Entry<Persistence>,
    pub(super) health: Entry<Health>,
    pub(super) backends: Entry<Vec<Backend>>,
}

/// `mode` of `[[service]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    FullNat,
    DirectRouting,
    Tunnel,
}

/// `encapsulation` of `[[service]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encapsulation {
    Ipip,
    Gue,
}

/// `[[service.backend]]`.
pub(super) struct Backend {
    pub(super) at: usize,
    pub(super) address: Entry<IpAddr>,
    pub(super) port: Entry<u16>,
    pub(super) weight: Entry<u32>,
    pub(super) tier: Entry<u8>,
    pub(super) max_connections: Entry<u32>,
}

impl<'a> File<'a> {
    pub(super) fn read(mut table: Table<'a>) -> Self {
        note_keys(&table);
        let appliance = Appliance::read(table.section("appliance", "[appliance]"));
        let ports = read_all(table.tables("port", "[[port]]"), Port::read);
        let next_hops = read_all(table.tables("next_hop", "[[next_hop]]"), NextHop::read);
        let timeouts = Timeouts::read(table.section("timeouts", "[timeouts]"));
        let pools = table.table("local_addresses", "[local_addresses]").map(Pool::read_all);
        let services = read_all(table.tables("service", "[[service]]"), Service::read);
        let hooks = Hooks::read(table.section("hooks", "[hooks]"));
        table.finish();
        Self { appliance, ports, next_hops, timeouts, pools, services, hooks }
    }
}

/// Makes the keys of optional tables known, also if the file has none of these.
fn note_keys(table: &Table<'_>) {
    let _keys = Service::read(table.unseen("[[service]]"));
    let _keys = Limits::read(table.unseen("[service.limits]"));
    let _keys = Persistence::read(table.unseen("[service.persistence]"));
    let _keys = Health::read(table.unseen("[service.health]"));
    let _keys = Backend::read(table.unseen("[[service.backend]]"));
}

fn read_all<'a, T>(tables: Entry<Vec<Table<'a>>>, read: impl Fn(Table<'a>) -> T) -> Entry<Vec<T>> {
    tables.map(|tables| tables.into_iter().map(read).collect())
}

impl Appliance {
    fn read(mut table: Table<'_>) -> Self {
        let appliance = Self {
            name: table.optional("name", fields::name),
            control_core: table.optional("control_core", core),
            workers: table.optional("workers", |v| v.each(core)),
            memory: table.optional("memory", |v| {
                let choices = [
                    ("auto", Memory::Auto),
                    ("hugepages", Memory::Hugepages),
                    ("no-hugepages", Memory::NoHugepages),
                ];
                v.one_of(&choices, &[])
            }),
            flows_per_worker: table.optional("flows_per_worker", |v| v.integer(1024..=67_108_864)),
            idle: table
                .optional("idle", |v| v.one_of(&[("poll", Idle::Poll), ("adaptive", Idle::Adaptive)], &[])),
            control_socket: table.optional("control_socket", socket_path),
            http_listen: table.optional("http_listen", fields::listen_or_none),
            mbufs: table.optional("mbufs", |v| {
                if v.is("auto") { Some(None) } else { v.integer(512..=67_108_864).map(Some) }
            }),
            hash_seed: table.optional("hash_seed", |v| v.integer(0..=i64::MAX.cast_unsigned())),
            eal_args: table.optional("eal_args", |v| v.each(|item| item.text().map(str::to_owned))),
            drain_timeout: table.optional("drain_timeout", |v| v.duration(Duration::ZERO..=HOUR * 24)),
            min_path_mtu: table.optional("min_path_mtu", |v| v.integer(68..=9000)),
            max_services: table.optional("max_services", |v| v.integer(1..=65_535)),
            max_backends: table.optional("max_backends", |v| v.integer(1..=1_048_576)),
            max_clients: table.optional("max_clients", |v| v.integer(1024..=4_194_304)),
        };
        table.finish();
        appliance
    }
}

fn core(value: Value<'_>) -> Option<usize> {
    value.integer(0..=CORES - 1)
}

fn socket_path(value: Value<'_>) -> Option<PathBuf> {
    let text = value.text()?;
    if text.is_empty() || text.len() > MAX_SOCKET_PATH || text.contains('\0') {
        return value.wrong(format!(
            "{} {text:?} is no path of a socket; write 1 to {MAX_SOCKET_PATH} octets, as \"/run/evenkeel/control.sock\"",
            value.key
        ));
    }
    Some(PathBuf::from(text))
}

impl Port {
    fn read(mut table: Table<'_>) -> Self {
        let port = Self {
            at: table.at,
            name: table.required("name", "\"front\"", fields::name),
            device: table.required("device", "\"0000:03:00.0\"", fields::device),
            mac: table.optional("mac", fields::mac_or_auto),
            kernel_interface: table.optional("kernel_interface", fields::interface_or_none),
            addresses: table
                .optional("addresses", |v| v.each(|item| fields::interface_address(item.called("address")))),
            mtu: table.optional("mtu", |v| v.integer(1280..=9000)),
        };
        table.finish();
        port
    }
}

impl NextHop {
    fn read(mut table: Table<'_>) -> Self {
        let next_hop = Self {
            prefix: table.required("prefix", "\"10.0.9.0/24\"", fields::prefix),
            port: table.required("port", "\"front\"", |v| v.text().map(str::to_owned)),
            mac: table.required("mac", "\"02:00:00:00:00:09\"", fields::mac),
            vlan: table.optional("vlan", |v| v.integer(1..=4094)),
        };
        table.finish();
        next_hop
    }
}

impl Timeouts {
    fn read(mut table: Table<'_>) -> Self {
        let timeout = |v: Value<'_>| v.duration(Duration::from_millis(100)..=HOUR * 168);
        let timeouts = Self {
            tcp_syn: table.optional("tcp_syn", timeout),
            tcp_established: table.optional("tcp_established", timeout),
            tcp_half_closed: table.optional("tcp_half_closed", timeout),
            tcp_fin: table.optional("tcp_fin", timeout),
            udp: table.optional("udp", timeout),
            udp_new: table.optional("udp_new", timeout),
            one_packet: table.optional("one_packet", timeout),
        };
        table.finish();
        timeouts
    }
}

impl Hooks {
    fn read(mut table: Table<'_>) -> Self {
        let hooks = Self {
            script: table.optional("script", |v| v.each(fields::word)),
            webhook: table.optional("webhook", fields::http_address),
            timeout: table.optional("timeout", |v| v.duration(Duration::from_millis(100)..=HOUR)),
        };
        table.finish();
        hooks
    }
}

impl<'a> Pool<'a> {
    fn read_all(table: Table<'a>) -> Vec<Self> {
        let read = |(name, value): (_, Value<'a>)| {
            let list = || value.each(|item| fields::address(item.called("local address")));
            Self { name, addresses: if value.is_readable() { list() } else { None } }
        };
        table.all().into_iter().map(read).collect()
    }
}

impl Service {
    fn read(mut table: Table<'_>) -> Self {
        let service = Self {
            at: table.at,
            name: table.required("name", "\"web\"", fields::name),
            vip: table.required("vip", "\"203.0.113.80\"", fields::address),
            ports: table.required("port", "80", fields::port_range),
            protocol: table.optional("protocol", |v| v.one_of(&ServiceProtocol::ALL, &["sctp"])),
            mode: table.optional("mode", |v| {
                let choices = [
                    ("full-nat", Mode::FullNat),
                    ("direct-routing", Mode::DirectRouting),
                    ("tunnel", Mode::Tunnel),
                ];
                v.one_of(&choices, &["redirect"])
            }),
            one_packet: table.optional("one_packet", Value::truth),
            flow_share: table.optional("flow_share", |v| v.integer(1..=100)),
            encapsulation: table.optional("encapsulation", |v| {
                v.one_of(&[("ipip", Encapsulation::Ipip), ("gue", Encapsulation::Gue)], &[])
            }),
            encapsulation_port: table.optional("encapsulation_port", |v| v.integer(1..=u16::MAX)),
            tracking: table.optional("tracking", |v| {
                v.one_of(&[("flow", Tracking::Flow), ("displaced", Tracking::Displaced)], &[])
            }),
            transition: table.optional("transition", |v| v.duration(Duration::ZERO..=HOUR * 24)),
            scheduler: table.optional("scheduler", |v| v.one_of(&Scheduler::ALL, &[])),
            hash: table.optional("hash", |v| {
                let choices = [
                    ("five-tuple", HashFeature::FiveTuple),
                    ("source-address", HashFeature::SourceAddress),
                    ("source-address-port", HashFeature::SourceAddressPort),
                ];
                v.one_of(&choices, &[])
            }),
            client_address: ClientAddress::read(&mut table),
            on_no_backend: table.optional("on_no_backend", |v| {
                let choices = [
                    ("reject", OnNoBackend::Reject),
                    ("drop", OnNoBackend::Drop),
                    ("http-503", OnNoBackend::Http503),
                ];
                v.one_of(&choices, &[])
            }),
            on_unknown_flow: table.optional("on_unknown_flow", |v| {
                v.one_of(&[("reset", OnUnknownFlow::Reset), ("drop", OnUnknownFlow::Drop)], &[])
            }),
            on_dead_backend: table.optional("on_dead_backend", |v| {
                v.one_of(&[("reset", OnDeadBackend::Reset), ("keep", OnDeadBackend::Keep)], &[])
            }),
            dead_after: table.optional("dead_after", |v| v.duration(Duration::ZERO..=HOUR * 24)),
            slow_start: table.optional("slow_start", |v| v.duration(Duration::ZERO..=HOUR)),
            hold_down: table.optional("hold_down", |v| v.duration(Duration::ZERO..=HOUR * 24)),
            announce: table.optional("announce", |v| {
                let choices = [
                    ("always", Announce::Always),
                    ("healthy", Announce::Healthy),
                    ("quorum", Announce::Quorum),
                    ("never", Announce::Never),
                ];
                v.one_of(&choices, &[])
            }),
            quorum: table.optional("quorum", |v| v.integer(1..=u16::MAX)),
            announce_hold: table.optional("announce_hold", |v| v.duration(Duration::ZERO..=HOUR)),
            panic_threshold: table.optional("panic_threshold", |v| v.integer(0..=100)),
            pool: table.optional("local_addresses", |v| v.text().map(str::to_owned)),
            syn_proxy: SynProxy::read(&mut table),
            access: Access::read(&mut table),
            limits: table.table("limits", "[service.limits]").map(Limits::read),
            persistence: table.table("persistence", "[service.persistence]").map(Persistence::read),
            health: table.table("health", "[service.health]").map(Health::read),
            backends: read_all(table.tables("backend", "[[service.backend]]"), Backend::read),
        };
        table.finish();
        service
    }
}

impl Backend {
    fn read(mut table: Table<'_>) -> Self {
        let backend = Self {
            at: table.at,
            address: table.required("address", "\"10.0.9.1\"", fields::address),
            port: table.optional("port", |v| v.integer(1..=u16::MAX)),
            weight: table.optional("weight", |v| v.integer(0..=65_535)),
            tier: table.optional("tier", |v| v.integer(0..=255)),
            max_connections: limits::max_connections(&mut table),
        };
        table.finish();
        backend
    }
}
