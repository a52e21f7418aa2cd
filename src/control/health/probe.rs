//! One probe of one backend: what is asked, and the names of the ways it can fail.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::http;
use crate::config::ProbeKind;
use crate::model::BackendId;

/// What to probe, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeSpec {
    /// Whom the results are about.
    pub backend: BackendId,
    /// Tells the results of this specification from those of earlier ones.
    pub generation: u64,
    /// Where to connect.
    pub target: SocketAddr,
    /// What to ask.
    pub kind: ProbeKind,
    /// From the start of one probe to the start of the next.
    pub interval: Duration,
    /// After which an unanswered probe has failed.
    pub timeout: Duration,
}

/// The outcome of one probe.
pub type ProbeResult = Result<(), ProbeFailure>;

/// Why a probe failed. The names are those of logs and listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeFailure {
    /// No complete answer in time.
    Timeout,
    /// Nobody listens: the connection was refused.
    Refused,
    /// No way to the backend.
    Unreachable,
    /// Answered with this HTTP status, which is not an expected one.
    Status(u16),
    /// The answer is no HTTP/1 response, or its head is longer than 16 KiB.
    Malformed,
    /// The connection was closed before the answer was complete.
    Closed,
}

impl ProbeFailure {
    /// Nobody is there: no answer at all. Who refuses is there, and may be finishing what connections it has.
    #[must_use]
    pub const fn is_silence(self) -> bool {
        matches!(self, Self::Timeout | Self::Unreachable)
    }
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("timeout"),
            Self::Refused => f.write_str("refused"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Status(code) => write!(f, "status={code}"),
            Self::Malformed => f.write_str("malformed"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

/// Probes once, within the timeout. `None` if this machine could not ask (no file descriptor, memory or local port
/// left): that says nothing about the backend.
pub async fn probe(spec: &ProbeSpec) -> Option<ProbeResult> {
    match timeout(spec.timeout, attempt(spec)).await {
        Err(_) => Some(Err(ProbeFailure::Timeout)),
        Ok(Ok(result)) => Some(result),
        Ok(Err(error)) => classify(&error).map(Err),
    }
}

async fn attempt(spec: &ProbeSpec) -> io::Result<ProbeResult> {
    match &spec.kind {
        ProbeKind::None => Ok(Ok(())),
        ProbeKind::Tcp => TcpStream::connect(spec.target).await.map(|_| Ok(())),
        ProbeKind::Http { path, host, status } => {
            let mut stream = TcpStream::connect(spec.target).await?;
            let host = host.clone().unwrap_or_else(|| spec.target.to_string());
            http::get(&mut stream, path, &host).await.map(|answer| {
                let code = answer?;
                let expected = status.iter().any(|range| range.contains(&code));
                if expected { Ok(()) } else { Err(ProbeFailure::Status(code)) }
            })
        }
    }
}

fn classify(error: &io::Error) -> Option<ProbeFailure> {
    use io::ErrorKind as Kind;
    let local = [
        rustix::io::Errno::MFILE,
        rustix::io::Errno::NFILE,
        rustix::io::Errno::NOBUFS,
        rustix::io::Errno::NOMEM,
        rustix::io::Errno::ADDRNOTAVAIL,
    ];
    if error.raw_os_error().is_some_and(|code| local.iter().any(|errno| errno.raw_os_error() == code)) {
        return None;
    }
    Some(match error.kind() {
        Kind::ConnectionRefused => ProbeFailure::Refused,
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe | Kind::UnexpectedEof => {
            ProbeFailure::Closed
        }
        Kind::TimedOut => ProbeFailure::Timeout,
        _ => ProbeFailure::Unreachable,
    })
}
