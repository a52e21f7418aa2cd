//! The loop's answers to the control socket and HTTP, and reloads.

use super::Loop;
use crate::control::admin::Call;
use crate::control::admin::View;
use crate::control::admin::protocol::BackendOrder;
use crate::control::admin::protocol::Backends;
use crate::control::admin::protocol::Fault;
use crate::control::admin::protocol::Reload;
use crate::control::reload::Request;
use crate::control::reload::Reviewed;
use crate::control::state::Event;

impl Loop {
    pub(super) fn begin_reload(&mut self, request: Request) {
        if self.reloads.accept(request) {
            self.reloads.read(self.state.begin_review());
        }
    }

    /// Loads what was read for the request under way, and reads for the next one.
    pub(super) fn loaded(&mut self, reviewed: Reviewed) {
        let Some(request) = self.reloads.end() else { return };
        match reviewed {
            Ok((config, difference)) => {
                let warnings = config.warnings.iter().map(ToString::to_string).collect();
                let applied = !request.dry_run;
                if applied {
                    config.log_warnings();
                    self.apply(Event::Load(config));
                }
                request.answer(Ok(Reload { applied, difference, warnings }));
            }
            Err(message) => request.refuse(message),
        }
        if self.reloads.is_waiting() {
            self.reloads.read(self.state.begin_review());
        }
    }

    /// Answers a question. One whose asker has gone away is not answered.
    pub(super) fn answer(&mut self, call: Call) {
        let _taken = match call {
            Call::Status(reply) => reply.send(self.view().status()).is_ok(),
            Call::Health(reply) => reply.send(self.view().not_ready()).is_ok(),
            Call::Page(from, reply) => reply.send(self.view().page(from)).is_ok(),
            Call::Overview(reply) => reply.send(Box::new(self.view().overview())).is_ok(),
            Call::Backends(service, reply) => reply.send(self.view().backends(service.as_deref())).is_ok(),
            Call::Backend(order, reply) => reply.send(self.administer(&order)).is_ok(),
            Call::Counters(reply) => reply.send(self.view().counters()).is_ok(),
            Call::Flows(query, reply) => reply.send(self.view().flow_plan(&query)).is_ok(),
            Call::Reload { dry_run, reply } => {
                self.begin_reload(Request { dry_run, reply: Some(reply) });
                true
            }
        };
    }

    fn administer(&mut self, order: &BackendOrder) -> Result<Backends, Fault> {
        let (backend, order) = self.view().order(order)?;
        self.apply(Event::Administer(backend, order));
        Ok(self.view().backend_alone(backend))
    }

    pub(super) fn view(&self) -> View<'_> {
        View {
            now: self.now(),
            state: &self.state,
            ledger: &self.ledger,
            watch: &self.watch,
            ports: self.ports.latest(),
            start: &self.start_info,
            probes_discarded: self.punctuality.discarded(),
            steps: &self.steps,
        }
    }
}
