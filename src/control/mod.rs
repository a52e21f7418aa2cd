//! Control plane.

pub mod announce;
pub mod kernel_port;
pub mod neighbours;
