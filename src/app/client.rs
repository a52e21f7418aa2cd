//! The commands that talk to a running balancer: one request over its control socket, one reply.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use super::cli::Ask;
use super::cli::Listing;
use super::cli::Named;
use super::cli::Order;
use super::client_text;
use crate::control::admin::protocol::BackendAction;
use crate::control::admin::protocol::BackendOrder;
use crate::control::admin::protocol::Fault;
use crate::control::admin::protocol::FlowQuery;
use crate::control::admin::protocol::Reply;
use crate::control::admin::protocol::Request;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error("control socket {0}: {1}; evenkeel may not be running, or its socket is elsewhere: see --socket")]
    Connect(PathBuf, io::Error),
    /// It is not for us.
    #[error("control socket {0}: {1}; become root, or a member of the socket's group")]
    Denied(PathBuf, io::Error),
    /// The connection broke.
    #[error("control socket {0}: {1}")]
    Broken(PathBuf, io::Error),
    /// The answer is not understood.
    #[error("the balancer's answer is not understood ({0}); is it of another version?")]
    Protocol(#[from] serde_json::Error),
    /// The balancer says no.
    #[error("{0}")]
    Fault(#[from] Fault),
}

/// Asks and prints the answer.
///
/// # Errors
///
/// If there is no answer, or it cannot be printed.
pub fn run(ask: &Ask) -> anyhow::Result<()> {
    match ask {
        Ask::Status(listing) => show(listing, &Request::Status {}, client_text::status),
        Ask::Services(listing) => show(listing, &Request::Services {}, client_text::services),
        Ask::Backends { service, listing } => {
            show(listing, &Request::Backends { service: service.clone() }, client_text::backends)
        }
        Ask::Backend { order } => {
            let (named, action) = match order {
                Order::Drain { backend, within } => {
                    (backend, BackendAction::Drain { within_seconds: *within })
                }
                Order::Disable { backend } => (backend, BackendAction::Disable),
                Order::Enable { backend } => (backend, BackendAction::Enable),
                Order::Weight { backend, weight } => (backend, BackendAction::Weight(*weight)),
            };
            let Named { service, backend, listing } = named;
            let order = BackendOrder { service: service.clone(), backend: backend.clone(), action };
            show(listing, &Request::Backend(order), client_text::backends)
        }
        Ask::Flows { service, backend, client, displaced, limit, listing } => {
            let query = FlowQuery {
                service: service.clone(),
                backend: backend.clone(),
                client: client.clone(),
                displaced: *displaced,
                limit: Some(*limit),
            };
            show(listing, &Request::Flows(query), client_text::flows)
        }
        Ask::Counters { all, listing } => {
            show(listing, &Request::Counters {}, |counters| client_text::counters(counters, *all))
        }
        Ask::Reload { dry_run, listing } => {
            show(listing, &Request::Reload { dry_run: *dry_run }, client_text::reload)
        }
    }
}

fn show<T: DeserializeOwned>(
    listing: &Listing,
    request: &Request,
    text: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    let result = ask(&listing.socket, request)?;
    if listing.json {
        return super::print(&format!("{result:#}\n"));
    }
    let typed: T = serde_json::from_value(result).map_err(ClientError::Protocol)?;
    super::print(&text(&typed))
}

/// Asks the balancer at `socket`.
///
/// # Errors
///
/// If there is no answer or it is an error.
pub fn ask(socket: &Path, request: &Request) -> Result<Value, ClientError> {
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => ClientError::Denied(socket.to_owned(), error),
        _ => ClientError::Connect(socket.to_owned(), error),
    })?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    let answer =
        exchange(&mut stream, &line).map_err(|error| ClientError::Broken(socket.to_owned(), error))?;
    match serde_json::from_str(&answer)? {
        Reply::Result(value) => Ok(value),
        Reply::Error(fault) => Err(fault.into()),
    }
}

fn exchange(stream: &mut UnixStream, line: &[u8]) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(line)?;
    let mut answer = String::new();
    if BufReader::new(stream).read_line(&mut answer)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer"));
    }
    Ok(answer)
}

/// A long listing of flows takes the workers seconds; a balancer that is silent for longer is in trouble.
const PATIENCE: Duration = Duration::from_secs(60);
