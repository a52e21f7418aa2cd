//! evenkeel, a layer-4 load balancer: a poll-mode packet processor with full NAT and consistent hashing.
//!
//! The map, from the bottom up; a module names only what stands below it (`tests/architecture.rs` keeps that):
//!
//! | module | holds | names |
//! |---|---|---|
//! | [`model`] | values: addresses, five-tuples, identifiers | nothing |
//! | [`wire`] | packets as bytes: parsing, checksums, rewriting, crafting | `model` |
//! | [`hash`] | Maglev, the keyed index hash, the choice hash | `model` |
//! | [`config`] | the configuration file, read and checked | `model` |
//! | [`shared`] | what crosses between the planes: snapshot, next hops, counters, rings | `model`, `hash` |
//! | [`io`] | frames and ports: memory, capture files, DPDK | `model` |
//! | [`dataplane`] | the worker: flows, leases, the pipeline, THE LOOP | all but `config`, `control` |
//! | [`control`] | health, tables, neighbours, the kernel port, the control socket | all but `dataplane` |
//! | [`app`] | command line and launch; the only place where all meet | everything |
//!
//! Start reading at [`dataplane::worker`]: the loop fits on a screen.

// `println!` and its kin panic when nothing reads them: what is written is written by calls whose result is looked at.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod app;
pub mod config;
pub mod control;
pub mod dataplane;
pub mod hash;
pub mod io;
pub mod model;
pub mod shared;
pub mod wire;
