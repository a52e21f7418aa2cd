//! What becomes of a frame. Each ends in exactly one verdict.

use super::flow::FlowId;
use super::fragments::FragmentKey;
use crate::model::{Direction, PortId, WorkerId};
use crate::shared::{DropReason, PuntClass};
use crate::wire::Malformed;
use crate::wire::craft::Refusal;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Rewritten; leaves by this port.
    Forward(PortId),
    /// Leaves by this port in pieces of so many octets of IP packet at most. Rewritten, but for what `Pipeline::pieces` says
    /// is to be done to each.
    Split(PortId, u16),
    /// Turned into the news, for a client, that its backend has answered our SYN; leaves by this port. The backend is owed
    /// an acknowledgement on this flow.
    Connect(PortId, FlowId),
    /// Rewritten; leaves by this port, in pieces if a size is given, behind a segment that carries the PROXY header of its
    /// flow.
    Behind(PortId, Option<u16>, FlowId),
    /// Turned into its own answer; leaves by the port it came in by, within a rate.
    Reply,
    /// For the kernel's side of the port it came in by.
    Punt(PuntClass),
    /// Another worker's flow.
    Handoff(WorkerId),
    /// Waits for the first fragment of its packet.
    Hold(FragmentKey),
    /// Goes no further.
    Drop(DropReason),
    /// Goes no further, and its sender is told.
    Refuse(DropReason, Refusal),
    /// Goes no further, and its flow, which it was of in this direction, must end: both sides are told.
    Kill(FlowId, Direction),
}

impl Verdict {
    /// Why the frame goes no further.
    pub(super) const fn reason(self) -> Option<DropReason> {
        match self {
            Self::Drop(reason) | Self::Refuse(reason, _) => Some(reason),
            Self::Forward(_)
            | Self::Split(..)
            | Self::Connect(..)
            | Self::Behind(..)
            | Self::Reply
            | Self::Punt(_)
            | Self::Handoff(_)
            | Self::Hold(_)
            | Self::Kill(..) => None,
        }
    }
}

impl From<Malformed> for DropReason {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::FrameTruncated => Self::FrameTruncated,
            Malformed::IpHeader => Self::IpHeaderInvalid,
            Malformed::IpChecksum => Self::IpChecksumWrong,
            Malformed::IpTruncated => Self::IpTruncated,
            Malformed::TransportHeader => Self::TransportHeaderInvalid,
            Malformed::TcpFlags => Self::TcpFlagsInvalid,
            Malformed::SourceRoute => Self::SourceRoute,
            Malformed::ExtensionHeaders => Self::ExtensionHeadersTooDeep,
        }
    }
}
