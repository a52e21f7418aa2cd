//! What control wants of the network around the balancer: the kernel's side of the ports implements it.

use std::net::IpAddr;
use std::time::Duration;

use futures::future::BoxFuture;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::sync::watch;

use crate::config::StaticNextHop;

/// What the network is to hold. Each list is complete: what is not in it is to be taken away.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// VIPs that are to lead here, sorted, once each. Empty before the balancer can serve, while a worker stands still
    /// and from the start of a drain.
    pub vips: Vec<IpAddr>,
    /// Local addresses: answers of backends are to lead here, also during a drain. Sorted, once each.
    pub local: Vec<IpAddr>,
    /// Addresses of backends, whose next hops are to be kept resolved. Sorted, once each.
    pub backends: Vec<IpAddr>,
    /// Next hops that do not come from the kernel, in the order of the file.
    pub next_hops: Vec<StaticNextHop>,
}

/// The side of the network.
pub trait Network: Send {
    /// Makes the network hold `wanted`, instead of what the last call asked for. Called from a task of its own on
    /// control's runtime, one call at a time; after a failure it is called again with what is then wanted.
    fn hold<'a>(&'a mut self, wanted: &'a Wanted) -> BoxFuture<'a, Result<(), NetworkError>>;
}

/// The network does not hold what was wanted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NetworkError(pub String);

/// A network that needs nothing done: static next hops and a rig around it.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNetwork;

impl Network for NoNetwork {
    fn hold<'a>(&'a mut self, _wanted: &'a Wanted) -> BoxFuture<'a, Result<(), NetworkError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Makes the network hold what is wanted, and says when it does.
pub(super) async fn keep_held(
    mut network: Box<dyn Network>,
    mut wishes: watch::Receiver<Wanted>,
    held: mpsc::Sender<Wanted>,
) {
    let mut failing = false;
    // The value at creation is not a wish.
    while wishes.changed().await.is_ok() {
        loop {
            let wanted = wishes.borrow_and_update().clone();
            match network.hold(&wanted).await {
                Ok(()) => {
                    failing = false;
                    if held.send(wanted).await.is_err() {
                        return;
                    }
                    break;
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(reason = %error, "network_failed");
                    }
                    tokio::time::sleep(NETWORK_RETRY).await;
                }
            }
        }
    }
}

/// After which the network is asked again for what it could not do.
const NETWORK_RETRY: Duration = Duration::from_secs(1);
