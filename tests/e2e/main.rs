//! The program end to end: real clients and servers in network namespaces, real packets through real ports.
//!
//! Every test lays a lab of its own with `scripts/lab`, which alone knows the topology, and runs the binary in it;
//! load over shared memory needs no lab. They run one after the other, because each wants the machine's cores. They need
//! root; without it they say so and pass.
#![allow(clippy::unwrap_used, reason = "all of this runs inside tests")]

mod announcing;
mod arms;
mod balancer;
mod bare;
mod checks;
mod client;
mod configuration;
mod connection;
mod direct_routing;
mod drain;
mod flood;
mod floods;
mod fragments;
mod guest;
mod health;
mod lab;
mod leaving;
mod memif;
mod path_mtu;
mod poller;
mod pressure;
mod process;
mod proxy;
mod raw_socket;
mod readme;
mod reload;
mod standby;
mod syn_proxy;
mod toa;
mod traffic;
mod tunnel;
mod wait;
