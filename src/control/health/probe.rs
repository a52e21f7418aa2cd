//! One probe: the question, and how its answer is found.

use std::hash::BuildHasher;
use std::hash::RandomState;
use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::Advice;
use super::ProbeFailure;
use super::agent;
use super::dns;
use super::http;
use super::icmp;
use super::refusals::Refusals;
use super::script;
use super::source::Ports;
use super::tls;
use super::tls::Trust;
use super::udp;
use crate::config::ProbeKind;
use crate::model::BackendId;
use crate::wire::proxy::LOCAL_HEADER;

/// What to ask about a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeSpec {
    /// Whom the results are about.
    pub backend: BackendId,
    /// Tells the results of this specification from those of earlier ones.
    pub generation: u64,
    /// The probe of the backend's health.
    pub check: Arc<Question>,
    /// The agent that is asked beside; `None`: there is none.
    pub agent: Option<Arc<Question>>,
}

impl ProbeSpec {
    /// Whether an agent is asked, as the check itself or beside it.
    #[must_use]
    pub fn has_agent(&self) -> bool {
        self.agent.is_some() || self.check.kind == ProbeKind::Agent
    }
}

/// What is asked, of whom and how often. Equal questions have the same answer, whoever asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// Whom to ask.
    pub target: SocketAddr,
    /// What to ask.
    pub kind: ProbeKind,
    /// The address to ask from; `None`: the kernel's choice.
    pub from: Option<IpAddr>,
    /// Whether a PROXY header goes ahead.
    pub proxy_header: bool,
    /// From the start of one probe to the start of the next.
    pub interval: Duration,
    /// After which an unanswered probe has failed.
    pub timeout: Duration,
    /// The service, for kinds that tell it; `None`: no matter.
    pub service: Option<Arc<str>>,
}

/// Whether a probe succeeded.
pub type ProbeResult = Result<(), ProbeFailure>;

/// What a probe found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeOutcome {
    /// Whether it succeeded. An agent that says that the backend is down is a failure.
    pub result: ProbeResult,
    /// What an agent advises; `None`: nothing, or there is no agent.
    pub advice: Option<Advice>,
}

impl From<ProbeResult> for ProbeOutcome {
    fn from(result: ProbeResult) -> Self {
        Self { result, advice: None }
    }
}

/// Asks questions. What questions have in common is kept here.
#[derive(Debug, Default)]
pub struct Prober {
    ports: Ports,
    trust: Trust,
    refusals: Refusals,
    asked: AtomicU64,
    random: RandomState,
}

impl Prober {
    /// Has the next probes read the files of authorities again.
    pub fn reread_certificates(&self) {
        self.trust.forget();
    }

    /// Asks once, within the timeout.
    ///
    /// # Errors
    ///
    /// If this machine could not ask: no file descriptor, memory or local port is left, `from` is not its address, or
    /// the script or the certificates of the configuration cannot be used. That says nothing about the backend.
    pub async fn ask(&self, question: &Question) -> io::Result<ProbeOutcome> {
        if question.kind.takes_silence_for_success() {
            return self.refusals.certain(question.target.ip(), || self.once(question)).await;
        }
        self.once(question).await
    }

    async fn once(&self, question: &Question) -> io::Result<ProbeOutcome> {
        match timeout(question.timeout, self.attempt(question)).await {
            Err(_) => Ok(on_silence(&question.kind).into()),
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(error)) => classify(error).map(|failure| Err(failure).into()),
        }
    }

    async fn attempt(&self, question: &Question) -> io::Result<ProbeOutcome> {
        let Question { target, kind, from, proxy_header, .. } = question;
        let introduction: &[u8] = if *proxy_header { &LOCAL_HEADER } else { &[] };
        let connection = || async {
            let mut stream = self.ports.connect(*target, *from).await?;
            stream.write_all(introduction).await?;
            io::Result::Ok(stream)
        };
        let host = |host: &Option<String>| host.clone().unwrap_or_else(|| target.to_string());
        let result = match kind {
            ProbeKind::None => Ok(()),
            ProbeKind::Tcp => connection().await.map(|_open| Ok(()))?,
            ProbeKind::Http(probe) => http::get(&mut connection().await?, probe, &host(&probe.host)).await?,
            ProbeKind::Https(probe, tls) => {
                let stream = connection().await?;
                let mut stream = self.trust.open(stream, tls, probe.host.as_deref(), *target).await?;
                http::get(&mut stream, probe, &host(&probe.host)).await?
            }
            ProbeKind::Udp(probe) => {
                udp::ask(&self.ports.datagrams(*target, *from).await?, introduction, probe).await?
            }
            ProbeKind::Dns(probe) => {
                let [first, second, ..] = self.token().to_be_bytes();
                let id = u16::from_be_bytes([first, second]);
                dns::ask(&self.ports.datagrams(*target, *from).await?, introduction, probe, id).await?
            }
            ProbeKind::Icmp => icmp::ask(target.ip(), *from, self.token()).await?,
            ProbeKind::Script { command } => {
                script::run(command, question.service.as_deref().unwrap_or_default(), *target).await?
            }
            ProbeKind::Agent => return agent::ask(&mut connection().await?).await,
        };
        Ok(result.into())
    }

    /// A number that nobody else can tell and that does not come again soon.
    fn token(&self) -> u64 {
        self.random.hash_one(self.asked.fetch_add(1, Ordering::Relaxed))
    }
}

/// The result of a probe that nothing has answered in time.
fn on_silence(kind: &ProbeKind) -> ProbeResult {
    if kind.takes_silence_for_success() { Ok(()) } else { Err(ProbeFailure::Timeout) }
}

/// What an error says about the backend.
///
/// # Errors
///
/// If it says nothing about the backend: the error itself.
fn classify(error: io::Error) -> io::Result<ProbeFailure> {
    use io::ErrorKind as Kind;
    if let Some(failure) = tls::failure(&error) {
        return Ok(ProbeFailure::Tls(failure));
    }
    let local =
        [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL, Errno::ADDRINUSE];
    if error.raw_os_error().is_some_and(|code| local.iter().any(|errno| errno.raw_os_error() == code)) {
        return Err(error);
    }
    Ok(match error.kind() {
        // Not the operating system's, which says so with a number: see `tls` and `script`.
        Kind::InvalidInput if error.raw_os_error().is_none() => return Err(error),
        Kind::ConnectionRefused => ProbeFailure::Refused,
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe | Kind::UnexpectedEof => {
            ProbeFailure::Closed
        }
        Kind::TimedOut => ProbeFailure::Timeout,
        _ => ProbeFailure::Unreachable,
    })
}
