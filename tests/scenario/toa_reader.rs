//! What a backend's module reads of the client's address: a reader of its own, over what etherparse says the options are.

use std::net::{IpAddr, SocketAddr};

use etherparse::{SlicedPacket, TransportSlice};

use crate::packet::decode;

/// The kind that the scenarios use.
pub const KIND: u8 = 254;

/// The options of a frame, whose checksums are judged first.
#[track_caller]
pub fn options(frame: &[u8]) -> Vec<u8> {
    decode(frame);
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("{frame:x?}") };
    tcp.options().to_vec()
}

/// Every client that the options name, in their order, wherever a reader could look: it walks on behind the end of the list
/// as if that were nothing.
#[track_caller]
pub fn clients(frame: &[u8]) -> Vec<SocketAddr> {
    let options = options(frame);
    let mut found = Vec::new();
    let mut rest = &options[..];
    while let [kind, behind @ ..] = rest {
        if *kind <= 1 {
            rest = behind;
            continue;
        }
        let Some(value) = behind.first().and_then(|length| rest.get(2..usize::from(*length))) else { break };
        if *kind == KIND {
            found.push(client(value));
        }
        rest = &rest[value.len() + 2..];
    }
    found
}

/// The client that a frame names in its first option, and nowhere else.
#[track_caller]
pub fn named(frame: &[u8]) -> Option<SocketAddr> {
    let clients = clients(frame);
    assert!(clients.len() <= 1, "{clients:?}");
    if !clients.is_empty() {
        assert_eq!(options(frame)[0], KIND, "receivers take the first one");
    }
    clients.first().copied()
}

fn client(value: &[u8]) -> SocketAddr {
    let (port, address) = value.split_first_chunk::<2>().expect("a port");
    let address = match *address {
        [a, b, c, d] => IpAddr::from([a, b, c, d]),
        _ => IpAddr::from(<[u8; 16]>::try_from(address).expect("an address of either family")),
    };
    SocketAddr::new(address, u16::from_be_bytes(*port))
}
