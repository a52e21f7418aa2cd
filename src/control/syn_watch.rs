//! Tells when workers begin to answer SYNs in backends' places by themselves, and when they stop.

use std::collections::HashMap;

use super::change::Change;
use super::ledger::Ledger;
use super::registry::Registry;
use crate::model::Nanos;
use crate::model::ServiceId;
use crate::model::SynProxy;

/// What was seen at the last look, by service.
#[derive(Debug, Default)]
pub(super) struct SynWatch(HashMap<ServiceId, Seen>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Nanos,
    syns: u64,
    on: bool,
}

impl SynWatch {
    /// What has changed since the last look, with the rate of SYNs since then.
    pub(super) fn look(&mut self, now: Nanos, registry: &Registry, ledger: &Ledger) -> Vec<Change> {
        let before = std::mem::take(&mut self.0);
        let mut changes = Vec::new();
        for service in registry.services() {
            let totals = ledger.service(service.id);
            let automatic = matches!(service.config.syn_proxy, SynProxy::Above(_));
            let on = automatic && ledger.answers_syns(service, now);
            let seen = Seen { at: now, syns: totals.syns(), on };
            self.0.insert(service.id, seen);
            let first = Seen { on: false, ..seen };
            let last = before.get(&service.id).copied().unwrap_or(first);
            if last.on != on {
                let span = now.since(last.at).0.max(1);
                changes.push(Change::SynProxy {
                    service: service.config.name.as_str().into(),
                    begins: on,
                    syns_per_second: seen.syns.saturating_sub(last.syns).saturating_mul(1_000_000_000) / span,
                    half_open: totals.half_open,
                });
            }
        }
        changes
    }
}
