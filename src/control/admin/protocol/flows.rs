//! Flows, as they are shown.

use serde::Deserialize;
use serde::Serialize;

/// Some of the flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// See above.
    pub flows: Vec<FlowStatus>,
    /// There are more.
    pub truncated: bool,
    /// Workers that did not answer in time; their flows are missing.
    pub silent_workers: Vec<u16>,
}

/// A flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowStatus {
    /// Of this service.
    pub service: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The client.
    pub client: String,
    /// Where it connected to.
    pub vip: String,
    /// The address and port that replace the client's; the client's own where nothing is replaced.
    pub local: String,
    /// The backend.
    pub backend: String,
    /// Where it is in its life.
    pub state: String,
    /// It is not on the backend that its packets name.
    #[serde(default)]
    pub displaced: bool,
    /// Since its last packet.
    pub idle_seconds: u32,
    /// Until it expires if no packet comes.
    pub expires_seconds: u32,
    /// Whose table it is in.
    pub worker: u16,
}
