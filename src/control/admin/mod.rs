//! The windows on a running balancer: the control socket and HTTP.
//!
//! Both ask the control loop with a [`Call`] and wait for its answer; neither touches its state. Only listing flows
//! goes past the loop, to the workers' rings, and waits there without holding anything up.

mod connection;
mod flows;
mod http;
mod leases;
mod listen;
mod metrics;
pub mod protocol;
mod report;
mod socket;
mod state_word;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::mpsc;
use tokio::sync::oneshot;

pub use flows::FlowLister;
pub use flows::Listing;
pub use http::serve as serve_http;
pub use listen::ListenError;
pub use listen::Listeners;
pub use listen::SocketFile;
pub use metrics::exposition;
pub use report::View;
pub use socket::serve as serve_socket;

use self::protocol::BackendOrder;
use self::protocol::Backends;
use self::protocol::Counters;
use self::protocol::Fault;
use self::protocol::FaultKind;
use self::protocol::FlowQuery;
use self::protocol::Flows;
use self::protocol::MOST_FLOWS;
use self::protocol::PortInfo;
use self::protocol::Reload;
use self::protocol::Services;
use self::protocol::Status;
use crate::model::BackendId;
use crate::model::Endpoint;
use crate::model::ServiceId;
use crate::shared::FlowFilter;

/// What launch found out about the machine, for status.
#[derive(Clone, Debug, Default)]
pub struct StartInfo {
    /// The program's version, with its commit if known.
    pub version: String,
    /// Where packet buffers come from, in words: `hugepages (2 MiB)`, `ordinary pages`.
    pub memory: String,
    /// The ports.
    pub ports: Vec<PortInfo>,
    /// Lines of the log that could not be written, counted by the log's writer.
    pub log_lines_dropped: Arc<AtomicU64>,
}

/// A question to the control loop, with where the answer goes.
#[derive(Debug)]
pub enum Call {
    /// See [`Status`].
    Status(oneshot::Sender<Status>),
    /// See [`Services`].
    Services(oneshot::Sender<Services>),
    /// See [`Backends`]; of one service, if named.
    Backends(Option<String>, oneshot::Sender<Result<Backends, Fault>>),
    /// What is wanted of a backend.
    Backend(BackendOrder, oneshot::Sender<Result<Backends, Fault>>),
    /// See [`Counters`].
    Counters(oneshot::Sender<Counters>),
    /// What a query for flows means in ids.
    Flows(FlowQuery, oneshot::Sender<Result<FlowPlan, Fault>>),
    /// Reload, or only say what would change.
    Reload {
        /// Change nothing.
        dry_run: bool,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Reload, Fault>>,
    },
    /// The metrics as text.
    Metrics(oneshot::Sender<String>),
}

/// A query for flows in terms of ids, and the way back to names.
#[derive(Clone, Debug)]
pub struct FlowPlan {
    /// What workers are to look for.
    pub filter: FlowFilter,
    /// Names of all services.
    pub names: HashMap<ServiceId, String>,
    /// Where all backends listen.
    pub endpoints: HashMap<BackendId, Endpoint>,
}

/// Asks the control loop; cloning shares it.
#[derive(Clone, Debug)]
pub struct Handle {
    calls: mpsc::Sender<Call>,
    lister: Arc<FlowLister>,
}

impl Handle {
    /// Asks over `calls`; flows through `lister`.
    #[must_use]
    pub const fn new(calls: mpsc::Sender<Call>, lister: Arc<FlowLister>) -> Self {
        Self { calls, lister }
    }

    /// Asks what `question` makes of the place for the answer.
    ///
    /// # Errors
    ///
    /// If the loop has ended.
    pub async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Call) -> Result<T, Fault> {
        let leaving = || Fault { kind: FaultKind::Leaving, message: "evenkeel is ending".to_owned() };
        let (reply, answer) = oneshot::channel();
        self.calls.send(question(reply)).await.map_err(|_| leaving())?;
        answer.await.map_err(|_| leaving())
    }

    /// Lists flows.
    ///
    /// # Errors
    ///
    /// If the query names what does not exist or the loop has ended.
    pub async fn flows(&self, query: FlowQuery) -> Result<Flows, Fault> {
        let limit = query.limit.unwrap_or(100).min(MOST_FLOWS);
        let plan = self.ask(|reply| Call::Flows(query, reply)).await??;
        let listing = self.lister.list(plan.filter, |_| true, limit).await;
        Ok(report::flows(&listing, &plan))
    }
}
