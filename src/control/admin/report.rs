//! Puts together what is shown, from the state and the counters.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::FlowPlan;
use super::Listing;
use super::StartInfo;
use super::leases::Pools;
use super::protocol::BackendAction;
use super::protocol::BackendOrder;
use super::protocol::BackendStatus;
use super::protocol::Backends;
use super::protocol::CounterStatus;
use super::protocol::Counters;
use super::protocol::Fault;
use super::protocol::FaultKind;
use super::protocol::FlowQuery;
use super::protocol::FlowStatus;
use super::protocol::Flows;
use super::protocol::LimitStatus;
use super::protocol::PortStatus;
use super::protocol::ServiceStatus;
use super::protocol::Status;
use super::protocol::SynProxyStatus;
use super::protocol::Totals;
use super::protocol::WorkerStatus;
use super::state_word::state_word;
use crate::control::ledger::Ledger;
use crate::control::ledger::flows as flows_of;
use crate::control::port_watch::PortReading;
use crate::control::registry::Backend;
use crate::control::registry::Service;
use crate::control::state::Order;
use crate::control::state::Phase;
use crate::control::state::Selection;
use crate::control::state::State;
use crate::control::step_times::StepTimes;
use crate::control::workers::WorkerWatch;
use crate::model::BackendId;
use crate::model::Cidr;
use crate::model::Endpoint;
use crate::model::Nanos;
use crate::model::ServiceId;
use crate::model::SynProxy;
use crate::model::WorkerId;
use crate::shared::DropReason;
use crate::shared::FlowFilter;
use crate::shared::FlowRecord;
use crate::shared::Tally;

/// Everything that reports are made of, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Now, on control's clock, which starts at 0.
    pub now: Nanos,
    /// Services, backends and the phase.
    pub state: &'a State,
    /// Counters.
    pub ledger: &'a Ledger,
    /// How the workers are.
    pub watch: &'a WorkerWatch,
    /// What the ports say of themselves, in the order of the configuration.
    pub ports: &'a [PortReading],
    /// What does not change.
    pub start: &'a StartInfo,
    /// Probe results discarded because this machine was late.
    pub probes_discarded: u64,
    /// How long the loop's steps take.
    pub steps: &'a StepTimes,
}

impl View<'_> {
    /// The balancer as a whole.
    #[must_use]
    pub fn status(&self) -> Status {
        let appliance = &self.state.config().appliance;
        let stalled = self.state.stalled();
        let mut sum = (0, Tally::default());
        let mut workers = Vec::new();
        let cores = appliance.workers.iter().copied();
        for (id, (((turns, tally), occupancy), core)) in
            (0..).zip(self.ledger.workers().zip(self.watch.occupancies()).zip(cores))
        {
            sum.0 += turns;
            sum.1.add(&tally);
            workers.push(WorkerStatus {
                id,
                core,
                stalled: stalled.contains(&WorkerId(id)),
                occupancy,
                flow_capacity: self.flow_capacity(),
                totals: totals(turns, &tally),
            });
        }
        let phase = self.state.phase();
        let not_ready = self.state.not_ready();
        Status {
            name: appliance.name.clone(),
            version: self.start.version.clone(),
            uptime_seconds: self.now.0 / 1_000_000_000,
            ready: not_ready.is_empty(),
            not_ready,
            suspicion: self.state.suspicion().holds(),
            suspicions: self.state.suspicion().count(),
            draining: matches!(phase, Phase::Draining(_)),
            snapshot_version: self.state.snapshot_version(),
            snapshot_pending: self.state.snapshot_pending(),
            vips_announced: self.state.announced(),
            memory: self.start.memory.clone(),
            clients: self.ledger.limits().clients(),
            max_clients: appliance.max_clients,
            syn_proxies_active: self.syn_proxies_active(),
            clients_unlimited: self.ledger.limits().clients_unlimited(),
            persistent_clients: self.ledger.persistence().clients(self.now),
            persistence_forgotten: self.ledger.persistence().forgotten(),
            log_lines_dropped: self.start.log_lines_dropped.load(Ordering::Relaxed),
            probes_not_sent: self.state.probe_counts().not_sent,
            probes_discarded: self.probes_discarded,
            ports: self.ports_status(),
            workers,
            total: totals(sum.0, &sum.1),
        }
    }

    fn syn_proxies_active(&self) -> Vec<String> {
        let active =
            self.state.registry().services().filter(|service| self.ledger.answers_syns(service, self.now));
        active.map(|service| service.config.name.clone()).collect()
    }

    fn ports_status(&self) -> Vec<PortStatus> {
        let readings = self.ports.iter().cloned().map(Some).chain(std::iter::repeat(None));
        let ports = self.start.ports.iter().cloned().zip(readings);
        ports.map(|(info, reading)| PortStatus { info, reading }).collect()
    }

    /// A worker has a table per address family; those of families without a service stay empty.
    fn flow_capacity(&self) -> u64 {
        let families: BTreeSet<bool> =
            self.state.registry().services().map(|service| service.config.vip.is_ipv4()).collect();
        (families.len().max(1) * self.state.config().appliance.flows_per_worker) as u64
    }

    /// Why the balancer is not ready, most important first; empty: it is.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        self.state.not_ready()
    }

    pub(super) fn service(&self, service: &Service) -> ServiceStatus {
        let totals = self.ledger.service(service.id);
        let selection = self.state.selection(service.id);
        let config = &service.config;
        ServiceStatus {
            name: config.name.clone(),
            vip: config.vip.to_string(),
            port: config.ports.to_string(),
            protocol: config.protocol.to_string(),
            mode: config.mode.to_string(),
            scheduler: config.scheduler.to_string(),
            tier: selection.and_then(|now| now.tier),
            panic: selection.is_some_and(|now| now.panics),
            up: selection.is_some_and(|now| now.serves == Some(true)),
            announce: config.announce.when.to_string(),
            announced: self.state.is_announced(config.vip),
            not_announced: self.state.not_announced(service),
            backends_up: selection.map_or(0, Selection::eligible),
            probes_not_sent: self.not_sent(service),
            backends_total: service.backends.len(),
            connections: totals.connections,
            refused: totals.refused,
            limited: totals.limited,
            denied: totals.denied,
            toa_skipped: totals.toa_skipped,
            toa_forged: totals.toa_forged,
            limited_connections: self.ledger.limits().service_connections(service.id),
            limits: LimitStatus {
                connections: config.limits.connections,
                connections_per_second: config.limits.connections_per_second,
                client_connections: config.limits.client_connections,
                client_connections_per_second: config.limits.client_connections_per_second,
            },
            syn_proxy: SynProxyStatus {
                mode: config.syn_proxy.to_string(),
                above: if let SynProxy::Above(most) = config.syn_proxy { Some(most) } else { None },
                active: self.ledger.answers_syns(service, self.now),
                half_open: totals.half_open,
                cookies_sent: totals.cookies_sent,
                cookies_accepted: totals.cookies_accepted,
                cookies_wrong: totals.cookies_wrong,
                cookies_late: totals.cookies_late,
            },
        }
    }

    fn not_sent(&self, service: &Service) -> usize {
        let backends = self.state.registry().backends_of(service);
        backends.filter(|backend| backend.not_sent.is_some()).count()
    }

    /// Every backend, or those of one service.
    ///
    /// # Errors
    ///
    /// If there is no such service.
    pub fn backends(&self, service: Option<&str>) -> Result<Backends, Fault> {
        let only = service.map(|name| self.service_named(name)).transpose()?;
        let registry = self.state.registry();
        let configured = registry.services().flat_map(|service| registry.backends_of(service));
        let removed = registry.backends().filter(|backend| backend.removed.is_some());
        let wanted = |backend: &&Backend| only.is_none_or(|id| id == backend.service);
        let shown: Vec<&Backend> = configured.chain(removed).filter(wanted).collect();
        Ok(Backends { backends: self.rows(&shown) })
    }

    /// One backend; none if the id is not in use.
    #[must_use]
    pub fn backend_alone(&self, id: BackendId) -> Backends {
        Backends { backends: self.rows(self.state.registry().backend(id).as_slice()) }
    }

    /// What an order means in ids.
    ///
    /// # Errors
    ///
    /// If it names what does not exist or is not configured any more.
    pub fn order(&self, order: &BackendOrder) -> Result<(BackendId, Order), Fault> {
        let service = self.service_named(&order.service)?;
        let id = self.backend_named(&order.backend, Some(service))?;
        if self.state.registry().backend(id).is_none_or(|backend| backend.removed.is_some()) {
            let message = format!("backend {} is no longer configured", order.backend);
            return Err(fault(FaultKind::NotFound, message));
        }
        let action = match order.action {
            BackendAction::Drain { within_seconds } => {
                Order::Drain(within_seconds.map(|seconds| Duration::from_secs(seconds.into())))
            }
            BackendAction::Disable => Order::Disable,
            BackendAction::Enable => Order::Enable,
            BackendAction::Weight(weight) => Order::Weight(weight.into()),
        };
        Ok((id, action))
    }

    fn backend_state(&self, backend: &Backend) -> &'static str {
        state_word(backend, self.state.rests(backend, self.now))
    }

    pub(super) fn backend(&self, backend: &Backend, pools: &Pools<'_>) -> BackendStatus {
        let totals = self.ledger.backend(backend.id);
        let state = self.backend_state(backend);
        let since = backend.removed.unwrap_or_else(|| backend.health.since());
        let last_check = match (&backend.not_sent, backend.health.last()) {
            (Some(reason), _) => Some(format!("not sent: {reason}")),
            (None, Some(Ok(()))) => Some("ok".to_owned()),
            (None, Some(Err(failure))) => Some(failure.to_string()),
            (None, None) => None,
        };
        let service = self.state.registry().service(backend.service);
        let leases = pools.leases(backend);
        BackendStatus {
            service: service.map_or_else(String::new, |service| service.config.name.clone()),
            address: backend.endpoint.address.to_string(),
            port: backend.endpoint.port,
            tier: backend.tier,
            weight: backend.advised_weight(),
            state: state.to_owned(),
            since_seconds: self.now.since(since).0 / 1_000_000_000,
            last_check,
            transitions: backend.health.transitions(),
            flows: totals.flows,
            connections: totals.connections,
            limited_connections: self.ledger.limits().backend_connections(backend.id),
            max_connections: backend.max_connections,
            local_ports_used: leases.used,
            local_ports_capacity: leases.capacity,
            local_ports_ratio: leases.ratio,
            packets_in: totals.in_packets,
            bytes_in: totals.in_octets,
            syns_unanswered: totals.unanswered,
            syns_reset: totals.reset,
            local_ports_refused: totals.no_lease,
            packets_out: totals.out_packets,
            bytes_out: totals.out_octets,
        }
    }

    /// Every drop reason.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let tallies: Vec<Tally> = self.ledger.workers().map(|(_, tally)| tally).collect();
        let counter = |reason: DropReason| {
            let workers: Vec<u64> = tallies.iter().map(|tally| tally.drops[reason as usize]).collect();
            CounterStatus {
                reason: reason.name().to_owned(),
                sentence: reason.sentence().to_owned(),
                total: workers.iter().sum(),
                workers,
            }
        };
        Counters { counters: DropReason::ALL.into_iter().map(counter).collect() }
    }

    /// What a query for flows means in ids.
    ///
    /// # Errors
    ///
    /// If it names what does not exist.
    pub fn flow_plan(&self, query: &FlowQuery) -> Result<FlowPlan, Fault> {
        let registry = self.state.registry();
        let service = query.service.as_deref().map(|name| self.service_named(name)).transpose()?;
        let backend = query.backend.as_deref().map(|text| self.backend_named(text, service)).transpose()?;
        let client = query.client.as_deref().map(Cidr::from_str).transpose();
        let client = client.map_err(|error| fault(FaultKind::Malformed, format!("client: {error}")))?;
        let services = registry.known_services().map(|service| (service.id, Arc::clone(&service.config)));
        Ok(FlowPlan {
            filter: FlowFilter { service, backend, client, displaced: query.displaced },
            services: services.collect(),
            endpoints: registry.backends().map(|backend| (backend.id, backend.endpoint)).collect(),
        })
    }

    fn service_named(&self, name: &str) -> Result<ServiceId, Fault> {
        let mut services = self.state.registry().services();
        services.find(|service| service.config.name == name).map(|service| service.id).ok_or_else(|| {
            fault(FaultKind::NotFound, format!("no service {name:?}; `evenkeel services` lists them"))
        })
    }

    fn backend_named(&self, text: &str, service: Option<ServiceId>) -> Result<BackendId, Fault> {
        let endpoint: std::net::SocketAddr = text.parse().map_err(|_| {
            let message =
                format!("backend {text:?} is not an address and port; write 10.0.9.1:80 or [fd00::1]:80");
            fault(FaultKind::Malformed, message)
        })?;
        let endpoint = Endpoint::new(endpoint.ip(), endpoint.port());
        let mut found = self
            .state
            .registry()
            .backends()
            .filter(|b| b.endpoint == endpoint && service.is_none_or(|id| id == b.service));
        match (found.next(), found.next()) {
            (Some(backend), None) => Ok(backend.id),
            (Some(_), Some(_)) => {
                let message = format!("backend {text} is in several services; name the service as well");
                Err(fault(FaultKind::Malformed, message))
            }
            (None, _) => {
                let message = format!("no backend {text}; `evenkeel backends` lists them");
                Err(fault(FaultKind::NotFound, message))
            }
        }
    }
}

/// A listing in the words of the protocol.
pub(super) fn flows(listing: &Listing, plan: &FlowPlan) -> Flows {
    // The record of a session in a tunnel over the other family has no room for the backend's address.
    let backend = |flow: &FlowRecord| match plan.endpoints.get(&flow.backend_id) {
        Some(endpoint) if flow.backend == flow.vip => *endpoint,
        Some(_) | None => flow.backend,
    };
    let flows = listing.flows.iter().map(|(worker, flow)| FlowStatus {
        service: plan.services.get(&flow.service).map_or_else(String::new, |service| service.name.clone()),
        protocol: flow.protocol.to_string(),
        client: flow.client.to_string(),
        vip: flow.vip.to_string(),
        local: flow.local.to_string(),
        backend: backend(flow).to_string(),
        state: flow.state.to_string(),
        displaced: flow.displaced,
        idle_seconds: flow.idle_secs,
        expires_seconds: flow.expires_secs,
        worker: worker.0,
    });
    Flows {
        flows: flows.collect(),
        truncated: listing.truncated,
        silent_workers: listing.silent.iter().map(|worker| worker.0).collect(),
    }
}

fn totals(turns: u64, tally: &Tally) -> Totals {
    let drops =
        DropReason::ALL.into_iter().map(|reason| (reason.name().to_owned(), tally.drops[reason as usize]));
    Totals {
        turns,
        busy_turns: tally.busy_turns,
        rx_packets: tally.rx_packets,
        rx_bytes: tally.rx_octets,
        tx_packets: tally.tx_packets,
        tx_bytes: tally.tx_octets,
        punted: tally.punted,
        handed_in: tally.handed_in,
        handed_off: tally.handed_off,
        injected: tally.injected,
        originated: tally.originated,
        icmp_errors: tally.icmp_errors,
        resets_doubted: tally.resets_doubted,
        echoes: tally.echoes,
        held: tally.held,
        flows: flows_of(tally),
        flows_created: tally.flows_created,
        flows_evicted: tally.evicted,
        displaced: tally.displaced,
        drops: drops.filter(|(_, count)| *count > 0).collect(),
    }
}

fn fault(kind: FaultKind, message: String) -> Fault {
    Fault { kind, message }
}
