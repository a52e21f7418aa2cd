//! Configurations for the tests of control.

#![allow(dead_code, reason = "each test file uses what it needs")]

pub(crate) mod rig;
pub(crate) mod state_rig;

use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::config::Announce;
use evenkeel::config::AnnounceRules;
use evenkeel::config::Appliance;
use evenkeel::config::BackendConfig;
use evenkeel::config::Config;
use evenkeel::config::HealthConfig;
use evenkeel::config::Idle;
use evenkeel::config::Memory;
use evenkeel::config::ProbeKind;
use evenkeel::config::ServiceConfig;
use evenkeel::model::ClientAddress;
use evenkeel::model::Endpoint;
use evenkeel::model::ForwardingMode;
use evenkeel::model::HashFeature;
use evenkeel::model::OnDeadBackend;
use evenkeel::model::OnNoBackend;
use evenkeel::model::OnUnknownFlow;
use evenkeel::model::PortRange;
use evenkeel::model::Scheduler;
use evenkeel::model::ServiceLimits;
use evenkeel::model::ServiceProtocol;
use evenkeel::model::SynProxy;
use evenkeel::model::Timeouts;

/// A configuration of one worker with these services.
pub(crate) fn config(services: Vec<ServiceConfig>) -> Config {
    Config {
        appliance: Appliance {
            name: "lb1".to_owned(),
            control_core: 0,
            workers: vec![0],
            memory: Memory::NoHugepages,
            flows_per_worker: 1000,
            idle: Idle::Adaptive,
            control_socket: PathBuf::from("control.sock"),
            http_listen: None,
            mbufs: None,
            hash_seed: 1,
            eal_args: vec![],
            drain_timeout: Duration::from_secs(30),
            min_path_mtu: 1280,
            max_services: 16,
            max_backends: 64,
            max_clients: 1024,
        },
        ports: vec![],
        next_hops: vec![],
        timeouts: Timeouts::default(),
        services,
        local_addresses: vec![address("10.0.8.10")],
        hooks: Arc::default(),
        warnings: Vec::new(),
    }
}

/// A TCP service with probes of kind tcp, fall 3 and rise 2; backends by endpoint and weight.
pub(crate) fn service(name: &str, at: &str, backends: &[(&str, u32)]) -> ServiceConfig {
    let at = endpoint(at);
    ServiceConfig {
        name: name.to_owned(),
        vip: at.address,
        ports: PortRange { first: at.port, last: at.port },
        protocol: ServiceProtocol::Tcp,
        mode: ForwardingMode::FullNat,
        one_packet: false,
        transition: Duration::from_secs(900),
        scheduler: Scheduler::Maglev,
        hash: HashFeature::FiveTuple,
        client_address: ClientAddress::None,
        on_no_backend: OnNoBackend::Reject,
        on_unknown_flow: OnUnknownFlow::Reset,
        syn_proxy: SynProxy::Off,
        flow_share: 100,
        on_dead_backend: OnDeadBackend::Reset,
        dead_after: Duration::from_secs(10),
        slow_start: Duration::ZERO,
        hold_down: Duration::ZERO,
        announce: AnnounceRules { when: Announce::Always, quorum: 1, hold: Duration::from_secs(2) },
        panic_threshold: 0,
        local_addresses: vec![address("10.0.8.10")],
        persistence: None,
        access: None,
        limits: ServiceLimits::default(),
        health: HealthConfig {
            kind: ProbeKind::Tcp,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            fall: 3,
            rise: 2,
            failure_window: None,
            passive: None,
            port: None,
            from: None,
            proxy_header: false,
            agent: None,
        },
        backends: backends.iter().map(|(at, weight)| backend(at, *weight)).collect(),
    }
}

/// A backend.
pub(crate) fn backend(at: &str, weight: u32) -> BackendConfig {
    BackendConfig { endpoint: endpoint(at), weight, tier: 0, max_connections: 0 }
}

/// `10.0.0.1:80` as an endpoint.
pub(crate) fn endpoint(text: &str) -> Endpoint {
    let at: SocketAddr = text.parse().expect("an address and port");
    Endpoint::new(at.ip(), at.port())
}

/// An address.
pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}
