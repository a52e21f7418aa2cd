//! A child process in a process group of its own, which ends with whoever waits for it.
//!
//! It is made by `posix_spawn`, which shares the address space until the new program begins (`CLONE_VM` and
//! `CLONE_VFORK`): no page table is copied, however much memory the process holds, and only this thread waits. That
//! holds as long as nothing is to run in the child before that (`pre_exec`, user or directory). It runs on control's
//! core.

use std::io;
use std::process::ExitStatus;
use std::process::Stdio;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process_group;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs `command`, prepared but for what all children have in common, with `input` on its standard input. A caller that does
/// not wait for it kills it, with all of its process group.
///
/// # Errors
///
/// If it cannot be started.
pub(super) async fn run(command: &mut Command, input: Option<&[u8]>) -> io::Result<ExitStatus> {
    let mut child = command
        // The service manager listens to the balancer alone.
        .env_remove("NOTIFY_SOCKET")
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut group = Group(id);
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
        // A program need not read it.
        let _unread = pipe.write_all(input).await;
    }
    let status = child.wait().await?;
    // It is reaped: its number may be another's from now on.
    group.0 = None;
    Ok(status)
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
