//! A program of the operator's that judges a backend.
//!
//! The child is made by `posix_spawn`, which shares the address space until the new program begins (`CLONE_VM` and
//! `CLONE_VFORK`): no page table is copied, however much memory the process holds, and only this thread waits. That
//! holds as long as nothing is to run in the child before that (`pre_exec`, user or directory). It runs on control's
//! core, in a process group of its own.

use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process_group;
use tokio::process::Command;

use super::ProbeFailure;
use super::ProbeResult;

/// Runs `command` to its end. A caller that does not wait for it kills it, with all of its process group.
pub(super) async fn run(command: &[String], service: &str, target: SocketAddr) -> io::Result<ProbeResult> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no command"));
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env("EVENKEEL_SERVICE", service)
        .env("EVENKEEL_BACKEND_ADDRESS", target.ip().to_string())
        .env("EVENKEEL_BACKEND_PORT", target.port().to_string())
        // The service manager listens to the balancer alone.
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        // Whatever it is, it says nothing about the backend.
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("{program}: {error}")))?;
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut group = Group(id);
    let status = child.wait().await?;
    // It is reaped: its number may be another's from now on.
    group.0 = None;
    Ok(match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(ProbeFailure::Exit(u8::try_from(code).unwrap_or(u8::MAX))),
        (None, signal) => {
            Err(ProbeFailure::Killed(signal.and_then(|signal| u8::try_from(signal).ok()).unwrap_or(u8::MAX)))
        }
    })
}

/// The process group of a child that has not been reaped; killed when nobody waits for it any more.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            // It may have ended by itself.
            let _gone = kill_process_group(id, Signal::KILL);
        }
    }
}
