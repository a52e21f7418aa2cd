//! When hosts last said that nobody listens, for probes that take silence for success.
//!
//! A host sends ICMP errors at a limited rate: Linux one a second to each address, after a burst of six (`icmp_ratelimit`,
//! `inet_peer_xrlim_allow`). Silence shortly after an error to any of our probes of the host may be that limit. Such a probe
//! is repeated once the host can send another error, one at a time for each host.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use super::ProbeFailure;
use super::ProbeOutcome;

/// The hosts that have refused a probe lately.
#[derive(Debug)]
pub(super) struct Refusals {
    hosts: Mutex<HashMap<IpAddr, Host>>,
    /// After an error the next one can come.
    recovery: Duration,
}

#[derive(Clone, Debug)]
struct Host {
    refused: Instant,
    /// Held by whoever repeats its probe.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { hosts: Mutex::default(), recovery: RECOVERY }
    }
}

impl Refusals {
    /// Asks `host` with `ask` until its silence cannot be the limit of its errors.
    ///
    /// # Errors
    ///
    /// The first of `ask`.
    pub(super) async fn certain<A>(&self, host: IpAddr, ask: impl Fn() -> A) -> io::Result<ProbeOutcome>
    where
        A: Future<Output = io::Result<ProbeOutcome>>,
    {
        let sent = Instant::now();
        let outcome = self.noted(host, ask().await?);
        let Some(Host { refused, turn }) = self.limited(host, sent, &outcome) else { return Ok(outcome) };
        let _alone = turn.lock().await;
        let mut refused = refused;
        loop {
            // Others may have had an error since.
            refused = self.last(host).unwrap_or(refused);
            tokio::time::sleep_until(refused + self.recovery).await;
            let sent = Instant::now();
            let outcome = self.noted(host, ask().await?);
            if self.limited(host, sent, &outcome).is_none() {
                return Ok(outcome);
            }
        }
    }

    /// Whether a success at `host` that was asked for at `sent` may be silence for want of an error.
    fn limited(&self, host: IpAddr, sent: Instant, outcome: &ProbeOutcome) -> Option<Host> {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let known =
            hosts.get(&host).filter(|known| outcome.result.is_ok() && sent < known.refused + self.recovery);
        known.cloned()
    }

    fn last(&self, host: IpAddr) -> Option<Instant> {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.get(&host).map(|known| known.refused)
    }

    fn noted(&self, host: IpAddr, outcome: ProbeOutcome) -> ProbeOutcome {
        if outcome.result == Err(ProbeFailure::Refused) {
            let now = Instant::now();
            let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = hosts.get(&host).map_or_else(Arc::default, |known| Arc::clone(&known.turn));
            hosts
                .retain(|_, known| now < known.refused + self.recovery || Arc::strong_count(&known.turn) > 1);
            hosts.insert(host, Host { refused: now, turn });
        }
        outcome
    }
}

/// [`Refusals::recovery`]: the second of `icmp_ratelimit`'s default, and some for clocks that differ.
const RECOVERY: Duration = Duration::from_millis(1100);

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::Ipv4Addr;
    use std::rc::Rc;

    use super::*;

    const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// Between two errors of [`Limited`]; shorter than the recovery, however busy the machine is.
    const LIMIT: Duration = Duration::from_millis(50);

    fn refusals() -> Refusals {
        Refusals { recovery: LIMIT + Duration::from_millis(10), ..Refusals::default() }
    }

    /// A host with closed ports whose errors are limited.
    #[derive(Clone, Default)]
    struct Limited(Rc<Cell<Option<Instant>>>);

    impl Limited {
        async fn probe(&self) -> io::Result<ProbeOutcome> {
            let now = Instant::now();
            if self.0.get().is_none_or(|last| now >= last + LIMIT) {
                self.0.set(Some(now));
                return Ok(Err(ProbeFailure::Refused).into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(Ok(()).into())
        }
    }

    #[tokio::test]
    async fn silence_under_the_limit_of_a_hosts_errors_is_no_success() {
        let (refusals, host) = (refusals(), Limited::default());
        let asks: Vec<_> = (0..5).map(|_| refusals.certain(HOST, || host.probe())).collect();
        for outcome in futures::future::join_all(asks).await {
            assert_eq!(outcome.unwrap().result, Err(ProbeFailure::Refused));
        }
    }

    #[tokio::test]
    async fn silence_counts_at_once_without_an_error_and_after_the_recovery_with_one() {
        let (refusals, asked) = (refusals(), Cell::new(0));
        let silent = || async {
            asked.set(asked.get() + 1);
            Ok(Ok(()).into())
        };
        assert_eq!(refusals.certain(HOST, silent).await.unwrap().result, Ok(()));
        assert_eq!(asked.get(), 1);
        let refuse = || async { Ok(Err(ProbeFailure::Refused).into()) };
        assert!(refusals.certain(HOST, refuse).await.unwrap().result.is_err());
        let refused = Instant::now();
        assert_eq!(refusals.certain(HOST, silent).await.unwrap().result, Ok(()));
        assert!(refused.elapsed() >= LIMIT, "asked again after the recovery");
    }
}
