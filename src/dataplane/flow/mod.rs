//! Flows: their table, its index, their expiry, the TCP states.

mod entry;
mod expiry;
mod family;
mod index;
mod sequence;
mod stream;
mod table;
mod tags;
pub mod tcp;
mod udp;
mod worth;

pub use entry::{FlowEntry, FlowId, Generation, NewFlow, SettledRange};
pub use expiry::{Tick, TimeoutTicks};
pub use family::{FlowFamily, Flows};
pub use sequence::Reset;
pub use stream::{Handshake, Stream, Tasks};
pub use table::{FlowTable, Guess, Scan};
pub use worth::{Victim, Worth};
