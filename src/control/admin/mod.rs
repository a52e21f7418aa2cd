//! The windows on a running balancer: the control socket and HTTP.
//!
//! Both ask the control loop with a [`Call`] and wait for its answer; neither touches its state. Only listing flows
//! goes past the loop, to the workers' rings, and waits there without holding anything up.

mod answers;
mod connection;
mod flows;
mod gather;
mod http;
mod leases;
mod listen;
mod metrics;
mod pages;
pub mod protocol;
mod report;
mod socket;
mod state_word;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::timeout;

pub use flows::FlowLister;
pub use flows::Listing;
pub use gather::Cursor;
pub use gather::Page;
pub use http::serve as serve_http;
pub use listen::ListenError;
pub use listen::Listeners;
pub use listen::SocketFile;
pub use metrics::Overview;
pub use report::View;
pub use socket::serve as serve_socket;

use self::answers::Answer;
use self::answers::Archive;
use self::protocol::BackendOrder;
use self::protocol::Backends;
use self::protocol::Counters;
use self::protocol::Fault;
use self::protocol::FaultKind;
use self::protocol::FlowQuery;
use self::protocol::MOST_FLOWS;
use self::protocol::PortInfo;
use self::protocol::Reload;
use self::protocol::Status;
use crate::config::ServiceConfig;
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
    /// Whether the balancer serves.
    Health(oneshot::Sender<Vec<String>>),
    /// See [`Page`].
    Page(Cursor, oneshot::Sender<Page>),
    /// See [`Overview`].
    Overview(oneshot::Sender<Box<Overview>>),
    /// See [`Backends`]; of one service, if named. All of them are [pages](Self::Page).
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
}

/// A query for flows in terms of ids, and the way back to names.
#[derive(Clone, Debug)]
pub struct FlowPlan {
    /// What workers are to look for.
    pub filter: FlowFilter,
    /// All services.
    pub services: HashMap<ServiceId, Arc<ServiceConfig>>,
    /// Where all backends listen.
    pub endpoints: HashMap<BackendId, Endpoint>,
}

/// Asks the control loop; cloning shares it.
#[derive(Clone, Debug)]
pub struct Handle {
    calls: mpsc::Sender<Call>,
    lister: Arc<FlowLister>,
    archives: Archives,
    flow_answers: Arc<Semaphore>,
}

/// The latest large answers.
#[derive(Clone, Debug, Default)]
struct Archives {
    metrics: Arc<Archive>,
    services: Arc<Archive>,
    backends: Arc<Archive>,
}

/// Listings of flows that are being made or sent at a time: 25 MB each at most.
const FLOW_ANSWERS: usize = 4;

/// Time that a listing of flows waits for its place.
const FLOW_PATIENCE: Duration = Duration::from_secs(20);

impl Handle {
    /// Asks over `calls`; flows through `lister`.
    #[must_use]
    pub fn new(calls: mpsc::Sender<Call>, lister: Arc<FlowLister>) -> Self {
        let flow_answers = Arc::new(Semaphore::new(FLOW_ANSWERS));
        Self { calls, lister, archives: Archives::default(), flow_answers }
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

    /// [`Flows`](protocol::Flows) as JSON.
    ///
    /// # Errors
    ///
    /// If the query names what does not exist, too many listings are under way or the loop has ended.
    async fn flows(&self, query: FlowQuery) -> Result<Answer, Fault> {
        let limit = query.limit.unwrap_or(100).min(MOST_FLOWS);
        let plan = self.ask(|reply| Call::Flows(query, reply)).await??;
        let place = timeout(FLOW_PATIENCE, Arc::clone(&self.flow_answers).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            let message = format!("{FLOW_ANSWERS} other listings are under way; try again");
            return Err(Fault { kind: FaultKind::Busy, message });
        };
        let listing = self.lister.list(plan.filter, |_| true, limit).await;
        let text = gather::render(move || serde_json::to_vec(&report::flows(&listing, &plan))).await?;
        Ok(Answer::own(text, Some(place)))
    }
}
