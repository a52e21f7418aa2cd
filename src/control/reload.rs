//! Reloads: the file is read beside the loop, one reload after the other.
//!
//! SIGHUPs that come while a reload waits are one reload. The requests of clients are bounded by their connections.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::sync::oneshot;

use super::admin::protocol::Fault;
use super::admin::protocol::FaultKind;
use super::admin::protocol::Reload;
use super::difference::Difference;
use super::off_loop::CONFIGURATION;
use super::state::Review;
use crate::config::Config;

/// Reads the configuration again; an error is lines for people.
pub type ReadConfig = Arc<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// A wish for a reload.
#[derive(Debug)]
pub(super) struct Request {
    /// Change nothing.
    pub(super) dry_run: bool,
    /// Where the answer goes; `None`: to the log alone.
    pub(super) reply: Option<oneshot::Sender<Result<Reload, Fault>>>,
}

/// What was read, with what loading it would change; an error is lines for people.
pub(super) type Reviewed = Result<(Box<Config>, Difference), String>;

/// The reload under way and those that wait.
pub(super) struct Reloads {
    read: ReadConfig,
    loaded: mpsc::Sender<Reviewed>,
    /// The first one is under way.
    requests: VecDeque<Request>,
}

impl Reloads {
    /// None yet; what is read goes to `loaded`.
    pub(super) const fn new(read: ReadConfig, loaded: mpsc::Sender<Reviewed>) -> Self {
        Self { read, loaded, requests: VecDeque::new() }
    }

    /// Takes a request; whether the file is to be read for it now.
    pub(super) fn accept(&mut self, request: Request) -> bool {
        let waits = self.requests.iter().skip(1).any(|waiting| waiting.reply.is_none());
        if request.reply.is_some() || !waits {
            self.requests.push_back(request);
        }
        self.requests.len() == 1
    }

    /// The request whose file was read.
    pub(super) fn end(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// Whether a request is left.
    pub(super) fn is_waiting(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Reads the file beside the loop and reviews it there.
    pub(super) fn read(&self, review: Review) {
        let (read, loaded) = (Arc::clone(&self.read), self.loaded.clone());
        let work = move || -> Reviewed {
            let config = read()?;
            let difference = review.of(&config).map_err(|refusal| refusal.to_string())?;
            Ok((Box::new(config), difference))
        };
        tokio::spawn(async move {
            let reviewed = CONFIGURATION.run(work).await.unwrap_or_else(|error| {
                Err(format!("the configuration cannot be read: {error}; check the path and the file system"))
            });
            // The loop has ended: nobody needs it.
            let _ended = loaded.send(reviewed).await;
        });
    }
}

impl Request {
    /// Tells why nothing is reloaded.
    pub(super) fn refuse(self, message: String) {
        if !self.dry_run {
            message.lines().for_each(|reason| tracing::error!(%reason, "reload_refused"));
        }
        self.answer(Err(Fault { kind: FaultKind::Refused, message }));
    }

    /// Tells how the reload ended. One whose asker has gone away is not answered.
    pub(super) fn answer(self, answer: Result<Reload, Fault>) {
        if let Some(reply) = self.reply {
            // Lost if its asker has gone away.
            let _taken = reply.send(answer);
        }
    }
}
