//! The control plane: everything that is not done per packet.
//!
//! [`state`] decides and does nothing else: events and the time go in, [`state::Effect`]s come out. [`mod@run`] is the
//! loop that feeds it and does what it says, on one thread, without ever waiting for a worker. [`health`] probes
//! backends, [`tables`] turns the state into what workers decide by, [`admin`] answers questions. Towards the kernel:
//! [`kernel_port`] exchanges frames with it, [`announce`] gives it our addresses, [`neighbours`] mirrors its routes.

pub mod admin;
pub mod announce;
pub mod announcements;
mod backend;
pub mod change;
mod child;
pub mod difference;
pub mod drain;
pub mod event;
mod file_limit;
mod free_ids;
pub mod health;
pub mod hooks;
mod identity;
pub mod kernel_port;
pub mod ledger;
mod lookups;
pub mod neighbours;
pub mod network;
mod off_loop;
mod persistence_ids;
pub mod port_watch;
pub mod pressure;
mod pressure_watch;
pub mod probe_counts;
pub mod publication;
pub mod registry;
pub mod reload;
mod review;
pub mod run;
mod selection;
mod service_manager;
pub mod signals;
pub mod state;
pub mod step_times;
mod strain_watch;
pub mod suspicion;
mod syn_watch;
pub mod tables;
mod transition;
mod unpublished;
pub mod workers;
