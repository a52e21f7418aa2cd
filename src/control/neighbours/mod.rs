//! The kernel's routes and neighbours, mirrored into the workers' [`Fib`].
//!
//! The kernel resolves and routes; workers look up. Notifications only say that something changed; the kernel's
//! tables are then read anew, so that a lost notification costs nothing but time. A change reaches the workers about
//! `SETTLE` after it happens, and at most every `BETWEEN` when there are many. Invariant: the next-hop number of a
//! neighbour does not change while the process lives, unless all 16,384 are in use and it was gone.

mod messages;
mod mirror;
mod netlink;
mod next_hop_ids;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use self::messages::Links;
use self::mirror::Asked;
pub use self::mirror::Mirror;
use self::netlink::Changed;
use self::netlink::Netlink;
use super::kernel_port::KernelSide;
use crate::config::StaticNextHop;
use crate::shared::Egress;
use crate::shared::Fib;
use crate::shared::Publisher;

/// What control tells the mirror.
#[derive(Debug)]
pub enum NeighbourCommand {
    /// The static next hops are these now.
    StaticNextHops(Vec<StaticNextHop>),
    /// Have these addresses (the backends') resolved at all times, or the gateways that lead to them; no others but
    /// the gateways of all routes.
    KeepResolved(Vec<IpAddr>),
    /// Read the kernel's tables now, publish what they say, and answer then: what the kernel has done before is known to the
    /// workers. Answered, too, if the kernel cannot be asked.
    Read(oneshot::Sender<()>),
}

/// The mirror and where it publishes.
pub struct Neighbours {
    sides: Vec<KernelSide>,
    mirror: Mirror,
    publisher: Publisher<Fib>,
    netlink: Option<Netlink>,
    /// What has to be read anew, at `due`.
    dirty: Option<Changed>,
    due: Instant,
    not_before: Instant,
    keep_resolved: Vec<IpAddr>,
    /// What was asked for since the last tick.
    asked: BTreeSet<Asked>,
}

impl Neighbours {
    /// Publishes the static next hops at once: they ask nothing of the kernel, and workers that start later never see
    /// a Fib without them. `ports` are all ports by [`PortId`](crate::model::PortId), `sides` those that have a kernel side.
    #[must_use]
    pub fn new(
        sides: Vec<KernelSide>,
        ports: Vec<Egress>,
        statics: Vec<StaticNextHop>,
        publisher: Publisher<Fib>,
    ) -> Self {
        let now = Instant::now();
        let mut this = Self {
            dirty: (!sides.is_empty()).then_some(Changed::Everything),
            sides,
            mirror: Mirror::new(ports),
            publisher,
            netlink: None,
            due: now,
            not_before: now,
            keep_resolved: Vec::new(),
            asked: BTreeSet::new(),
        };
        this.mirror.set_statics(statics);
        this.publish();
        this
    }

    /// Publishes the Fib until the sender of `commands` is gone. Needs a tokio runtime. Without any side, only static
    /// next hops are published and the kernel is not asked. Trouble with netlink is logged, and it is opened again
    /// every second.
    pub async fn run(mut self, mut commands: mpsc::Receiver<NeighbourCommand>) {
        let mut tick = tokio::time::interval(ASK_AGAIN);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => return,
                },
                changed = next_change(&mut self.netlink) => self.note(changed),
                () = tokio::time::sleep_until(self.due), if self.dirty.is_some() => self.refresh().await,
                _ = tick.tick() => {
                    self.publisher.reclaim();
                    self.asked.clear();
                    self.ask().await;
                }
            }
        }
    }

    async fn command(&mut self, command: NeighbourCommand) {
        match command {
            NeighbourCommand::StaticNextHops(statics) => self.mirror.set_statics(statics),
            NeighbourCommand::KeepResolved(addresses) => self.keep_resolved = addresses,
            NeighbourCommand::Read(reply) => {
                if !self.sides.is_empty() {
                    self.dirty = Some(Changed::Everything);
                    self.refresh().await;
                }
                // Whoever asked may have gone.
                let _ = reply.send(());
                return;
            }
        }
        self.publish();
        self.ask().await;
    }

    fn note(&mut self, changed: Option<Changed>) {
        let now = Instant::now();
        let Some(changed) = changed else {
            tracing::warn!("netlink_closed retry_s={}", REOPEN.as_secs());
            return self.reopen_later();
        };
        if self.dirty.is_none() {
            self.due = self.not_before.max(now + SETTLE);
        }
        self.dirty = match self.dirty {
            Some(Changed::Everything) => Some(Changed::Everything),
            Some(Changed::Neighbours) | None => Some(changed),
        };
    }

    fn reopen_later(&mut self) {
        self.netlink = None;
        self.dirty = Some(Changed::Everything);
        self.due = Instant::now() + REOPEN;
    }

    /// Reads what changed, publishes the result, asks for neighbours that are missing now.
    async fn refresh(&mut self) {
        let started = Instant::now();
        if let Err(error) = self.read().await {
            tracing::warn!("netlink_failed error=\"{error}\" retry_s={}", REOPEN.as_secs());
            return self.reopen_later();
        }
        self.dirty = None;
        self.publish();
        // Reading a million routes takes a second: a tenth of the control core is enough for that.
        self.not_before = started + BETWEEN.max(started.elapsed() * 10);
        self.ask().await;
    }

    async fn read(&mut self) -> Result<(), String> {
        let netlink = match self.netlink.take() {
            Some(netlink) => netlink,
            None => Netlink::open().map_err(|error| error.to_string())?,
        };
        let netlink = self.netlink.insert(netlink);
        if self.dirty == Some(Changed::Everything) {
            let links = netlink.links().await.map_err(|error| error.to_string())?;
            self.mirror.set_links(Links::read(&links, &self.sides));
            let routes = netlink.routes(self.mirror.links()).await.map_err(|error| error.to_string())?;
            self.mirror.set_routes(routes.into_iter());
        }
        let neighbours = netlink.neighbours().await.map_err(|error| error.to_string())?;
        self.mirror.set_neighbours(neighbours.into_iter());
        Ok(())
    }

    fn publish(&mut self) {
        if let Some(fib) = self.mirror.changed_fib() {
            self.publisher.publish(fib);
        }
    }

    /// Asks the kernel for what is to be resolved and was not asked for since the last tick.
    async fn ask(&mut self) {
        let Some(netlink) = &self.netlink else { return };
        for asked in self.mirror.to_ask(&self.keep_resolved) {
            if !self.asked.insert(asked) {
                continue;
            }
            if let Err(error) = netlink.resolve(asked).await {
                // Once a second and neighbour at most; the next tick asks again.
                tracing::warn!("neighbour_not_asked address={} error=\"{error}\"", asked.1);
            }
        }
    }
}

/// The next notification; `None` when the socket is dead; never, without a socket.
async fn next_change(netlink: &mut Option<Netlink>) -> Option<Changed> {
    match netlink {
        Some(netlink) => netlink.changed().await,
        None => std::future::pending().await,
    }
}

/// From the first notification to reading: a burst of them is one change.
const SETTLE: Duration = Duration::from_millis(10);

/// Between two readings at least.
const BETWEEN: Duration = Duration::from_millis(100);

/// Between two requests for the same neighbour.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Between attempts to open netlink.
const REOPEN: Duration = Duration::from_secs(1);
