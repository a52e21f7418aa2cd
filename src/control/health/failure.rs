//! The names of the ways a probe can fail. Logs and listings use them.

use std::fmt;

use crate::config::Rcode;

/// Why a probe failed.
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
    /// The answer does not follow its protocol; for HTTP also a head longer than 16 KiB.
    Malformed,
    /// The connection was closed before the answer was complete.
    Closed,
    /// The expected text is not in the answer; for HTTP, not in the first 64 KiB of the body.
    Mismatch,
    /// No TLS session.
    Tls(TlsFailure),
    /// The DNS server answered with this code, which is not the expected one.
    Rcode(Rcode),
    /// The script ended with this status, which is not 0.
    Exit(u8),
    /// The script was ended by this signal.
    Killed(u8),
    /// The agent says that the backend is down.
    Agent,
    /// Clients' handshakes fail: their SYNs are not answered, or with a RST.
    Handshakes,
}

/// Why there is no TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsFailure {
    /// The certificate is past its time.
    Expired,
    /// The certificate's time has not come.
    NotYetValid,
    /// No authority that is trusted has signed the certificate.
    UnknownIssuer,
    /// The certificate is another name's.
    WrongName,
    /// The server's certificate is that of an authority (basicConstraints CA:TRUE), as self-signed ones often are; make it
    /// without.
    Authority,
    /// The certificate is invalid in another way.
    Certificate,
    /// The two sides do not agree, or the other does not speak TLS.
    Handshake,
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
            Self::Mismatch => f.write_str("mismatch"),
            Self::Tls(failure) => write!(f, "tls={failure}"),
            Self::Rcode(code) => write!(f, "rcode={code}"),
            Self::Exit(status) => write!(f, "exit={status}"),
            Self::Killed(signal) => write!(f, "signal={signal}"),
            Self::Agent => f.write_str("agent_down"),
            Self::Handshakes => f.write_str("handshakes"),
        }
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "certificate_expired",
            Self::NotYetValid => "certificate_not_yet_valid",
            Self::UnknownIssuer => "certificate_unknown_issuer",
            Self::WrongName => "certificate_wrong_name",
            Self::Authority => "certificate_has_ca_true",
            Self::Certificate => "certificate_invalid",
            Self::Handshake => "handshake_failed",
        })
    }
}
