//! When silence of nearly all backends is held for a failure near us, and what is known of the ports.

use super::State;
use crate::control::change::Change;
use crate::control::event::Effect;
use crate::control::port_watch::PortFault;
use crate::control::suspicion::Suspicion;
use crate::control::suspicion::Verdict;
use crate::control::suspicion::verification;
use crate::model::BackendId;
use crate::model::Nanos;

impl State {
    /// Whether a backend that is about to go down by silence is held in service.
    pub(super) fn is_doubted(&mut self, now: Nanos, effects: &mut Vec<Effect>) -> bool {
        if self.suspicion.holds() {
            return true;
        }
        // Without a link the cause is known; with one server it need not be near us.
        if !self.faults.is_empty() || !self.several_servers {
            return false;
        }
        let census = self.registry.census();
        if !self.suspicion.begins(now, census, verification(self.slowest_timeout)) {
            return false;
        }
        let strain = self.suspicion.strain(now);
        effects.push(Effect::Log(Change::SuspicionBegins { backends: census.silent, strain }));
        effects.push(Effect::RepeatProbes);
        true
    }

    /// Ends a hold when it is time: backends that are still silent go down.
    pub(super) fn judge_suspicion(&mut self, now: Nanos, effects: &mut Vec<Effect>) {
        if !self.suspicion.holds() {
            return;
        }
        let Some(verdict) = self.suspicion.verdict(now, self.registry.census()) else { return };
        let strain = self.suspicion.strain(now);
        effects.push(Effect::Log(Change::SuspicionEnds { verdict, strain }));
        // After a refutation the others have their repeated probes still to come.
        if verdict == Verdict::Confirmed {
            self.end_hold(now, effects);
        }
    }

    fn end_hold(&mut self, now: Nanos, effects: &mut Vec<Effect>) {
        let falling = self.registry.backends().filter(|backend| backend.health.is_falling());
        for id in falling.map(|backend| backend.id).collect::<Vec<BackendId>>() {
            let transition = self.registry.change(id, |backend| backend.health.settle(now)).flatten();
            self.transition(id, transition, effects);
        }
    }

    /// What is wrong with the ports has changed, or not.
    pub(super) fn ports(&mut self, now: Nanos, faults: Vec<PortFault>, effects: &mut Vec<Effect>) {
        if self.faults == faults {
            return;
        }
        self.faults = faults;
        self.wanted_stale = true;
        if !self.faults.is_empty() && self.suspicion.give_up(now) {
            let strain = self.suspicion.strain(now);
            effects.push(Effect::Log(Change::SuspicionEnds { verdict: Verdict::Confirmed, strain }));
            self.end_hold(now, effects);
        }
    }

    /// The suspicion that all failures are near us.
    #[must_use]
    pub const fn suspicion(&self) -> &Suspicion {
        &self.suspicion
    }
}
