//! A program of the operator's that judges a backend.

use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;

use tokio::process::Command;

use super::ProbeFailure;
use super::ProbeResult;
use crate::control::child;

/// Runs `command` to its end. A caller that does not wait for it kills it, with all of its process group.
pub(super) async fn run(command: &[String], service: &str, target: SocketAddr) -> io::Result<ProbeResult> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no command"));
    };
    let mut child = Command::new(program);
    child
        .args(arguments)
        .env("EVENKEEL_SERVICE", service)
        .env("EVENKEEL_BACKEND_ADDRESS", target.ip().to_string())
        .env("EVENKEEL_BACKEND_PORT", target.port().to_string());
    // Whatever keeps it from starting, it says nothing about the backend.
    let status = child::run(&mut child, None)
        .await
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("{program}: {error}")))?;
    Ok(match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(ProbeFailure::Exit(u8::try_from(code).unwrap_or(u8::MAX))),
        (None, signal) => {
            Err(ProbeFailure::Killed(signal.and_then(|signal| u8::try_from(signal).ok()).unwrap_or(u8::MAX)))
        }
    })
}
