//! What control wants of the network, done by the kernel: addresses on the TAPs, neighbours kept resolved.

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use crate::control::announce::{AnnounceRequest, Announced, Announcer};
use crate::control::kernel_port::{KernelSide, Outbox};
use crate::control::neighbours::NeighbourCommand;
use crate::control::network::{Network, NetworkError, Wanted};

/// See the module.
pub(super) struct KernelNetwork {
    sides: Vec<KernelSide>,
    outbox: Outbox,
    neighbours: mpsc::Sender<NeighbourCommand>,
    /// Started with the first wish, as it needs control's runtime.
    announcer: Option<mpsc::Sender<AnnounceRequest>>,
}

impl KernelNetwork {
    /// The network behind `sides`; `neighbours` keeps next hops resolved.
    pub(super) const fn new(
        sides: Vec<KernelSide>,
        outbox: Outbox,
        neighbours: mpsc::Sender<NeighbourCommand>,
    ) -> Self {
        Self { sides, outbox, neighbours, announcer: None }
    }

    async fn make(&mut self, wanted: &Wanted) -> Result<(), NetworkError> {
        let mirror_ended = || NetworkError("the mirror of the kernel's neighbours has ended".to_owned());
        let gone = |_| mirror_ended();
        let next_hops = NeighbourCommand::StaticNextHops(wanted.next_hops.clone());
        self.neighbours.send(next_hops).await.map_err(gone)?;

        let ended = || NetworkError("the announcer has ended".to_owned());
        let (reply, answer) = oneshot::channel();
        let announced = Announced {
            vips: wanted.vips.iter().copied().collect(),
            local_addresses: wanted.local.iter().copied().collect(),
        };
        let announcer = self.announcer().await?;
        announcer.send(AnnounceRequest { wanted: announced, reply }).await.map_err(|_| ended())?;
        let failures = answer.await.map_err(|_| ended())?;
        // Only now: a neighbour is asked for from an address of the interface, which had none before.
        self.neighbours.send(NeighbourCommand::KeepResolved(wanted.backends.clone())).await.map_err(gone)?;
        // Packets that the addresses attract, or that are to leave from them, must find their ways.
        let (reply, read) = oneshot::channel();
        self.neighbours.send(NeighbourCommand::Read(reply)).await.map_err(gone)?;
        read.await.map_err(|_| mirror_ended())?;
        if failures.is_empty() {
            return Ok(());
        }
        let reasons: Vec<String> = failures.iter().map(ToString::to_string).collect();
        Err(NetworkError(reasons.join("; ")))
    }

    async fn announcer(&mut self) -> Result<mpsc::Sender<AnnounceRequest>, NetworkError> {
        if let Some(requests) = &self.announcer {
            return Ok(requests.clone());
        }
        let announcer = Announcer::open(&self.sides, self.outbox.clone()).await;
        let announcer = announcer.map_err(|error| NetworkError(error.to_string()))?;
        let (requests, served) = mpsc::channel(1);
        tokio::spawn(announcer.run(served));
        self.announcer = Some(requests.clone());
        Ok(requests)
    }
}

impl Network for KernelNetwork {
    fn hold<'a>(&'a mut self, wanted: &'a Wanted) -> BoxFuture<'a, Result<(), NetworkError>> {
        Box::pin(self.make(wanted))
    }
}
