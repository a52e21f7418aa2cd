//! The one word for a backend in listings and metrics.

use crate::control::health::AdvisedState;
use crate::control::health::HealthState;
use crate::control::registry::Administration;
use crate::control::registry::Backend;

/// What becomes of new flows, and why: the operator's word before the agent's, and that before the probes'. `rests`: it
/// could serve, and gets no new flows.
pub(super) fn state_word(backend: &Backend, rests: bool) -> &'static str {
    match (backend.administration, backend.advice.state(), backend.health.state()) {
        _ if backend.removed.is_some() => "removed",
        (Administration::Draining { .. }, ..) => "draining",
        (Administration::Maintenance, ..) | (_, Some(AdvisedState::Maint), _) => "maintenance",
        (Administration::Enabled, _, HealthState::Unknown) => "unknown",
        (Administration::Enabled, Some(AdvisedState::Down), _)
        | (Administration::Enabled, _, HealthState::Down) => "down",
        (Administration::Enabled, Some(AdvisedState::Drain), HealthState::Up) => "draining",
        (Administration::Enabled, Some(AdvisedState::Up) | None, HealthState::Up)
            if rests && backend.advised_weight() > 0 =>
        {
            "standby"
        }
        (Administration::Enabled, Some(AdvisedState::Up) | None, HealthState::Up) => "up",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::health::Advice;
    use crate::control::health::Health;
    use crate::control::health::Observed;
    use crate::control::health::ProbeFailure;
    use crate::control::health::ProbeResult;
    use crate::control::health::Thresholds;
    use crate::model::BackendId;
    use crate::model::Endpoint;
    use crate::model::Nanos;
    use crate::model::ServiceId;

    fn word(advice: &str, result: ProbeResult, administration: Administration) -> &'static str {
        let mut health = Health::unknown(Nanos(0), Thresholds { fall: 1, rise: 1, window: None });
        health.apply(Nanos(0), result);
        let advice = Advice::parse(advice.as_bytes()).unwrap_or_default();
        let backend = Backend {
            id: BackendId(0),
            service: ServiceId(0),
            endpoint: Endpoint::new([10, 0, 9, 1].into(), 80),
            tier: 0,
            max_connections: 0,
            configured_weight: 100,
            weight_override: None,
            administration,
            health,
            advice,
            observed: Observed::default(),
            probe: None,
            not_sent: None,
            returned: None,
            removed: None,
        };
        state_word(&backend, advice.weight_percent == Some(50))
    }

    #[test]
    fn a_backend_is_what_the_operator_says_else_its_agent_else_its_probes() {
        let down = Err(ProbeFailure::Timeout);
        let draining = Administration::Draining { deadline: None };
        for (advice, result, administration, expected) in [
            ("", Ok(()), Administration::Enabled, "up"),
            ("", down, Administration::Enabled, "down"),
            ("up 50%", Ok(()), Administration::Enabled, "standby"),
            ("up", down, Administration::Enabled, "down"),
            ("down", Ok(()), Administration::Enabled, "down"),
            ("drain", Ok(()), Administration::Enabled, "draining"),
            ("drain", down, Administration::Enabled, "down"),
            ("maint", Ok(()), Administration::Enabled, "maintenance"),
            ("maint", Ok(()), draining, "draining"),
            ("down", Ok(()), Administration::Maintenance, "maintenance"),
        ] {
            assert_eq!(
                word(advice, result, administration),
                expected,
                "{advice:?} {result:?} {administration:?}"
            );
        }
    }
}
