//! A question to an agent: connect, and read one line.

use std::io;

use tokio::io::AsyncReadExt;

use super::Advice;
use super::ProbeFailure;
use super::ProbeOutcome;

/// Reads an agent's line; without an end of line it ends where the connection does.
pub(super) async fn ask(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<ProbeOutcome> {
    let mut line = Vec::with_capacity(128);
    while !line.contains(&b'\n') {
        let room = (LONGEST_LINE - line.len()) as u64;
        if room == 0 {
            return Ok(Err(ProbeFailure::Malformed).into());
        }
        if (&mut *stream).take(room).read_buf(&mut line).await? == 0 {
            break;
        }
    }
    if line.is_empty() {
        return Ok(Err(ProbeFailure::Closed).into());
    }
    Ok(match Advice::parse(&line) {
        None => Err(ProbeFailure::Malformed).into(),
        Some(advice) => {
            let result = if advice.up == Some(false) { Err(ProbeFailure::Agent) } else { Ok(()) };
            ProbeOutcome { result, advice: Some(advice) }
        }
    })
}

/// Octets; HAProxy reads no more than a buffer either.
const LONGEST_LINE: usize = 1024;
