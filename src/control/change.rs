//! Changes of state, as they are logged: an event name and `key=value`s.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::drain::DrainEnd;
use super::event::Order;
use super::health::AdvisedState;
use super::health::ProbeFailure;
use super::pressure::Pressure;
use super::pressure::Resource;
use super::pressure::Usage;
use super::suspicion::Strain;
use super::suspicion::Verdict;
use crate::model::Endpoint;
use crate::model::WorkerId;

/// Something an operator may be paged for, or want to find later.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A backend came into service.
    BackendUp {
        /// Whose it is.
        service: Arc<str>,
        /// Which.
        backend: Endpoint,
        /// After this many good probes in a row; 0 if it is not probed.
        after: u32,
    },
    /// A backend went out of service.
    BackendDown {
        /// Whose it is.
        service: Arc<str>,
        /// Which.
        backend: Endpoint,
        /// The last probe's failure.
        reason: ProbeFailure,
        /// After this many failures in a row.
        after: u32,
    },
    /// The agent of a backend wants something else of it. Weights are not told: some agents change them all the time.
    BackendAdvised {
        /// Whose it is.
        service: Arc<str>,
        /// Which.
        backend: Endpoint,
        /// What it wants.
        state: AdvisedState,
    },
    /// A service has a backend in service again, or for the first time.
    ServiceUp {
        /// Which.
        service: Arc<str>,
    },
    /// No backend of a service is in service, whoever took the last one out: clients are refused.
    ServiceDown {
        /// Which.
        service: Arc<str>,
    },
    /// An operator decided about a backend.
    BackendOrdered {
        /// Whose it is.
        service: Arc<str>,
        /// Which.
        backend: Endpoint,
        /// What.
        order: Order,
    },
    /// A drain is over; the backend is in maintenance.
    BackendDrained {
        /// Whose it is.
        service: Arc<str>,
        /// Which.
        backend: Endpoint,
        /// Flows were left.
        timed_out: bool,
    },
    /// The probe of a backend cannot be sent, the first of its service. The others of the service are not told.
    ProbeNotSent {
        /// Whose it is.
        service: Arc<str>,
        /// Which.
        backend: Endpoint,
        /// What is in the way.
        reason: Arc<str>,
    },
    /// The probes of a service can be sent again, all of them.
    ProbesSent {
        /// Whose.
        service: Arc<str>,
    },
    /// Nearly all backends of all services are silent at once: they are held in service while that is verified.
    SuspicionBegins {
        /// Backends that are silent.
        backends: usize,
        /// What strains this machine; `None`: nothing that is known.
        strain: Option<Strain>,
    },
    /// The hold is over.
    SuspicionEnds {
        /// Whether the failure was real.
        verdict: Verdict,
        /// What strains this machine; `None`: nothing that is known.
        strain: Option<Strain>,
    },
    /// A VIP is announced (again), as a service of it wants it.
    VipAnnounced {
        /// Which.
        vip: IpAddr,
        /// Whose.
        service: Arc<str>,
    },
    /// A VIP is withdrawn: no service of it wants it any more.
    VipWithdrawn {
        /// Which.
        vip: IpAddr,
        /// The last that wanted it.
        service: Arc<str>,
        /// Why it does no longer.
        reason: String,
    },
    /// Another tier of a service's backends serves, or one that is not the lowest to begin with.
    TierServes {
        /// Whose.
        service: Arc<str>,
        /// Which.
        tier: u8,
    },
    /// Too few backends of a service are healthy, so that health is disregarded; or no longer.
    Panic {
        /// Whose.
        service: Arc<str>,
        /// From now on.
        begins: bool,
    },
    /// SYNs of a service are answered in its backends' place from now on, or no longer.
    SynProxy {
        /// Whose.
        service: Arc<str>,
        /// From now on.
        begins: bool,
        /// SYNs that came lately.
        syns_per_second: u64,
        /// Its half-open flows.
        half_open: u64,
    },
    /// A resource of new flows has run short, or is there again.
    Pressure {
        /// The resource.
        resource: Resource,
        /// How full it is from now on.
        pressure: Pressure,
        /// What is in use, and the flows refused since the last look.
        usage: Usage,
    },
    /// A configuration took effect.
    ConfigurationLoaded {
        /// Services in it.
        services: usize,
        /// Backends in it.
        backends: usize,
    },
    /// The network leads this many VIPs to us; 0: they are withdrawn.
    VipsAnnounced {
        /// How many.
        vips: usize,
    },
    /// Everything is in place.
    Ready,
    /// The kernel's side of a port is gone: neighbours, routes and probes of the port with it.
    KernelInterfaceLost {
        /// Which.
        port: Arc<str>,
    },
    /// A port has no link: nothing comes or leaves by it.
    PortDown {
        /// Which.
        port: Arc<str>,
    },
    /// It has a link again.
    PortUp {
        /// Which.
        port: Arc<str>,
    },
    /// A worker does not turn: it forwards nothing.
    WorkerStalled {
        /// Which.
        worker: WorkerId,
    },
    /// It turns again.
    WorkerResumed {
        /// Which.
        worker: WorkerId,
    },
    /// New clients are to go elsewhere; established flows go on.
    Draining {
        /// For at most this long.
        timeout: Duration,
    },
    /// The process ends.
    Leaving {
        /// Why now.
        reason: DrainEnd,
    },
}

impl Change {
    /// Writes the change to the log.
    pub fn log(&self) {
        match self {
            Self::BackendUp { service, backend, after } => {
                tracing::info!(%service, %backend, after, "backend_up");
            }
            Self::BackendDown { service, backend, reason, after } => {
                tracing::warn!(%service, %backend, %reason, after, "backend_down");
            }
            Self::BackendAdvised { service, backend, state } => {
                tracing::info!(%service, %backend, %state, "backend_advised");
            }
            Self::ServiceUp { service } => tracing::info!(%service, "service_up"),
            Self::ServiceDown { service } => tracing::error!(%service, "service_down"),
            Self::BackendOrdered { service, backend, order } => {
                tracing::info!(%service, %backend, %order, "backend_ordered");
            }
            Self::BackendDrained { service, backend, timed_out } => {
                tracing::info!(%service, %backend, timed_out, "backend_drained");
            }
            Self::ProbeNotSent { service, backend, reason } => {
                tracing::error!(%service, %backend, ?reason, "probe_not_sent");
            }
            Self::ProbesSent { service } => tracing::info!(%service, "probes_sent"),
            Self::SuspicionBegins { backends, strain } => {
                tracing::error!(backends, strain = %word(*strain), "suspicion_begins");
            }
            Self::SuspicionEnds { verdict, strain } => {
                tracing::warn!(verdict = verdict.name(), strain = %word(*strain), "suspicion_ends");
            }
            Self::VipAnnounced { vip, service } => tracing::info!(%vip, %service, "vip_announced"),
            Self::VipWithdrawn { vip, service, reason } => {
                tracing::error!(%vip, %service, ?reason, "vip_withdrawn");
            }
            Self::TierServes { service, tier } => tracing::warn!(%service, tier, "tier_serves"),
            Self::Panic { service, begins: true } => tracing::error!(%service, "panic_begins"),
            Self::Panic { service, begins: false } => tracing::warn!(%service, "panic_ends"),
            Self::SynProxy { service, begins: true, syns_per_second, half_open } => {
                tracing::warn!(%service, syns_per_second, half_open, "syn_proxy_begins");
            }
            Self::SynProxy { service, begins: false, syns_per_second, half_open } => {
                tracing::info!(%service, syns_per_second, half_open, "syn_proxy_ends");
            }
            Self::Pressure { resource, pressure, usage } => log_pressure(resource, *pressure, *usage),
            Self::ConfigurationLoaded { services, backends } => {
                tracing::info!(services, backends, "configuration_loaded");
            }
            Self::VipsAnnounced { vips } => tracing::info!(vips, "vips_announced"),
            Self::Ready => tracing::info!("ready"),
            Self::KernelInterfaceLost { port } => {
                tracing::error!(%port, fix = "restart to get it back", "kernel_side_lost");
            }
            Self::PortDown { port } => tracing::error!(%port, "port_down"),
            Self::PortUp { port } => tracing::info!(%port, "port_up"),
            Self::WorkerStalled { worker } => tracing::error!(%worker, "worker_stalled"),
            Self::WorkerResumed { worker } => tracing::info!(%worker, "worker_resumed"),
            Self::Draining { timeout } => tracing::info!(timeout_s = timeout.as_secs_f64(), "draining"),
            Self::Leaving { reason } => tracing::info!(%reason, "leaving"),
        }
    }

    /// The change for programs: `event`, the name it has in the log, and what belongs to it.
    #[must_use]
    pub fn json(&self) -> Value {
        match self {
            Self::BackendUp { service, backend, after } => {
                json!({"event": "backend_up", "service": &**service, "backend": backend.to_string(), "after": after})
            }
            Self::BackendDown { service, backend, reason, after } => json!({
                "event": "backend_down",
                "service": &**service,
                "backend": backend.to_string(),
                "reason": reason.to_string(),
                "after": after,
            }),
            Self::BackendAdvised { service, backend, state } => json!({
                "event": "backend_advised",
                "service": &**service,
                "backend": backend.to_string(),
                "state": state.to_string(),
            }),
            Self::ServiceUp { service } => json!({"event": "service_up", "service": &**service}),
            Self::ServiceDown { service } => json!({"event": "service_down", "service": &**service}),
            Self::BackendOrdered { service, backend, order } => json!({
                "event": "backend_ordered",
                "service": &**service,
                "backend": backend.to_string(),
                "order": order.to_string(),
            }),
            Self::BackendDrained { service, backend, timed_out } => json!({
                "event": "backend_drained",
                "service": &**service,
                "backend": backend.to_string(),
                "timed_out": timed_out,
            }),
            Self::ProbeNotSent { service, backend, reason } => json!({
                "event": "probe_not_sent",
                "service": &**service,
                "backend": backend.to_string(),
                "reason": &**reason,
            }),
            Self::ProbesSent { service } => json!({"event": "probes_sent", "service": &**service}),
            Self::SuspicionBegins { backends, strain } => {
                json!({"event": "suspicion_begins", "backends": backends, "strain": word(*strain)})
            }
            Self::SuspicionEnds { verdict, strain } => {
                json!({"event": "suspicion_ends", "verdict": verdict.name(), "strain": word(*strain)})
            }
            Self::VipAnnounced { vip, service } => {
                json!({"event": "vip_announced", "vip": vip.to_string(), "service": &**service})
            }
            Self::VipWithdrawn { vip, service, reason } => json!({
                "event": "vip_withdrawn",
                "vip": vip.to_string(),
                "service": &**service,
                "reason": reason,
            }),
            Self::TierServes { service, tier } => {
                json!({"event": "tier_serves", "service": &**service, "tier": tier})
            }
            Self::Panic { service, begins } => {
                let event = if *begins { "panic_begins" } else { "panic_ends" };
                json!({"event": event, "service": &**service})
            }
            Self::SynProxy { service, begins, syns_per_second, half_open } => json!({
                "event": if *begins { "syn_proxy_begins" } else { "syn_proxy_ends" },
                "service": &**service,
                "syns_per_second": syns_per_second,
                "half_open": half_open,
            }),
            Self::Pressure { resource, pressure, usage: Usage { used, capacity, refused } } => {
                let event = pressure_event(resource, *pressure);
                let mut json =
                    json!({"event": event, "used": used, "capacity": capacity, "refused": refused});
                match resource {
                    Resource::FlowTable { worker } => json["worker"] = json!(worker.0),
                    Resource::LocalPorts { service, backend } => {
                        json["service"] = json!(&**service);
                        json["backend"] = json!(backend.to_string());
                    }
                }
                json
            }
            Self::ConfigurationLoaded { services, backends } => {
                json!({"event": "configuration_loaded", "services": services, "backends": backends})
            }
            Self::VipsAnnounced { vips } => json!({"event": "vips_announced", "vips": vips}),
            Self::Ready => json!({"event": "ready"}),
            Self::KernelInterfaceLost { port } => json!({"event": "kernel_side_lost", "port": &**port}),
            Self::PortDown { port } => json!({"event": "port_down", "port": &**port}),
            Self::PortUp { port } => json!({"event": "port_up", "port": &**port}),
            Self::WorkerStalled { worker } => json!({"event": "worker_stalled", "worker": worker.0}),
            Self::WorkerResumed { worker } => json!({"event": "worker_resumed", "worker": worker.0}),
            Self::Draining { timeout } => json!({"event": "draining", "timeout_s": timeout.as_secs_f64()}),
            Self::Leaving { reason } => json!({"event": "leaving", "reason": reason.to_string()}),
        }
    }
}

/// The name of a change of pressure.
const fn pressure_event(resource: &Resource, pressure: Pressure) -> &'static str {
    match (resource, pressure) {
        (Resource::FlowTable { .. }, Pressure::NearlyFull) => "flow_table_nearly_full",
        (Resource::FlowTable { .. }, Pressure::Refusing) => "flow_table_refuses",
        (Resource::FlowTable { .. }, Pressure::Normal) => "flow_table_recovered",
        (Resource::LocalPorts { .. }, Pressure::NearlyFull) => "local_ports_nearly_full",
        (Resource::LocalPorts { .. }, Pressure::Refusing) => "local_ports_refuse",
        (Resource::LocalPorts { .. }, Pressure::Normal) => "local_ports_recovered",
    }
}

fn log_pressure(resource: &Resource, pressure: Pressure, usage: Usage) {
    let Usage { used, capacity, refused } = usage;
    match (resource, pressure) {
        (Resource::FlowTable { worker }, Pressure::Refusing) => {
            tracing::error!(%worker, used, capacity, refused, "flow_table_refuses");
        }
        (Resource::FlowTable { worker }, Pressure::NearlyFull) => {
            tracing::warn!(%worker, used, capacity, refused, "flow_table_nearly_full");
        }
        (Resource::FlowTable { worker }, Pressure::Normal) => {
            tracing::info!(%worker, used, capacity, refused, "flow_table_recovered");
        }
        (Resource::LocalPorts { service, backend }, Pressure::Refusing) => {
            tracing::error!(%service, %backend, used, capacity, refused, "local_ports_refuse");
        }
        (Resource::LocalPorts { service, backend }, Pressure::NearlyFull) => {
            tracing::warn!(%service, %backend, used, capacity, refused, "local_ports_nearly_full");
        }
        (Resource::LocalPorts { service, backend }, Pressure::Normal) => {
            tracing::info!(%service, %backend, used, capacity, refused, "local_ports_recovered");
        }
    }
}

/// The word for what strains this machine.
fn word(strain: Option<Strain>) -> String {
    strain.map_or_else(|| "none".to_owned(), |strain| strain.to_string())
}
