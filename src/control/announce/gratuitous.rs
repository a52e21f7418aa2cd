//! Frames that tell neighbours where an address lives now: gratuitous ARP and unsolicited neighbour advertisements.
//!
//! The kernel sends its own only when an interface comes up, not when an address is added.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use etherparse::ArpHardwareId;
use etherparse::ArpOperation;
use etherparse::ArpPacket;
use etherparse::EtherType;
use etherparse::Icmpv6Type;
use etherparse::PacketBuilder;
use etherparse::icmpv6::NeighborAdvertisementHeader;

use crate::model::Mac;

/// The frame that announces `address` at `mac` to everyone on the link.
pub(super) fn announcement(mac: Mac, address: IpAddr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(96);
    let written = match address {
        IpAddr::V4(address) => {
            let arp = announcement_arp(mac, address);
            PacketBuilder::ethernet2(mac.0, BROADCAST).arp(arp).write(&mut frame)
        }
        IpAddr::V6(address) => {
            // RFC 4861, section 7.2.6: to all nodes, override flag set, target link-layer address included. Hop
            // limit: section 4.4.
            let header = NeighborAdvertisementHeader { router: false, solicited: false, r#override: true };
            let payload = advertisement_payload(mac, address);
            PacketBuilder::ethernet2(mac.0, ALL_NODES_MAC)
                .ipv6(address.octets(), ALL_NODES.octets(), 255)
                .icmpv6(Icmpv6Type::NeighborAdvertisement(header))
                .write(&mut frame, &payload)
        }
    };
    written.expect("writing to a vector works, and both lengths are constants in range");
    frame
}

/// RFC 5227, section 2.3: an ARP announcement is a request whose sender and target address are both the announced
/// one.
fn announcement_arp(mac: Mac, address: Ipv4Addr) -> ArpPacket {
    let ip = address.octets();
    ArpPacket::new(ArpHardwareId::ETHERNET, EtherType::IPV4, ArpOperation::REQUEST, &mac.0, &ip, &[0; 6], &ip)
        .expect("the lengths of hardware and protocol addresses match in both halves")
}

/// The target address, then the option "target link-layer address": type 2, length 1 (in units of 8 octets).
fn advertisement_payload(mac: Mac, target: Ipv6Addr) -> [u8; 24] {
    let mut payload = [0; 24];
    payload[..16].copy_from_slice(&target.octets());
    payload[16..18].copy_from_slice(&[2, 1]);
    payload[18..].copy_from_slice(&mac.0);
    payload
}

const BROADCAST: [u8; 6] = [0xff; 6];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// RFC 2464, section 7.
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

    #[test]
    fn a_gratuitous_arp_is_a_request_for_the_address_it_comes_from() {
        let frame = announcement(MAC, "192.0.2.80".parse().unwrap());
        let expected: [u8; 42] = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 8, 6, // Ethernet
            0, 1, 8, 0, 6, 4, 0, 1, // ARP request, Ethernet and IPv4
            2, 0, 0, 0, 0, 9, 192, 0, 2, 80, // sender
            0, 0, 0, 0, 0, 0, 192, 0, 2, 80, // target
        ];
        assert_eq!(frame, expected);
    }

    #[test]
    fn an_unsolicited_advertisement_overrides_and_carries_the_link_layer_address() {
        let frame = announcement(MAC, "2001:db8::80".parse().unwrap());
        assert_eq!(frame.len(), 14 + 40 + 32);
        assert_eq!(&frame[..14], [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x86, 0xdd]);
        assert_eq!((frame[14 + 6], frame[14 + 7]), (58, 255), "ICMPv6 with hop limit 255");
        let icmp = &frame[54..];
        assert_eq!((icmp[0], icmp[1], icmp[4]), (136, 0, 0x20), "neighbour advertisement, override");
        assert_eq!(&icmp[24..], [2, 1, 2, 0, 0, 0, 0, 9]);
        let ip = etherparse::Ipv6Header::from_slice(&frame[14..]).unwrap().0;
        let parsed = etherparse::Icmpv6Slice::from_slice(icmp).unwrap();
        assert!(parsed.is_checksum_valid(ip.source, ip.destination));
    }
}
