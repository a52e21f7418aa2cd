//! Flows as control and operators see them.

use std::fmt;

use crate::model::{BackendId, Cidr, Endpoint, Protocol, ServiceId};

/// Where a flow is in its life. The TCP states follow the common table of IPVS, seen from between both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FlowState {
    /// The client's SYN was forwarded.
    SynSent,
    /// The backend's SYN-ACK was forwarded.
    SynReceived,
    /// The client completed its handshake with us, and the backend has not answered ours.
    Connecting,
    /// The handshake is complete.
    Established,
    /// One side has sent its FIN; the other may still send.
    HalfClosed,
    /// Perhaps over: a side is said to have reset, or, where the client's segments alone come by, the client has sent its
    /// FIN.
    FinWait,
    /// Both sides have sent their FIN; the last acknowledgement is due.
    LastAck,
    /// Closed, and the backend holds TIME_WAIT: the lease rests.
    TimeWait,
    /// Closed or reset, or a datagram of which a part of the answer was forwarded; the lease is free in a second.
    Closed,
    /// UDP: the client has sent one datagram, and the backend one answer at most.
    UdpNew,
    /// UDP after more than that.
    Udp,
    /// UDP, where each datagram is a flow of its own: it was forwarded, and its answer is due.
    Asked,
}

impl FlowState {
    /// The state of a flow at its first packet.
    #[must_use]
    pub const fn first(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::SynSent,
            Protocol::Udp => Self::UdpNew,
        }
    }

    /// A TCP handshake that the client has not completed.
    #[must_use]
    pub const fn is_half_open(self) -> bool {
        matches!(self, Self::SynSent | Self::SynReceived)
    }

    /// Nothing of the connection is to come any more; only its ports rest.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::TimeWait | Self::Closed)
    }

    /// The name in listings and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SynSent => "syn_sent",
            Self::SynReceived => "syn_received",
            Self::Connecting => "connecting",
            Self::Established => "established",
            Self::HalfClosed => "half_closed",
            Self::FinWait => "fin_wait",
            Self::LastAck => "last_ack",
            Self::TimeWait => "time_wait",
            Self::Closed => "closed",
            Self::UdpNew => "udp_new",
            Self::Udp => "udp",
            Self::Asked => "asked",
        }
    }
}

impl fmt::Display for FlowState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One flow, copied out of a worker's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The client.
    pub client: Endpoint,
    /// The VIP and port the client uses.
    pub vip: Endpoint,
    /// The leased local address and port; the client itself where its address is not replaced.
    pub local: Endpoint,
    /// The backend.
    pub backend: Endpoint,
    /// The backend's id.
    pub backend_id: BackendId,
    /// The service.
    pub service: ServiceId,
    /// Where the flow is in its life.
    pub state: FlowState,
    /// It is not on the first target of its packets.
    pub displaced: bool,
    /// Seconds since its last packet.
    pub idle_secs: u32,
    /// Seconds until it expires if no packet comes.
    pub expires_secs: u32,
}

/// Which flows a listing wants; `None` and false want all.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlowFilter {
    /// Of this service.
    pub service: Option<ServiceId>,
    /// On this backend.
    pub backend: Option<BackendId>,
    /// Of clients in this prefix.
    pub client: Option<Cidr>,
    /// Only displaced ones.
    pub displaced: bool,
}

impl FlowFilter {
    /// Whether `record` is wanted.
    #[must_use]
    pub fn matches(&self, record: &FlowRecord) -> bool {
        self.service.is_none_or(|id| id == record.service)
            && self.backend.is_none_or(|id| id == record.backend_id)
            && self.client.is_none_or(|prefix| prefix.contains(record.client.address))
            && (record.displaced || !self.displaced)
    }
}

/// A listing under way: control sends the page down with room for records, the worker fills it from `cursor` within
/// its budget per turn and sends it back; control sends it down again until `done`. So neither side allocates for
/// the other or waits.
#[derive(Debug)]
pub struct FlowPage {
    /// What is wanted.
    pub filter: FlowFilter,
    /// Where the worker goes on; starts at 0.
    pub cursor: u64,
    /// What was found; the worker never grows its capacity.
    pub records: Vec<FlowRecord>,
    /// The whole table was seen.
    pub done: bool,
}

impl FlowPage {
    /// A listing from the start, with room for `records` records a page.
    #[must_use]
    pub fn new(filter: FlowFilter, records: usize) -> Self {
        Self { filter, cursor: 0, records: Vec::with_capacity(records), done: false }
    }
}
