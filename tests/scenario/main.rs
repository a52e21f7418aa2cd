//! Scenarios: the real workers over memory ports, in virtual time, judged by etherparse.
#![allow(clippy::unwrap_used, reason = "all of this runs inside tests")]
#![expect(unreachable_pub, reason = "a test binary has no outside")]

mod access;
mod admission;
mod allocations;
mod blind;
mod bursts;
mod chores;
mod conservation;
mod dead;
mod direct_routing;
mod fast_path;
mod faults;
mod fragments;
mod full_nat;
mod handoff;
mod icmp;
mod icmp_message;
mod icmp_sent;
mod jumbo;
mod lab;
mod lifetime;
mod limits;
mod listing;
mod mss;
mod one_packet;
mod packet;
mod persistence;
mod pieces;
mod pressure;
mod proxy;
mod punts;
mod refusal;
mod resets;
mod return_port;
mod schedulers;
mod sessions;
mod syn_flood;
mod syn_proxy;
mod tcp_end;
mod tcp_peer;
mod toa;
mod toa_reader;
mod tunnel;
mod tunnel_error;
mod unavailable;
