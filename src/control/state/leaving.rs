//! From the order to stop until the process leaves.

use super::Phase;
use super::State;
use crate::control::change::Change;
use crate::control::drain::Drain;
use crate::control::drain::DrainEnd;
use crate::control::drain::DrainStep;
use crate::control::event::Effect;
use crate::model::Nanos;

impl State {
    /// Begins a drain, or ends the one that has begun.
    pub(super) fn shutdown(&mut self, now: Nanos, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Draining(_) => leave(DrainEnd::Interrupted, effects),
            Phase::Starting | Phase::Running => {
                let timeout = self.config.appliance.drain_timeout;
                self.phase = Phase::Draining(Drain::begin(now, timeout.into()));
                self.wanted_stale = true;
                effects.push(Effect::Log(Change::Draining { timeout }));
                effects.push(Effect::Stopping(timeout));
            }
        }
    }

    /// Ends a drain with its last connection, once the VIPs are withdrawn: until then new flows arrive.
    pub(super) fn none_established(&mut self, now: Nanos, effects: &mut Vec<Effect>) {
        if let Phase::Draining(drain) = &mut self.phase
            && self.held == self.wanted
            && let DrainStep::Leave(end) = drain.none_left(now)
        {
            leave(end, effects);
        }
    }

    /// Takes the next step of a drain whose time has come.
    pub(super) fn drain(&mut self, now: Nanos, effects: &mut Vec<Effect>) {
        let Phase::Draining(drain) = &mut self.phase else { return };
        match drain.step(now) {
            DrainStep::Wait => {}
            DrainStep::SayFarewell => {
                drain.begin_farewell(now);
                // A connection whose backend is dead is reset: so are all.
                self.tables.bury_backends();
                self.begin_building(now, self.published.settled);
                self.build(now, effects);
            }
            DrainStep::Leave(end) => leave(end, effects),
        }
    }
}

fn leave(end: DrainEnd, effects: &mut Vec<Effect>) {
    effects.push(Effect::Log(Change::Leaving { reason: end }));
    effects.push(Effect::Leave(end));
}
