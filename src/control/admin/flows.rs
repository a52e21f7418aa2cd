//! Listing flows: pages go down to the workers and come back filled, in their own time.
//!
//! A worker is never waited for: pages travel in rings, and control looks for them once a millisecond. One listing
//! runs at a time, so that each page that comes back is known to be its own; a page that comes too late, for a listing
//! that has given up, is recognised by its turn and thrown away.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::model::WorkerId;
use crate::shared::Command;
use crate::shared::Event;
use crate::shared::FlowFilter;
use crate::shared::FlowPage;
use crate::shared::FlowRecord;
use crate::shared::FlowState;
use crate::shared::rings::CommandRings;

/// Lists flows of all workers.
#[derive(Debug)]
pub struct FlowLister {
    desk: Mutex<Desk>,
}

#[derive(Debug)]
struct Desk {
    rings: CommandRings,
    /// Pages under way, per worker.
    under_way: Vec<usize>,
}

/// What a listing found.
#[derive(Debug, Default)]
pub struct Listing {
    /// Flows, each with the worker that has it.
    pub flows: Vec<(WorkerId, FlowRecord)>,
    /// There may be more.
    pub truncated: bool,
    /// Workers that did not answer.
    pub silent: Vec<WorkerId>,
}

/// Records in a page.
const PAGE: usize = 1024;

/// A worker that keeps a page for this long is given up.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often control looks for pages.
const LOOK: Duration = Duration::from_millis(1);

impl FlowLister {
    /// Over these rings, whose event ends nobody else may read.
    #[must_use]
    pub fn new(rings: CommandRings) -> Self {
        let under_way = vec![0; rings.commands.len()];
        Self { desk: Mutex::new(Desk { rings, under_way }) }
    }

    /// Up to `limit` flows that match `filter` and `wanted`.
    pub async fn list(&self, filter: FlowFilter, wanted: fn(&FlowRecord) -> bool, limit: usize) -> Listing {
        self.desk.lock().await.list(filter, wanted, limit).await
    }

    /// Whether a TCP connection is open on any worker. A worker that does not answer may have one.
    pub async fn any_established(&self) -> bool {
        let open = |record: &FlowRecord| {
            matches!(
                record.state,
                FlowState::Connecting | FlowState::Established | FlowState::HalfClosed | FlowState::FinWait
            )
        };
        let listing = self.list(FlowFilter::default(), open, 1).await;
        !listing.flows.is_empty() || !listing.silent.is_empty()
    }
}

impl Desk {
    async fn list(&mut self, filter: FlowFilter, wanted: fn(&FlowRecord) -> bool, limit: usize) -> Listing {
        let mut listing = Listing::default();
        // What is under way now belongs to an earlier listing.
        let mut foreign = self.under_way.clone();
        let send = |worker| self.send(worker, Box::new(FlowPage::new(filter, PAGE)), &mut listing);
        let mut waiting: Vec<Option<Instant>> = (0..foreign.len()).map(send).collect();
        loop {
            for (worker, slot) in waiting.iter_mut().enumerate() {
                let Some(since) = *slot else { continue };
                match self.rings.events[worker].pop() {
                    Some(Event::Flows(page)) => {
                        self.under_way[worker] = self.under_way[worker].saturating_sub(1);
                        if foreign[worker] > 0 {
                            foreign[worker] -= 1;
                            continue;
                        }
                        *slot = self.take(worker, page, wanted, limit, &mut listing);
                    }
                    None if since.elapsed() >= PATIENCE => {
                        listing.silent.push(worker_id(worker));
                        *slot = None;
                    }
                    None => {}
                }
            }
            if waiting.iter().all(Option::is_none) {
                return listing;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Keeps what is wanted of a page and sends it on its way again, if there is more and room for it.
    fn take(
        &mut self,
        worker: usize,
        mut page: Box<FlowPage>,
        wanted: fn(&FlowRecord) -> bool,
        limit: usize,
        listing: &mut Listing,
    ) -> Option<Instant> {
        let room = limit.saturating_sub(listing.flows.len());
        let mut found = page.records.drain(..).filter(wanted).map(|record| (worker_id(worker), record));
        listing.flows.extend(found.by_ref().take(room));
        let more = found.next().is_some();
        drop(found);
        if listing.flows.len() >= limit {
            listing.truncated |= more || !page.done;
            return None;
        }
        if page.done { None } else { self.send(worker, page, listing) }
    }

    fn send(&mut self, worker: usize, page: Box<FlowPage>, listing: &mut Listing) -> Option<Instant> {
        if self.rings.commands[worker].push(Command::ListFlows(page)).is_err() {
            listing.silent.push(worker_id(worker));
            return None;
        }
        self.under_way[worker] += 1;
        Some(Instant::now())
    }
}

fn worker_id(index: usize) -> WorkerId {
    WorkerId(u16::try_from(index).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BackendId;
    use crate::model::Endpoint;
    use crate::model::Protocol;
    use crate::model::ServiceId;

    fn flow(state: FlowState, client_port: u16) -> FlowRecord {
        let endpoint = |port| Endpoint::new([192, 0, 2, 1].into(), port);
        FlowRecord {
            protocol: Protocol::Tcp,
            client: endpoint(client_port),
            vip: endpoint(80),
            local: endpoint(2000),
            backend: endpoint(8080),
            backend_id: BackendId(0),
            service: ServiceId(0),
            state,
            displaced: false,
            idle_secs: 0,
            expires_secs: 1,
        }
    }

    /// A worker that answers every page at once, as full as it was made, with one flow.
    async fn answer(rings: &CommandRings, state: FlowState, client_port: u16) {
        loop {
            if let Some(Command::ListFlows(mut page)) = rings.commands[0].pop() {
                page.records.push(flow(state, client_port));
                page.done = true;
                rings.events[0].push(Event::Flows(page)).unwrap();
            }
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_page_that_comes_too_late_is_not_taken_for_the_next_listings() {
        let rings = CommandRings::new(1);
        let lister = FlowLister::new(rings.clone());
        let first = lister.list(FlowFilter::default(), |_| true, 10).await;
        assert_eq!(first.silent, [WorkerId(0)]);

        // The worker wakes up: it answers the old page first, with a flow that has gone since.
        let Some(Command::ListFlows(mut late)) = rings.commands[0].pop() else { panic!("a page was sent") };
        late.records.push(flow(FlowState::Closed, 1));
        late.done = true;
        rings.events[0].push(Event::Flows(late)).unwrap();
        let second = tokio::select! {
            listing = lister.list(FlowFilter::default(), |_| true, 10) => listing,
            () = answer(&rings, FlowState::Established, 2) => unreachable!("it answers for ever"),
        };
        let ports: Vec<u16> = second.flows.iter().map(|(_, flow)| flow.client.port).collect();
        assert_eq!((ports, second.silent), (vec![2], vec![]));
    }

    #[tokio::test]
    async fn only_open_connections_hold_a_drain_up() {
        for (state, holds) in [
            (FlowState::Established, true),
            (FlowState::HalfClosed, true),
            (FlowState::FinWait, true),
            (FlowState::TimeWait, false),
            (FlowState::SynSent, false),
            (FlowState::Udp, false),
        ] {
            let rings = CommandRings::new(1);
            let lister = FlowLister::new(rings.clone());
            let any = tokio::select! {
                any = lister.any_established() => any,
                () = answer(&rings, state, 1) => unreachable!("it answers for ever"),
            };
            assert_eq!(any, holds, "{state}");
        }
    }
}
