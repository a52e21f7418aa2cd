//! What is asked of a backend: its probe and the agent beside it, as the service has them configured.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Backend;
use super::Service;
use crate::config::HealthConfig;
use crate::config::ProbeKind;
use crate::control::health::ProbeSpec;
use crate::control::health::Question;

/// How `backend` is to be probed, as generation 0; `None` if not at all.
pub(in crate::control) fn probe_spec(backend: &Backend, service: &Service) -> Option<ProbeSpec> {
    let is_asked = backend.removed.is_none() || service.leaving.contains(&backend.id);
    let service = &*service.config;
    let HealthConfig {
        kind,
        interval,
        timeout,
        fall: _,
        rise: _,
        failure_window: _,
        passive: _,
        port,
        from,
        proxy_header,
        agent,
    } = &service.health;
    if !is_asked || *kind == ProbeKind::None {
        return None;
    }
    // A service on a range of ports is probed on its first.
    let own = if backend.endpoint.port == 0 { service.ports.first } else { backend.endpoint.port };
    let target = |port| SocketAddr::new(backend.endpoint.address, port);
    // An echo request knows no port and no header: services of one host share its answer.
    let is_echo = *kind == ProbeKind::Icmp;
    let check = Arc::new(Question {
        target: target(if is_echo { 0 } else { port.unwrap_or(own) }),
        kind: kind.clone(),
        from: *from,
        proxy_header: *proxy_header && !is_echo,
        interval: *interval,
        timeout: *timeout,
        service: matches!(kind, ProbeKind::Script { .. }).then(|| service.name.as_str().into()),
    });
    let agent = agent.as_ref().map(|agent| {
        Arc::new(Question {
            target: target(agent.port),
            kind: ProbeKind::Agent,
            from: *from,
            proxy_header: false,
            interval: agent.interval,
            timeout: agent.timeout,
            service: None,
        })
    });
    Some(ProbeSpec { backend: backend.id, generation: 0, check, agent })
}
