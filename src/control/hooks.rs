//! Telling others of changes: a program that is run, an address that is posted to.
//!
//! One change after the other, so that what is told last is what is so. A hook that takes long or fails holds up the
//! next one, at most for its timeout, and nothing else; changes that wait are bounded, and what does not fit is not told.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use http::Request;
use http::Uri;
use http::header;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::change::Change;
use super::child;
use crate::config::HooksConfig;

/// Changes that wait to be told.
const BACKLOG: usize = 256;

/// Tells of changes, in the order in which they come.
#[derive(Debug)]
pub struct Hooks {
    queue: mpsc::Sender<Told>,
}

/// A change, and whom to tell.
#[derive(Debug)]
struct Told {
    hooks: Arc<HooksConfig>,
    /// As JSON.
    change: String,
    event: String,
}

/// Why a hook has failed.
#[derive(Debug, Error)]
enum HookError {
    #[error("no answer within {0:?}")]
    Timeout(std::time::Duration),
    #[error("{0}")]
    System(#[from] io::Error),
    #[error("exit status {0}")]
    Exit(std::process::ExitStatus),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("HTTP status {0}")]
    Status(u16),
    #[error("{0}")]
    Request(#[from] http::Error),
}

impl Hooks {
    /// Starts the task that tells; needs a tokio runtime.
    #[must_use]
    pub fn start() -> Self {
        let (queue, told) = mpsc::channel(BACKLOG);
        tokio::spawn(tell_all(told));
        Self { queue }
    }

    /// Tells `change` of the balancer called `appliance` to `hooks`, some time later.
    pub fn tell(&self, appliance: &str, hooks: &Arc<HooksConfig>, change: &Change) {
        if hooks.script.is_none() && hooks.webhook.is_none() {
            return;
        }
        let mut json = change.json();
        let event = json["event"].as_str().unwrap_or_default().to_owned();
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        json["appliance"] = appliance.into();
        json["time"] = since.as_secs_f64().into();
        let told = Told { hooks: Arc::clone(hooks), change: json.to_string(), event };
        if let Err(error) = self.queue.try_send(told) {
            let event = error.into_inner().event;
            tracing::warn!(event, "hook_backlog_full");
        }
    }
}

async fn tell_all(mut queue: mpsc::Receiver<Told>) {
    while let Some(told) = queue.recv().await {
        let script = async {
            let Some(command) = &told.hooks.script else { return Ok(()) };
            run(command, &told).await
        };
        let webhook = async {
            let Some(address) = &told.hooks.webhook else { return Ok(()) };
            bounded(&told, post(address, told.change.clone())).await
        };
        for (hook, result) in
            ["script", "webhook"].into_iter().zip(<[_; 2]>::from(tokio::join!(script, webhook)))
        {
            if let Err(reason) = result {
                tracing::warn!(hook, event = told.event, %reason, "hook_failed");
            }
        }
    }
}

async fn bounded<T>(told: &Told, work: impl Future<Output = Result<T, HookError>>) -> Result<T, HookError> {
    let longest = told.hooks.timeout;
    timeout(longest, work).await.map_err(|_| HookError::Timeout(longest))?
}

/// Runs the program with the change on its standard input; it and its children end with the time.
async fn run(command: &[String], told: &Told) -> Result<(), HookError> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let mut child = Command::new(program);
    child.args(arguments).env("EVENKEEL_EVENT", &told.event);
    let ended = async { Ok(child::run(&mut child, Some(told.change.as_bytes())).await?) };
    let status = bounded(told, ended).await?;
    if status.success() { Ok(()) } else { Err(HookError::Exit(status)) }
}

async fn post(address: &Uri, change: String) -> Result<(), HookError> {
    let host = address.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, address.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let authority = address.authority().map_or(host, |authority| authority.as_str());
    let request = Request::post(address.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, "evenkeel")
        .body(Full::new(Bytes::from(change)))?;
    let driver = tokio::spawn(connection);
    let answer = sender.send_request(request).await;
    driver.abort();
    let status = answer?.status();
    if status.is_success() { Ok(()) } else { Err(HookError::Status(status.as_u16())) }
}
