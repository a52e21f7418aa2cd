//! `evenkeel replay` as a user runs it: the real binary over captures made here, its output judged by etherparse and,
//! where it is installed, by tshark.
#![allow(clippy::unwrap_used, reason = "all of this runs inside tests")]
#![allow(dead_code, reason = "the packets of the scenarios have more than this needs")]
#![expect(unreachable_pub, reason = "a test binary has no outside")]

mod bench;
mod captures;
mod check;
mod files;
mod fragments;
mod health;
mod icmp;
#[path = "../scenario/icmp_message.rs"]
mod icmp_message;
mod mistakes;
#[path = "../scenario/packet.rs"]
mod packet;
#[path = "../scenario/pieces.rs"]
mod pieces;
mod scale;
mod services;
mod stateless;
mod time;
mod translation;
mod tshark;

/// What the packets of the scenarios are built with; replay takes every frame as addressed to its port.
mod lab {
    use evenkeel::model::Mac;

    pub const OUR_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    pub const CLIENT_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xc]);
}
