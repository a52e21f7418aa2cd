//! Announcing against the real kernel. Needs root: every test makes a network namespace.

mod kernel_support;

use std::collections::BTreeSet;
use std::net::IpAddr;

use evenkeel::control::announce::{AnnounceRequest, Announced, Announcer};
use kernel_support::{
    OURS, Running, THEIRS, arp_request, eventually_async, in_namespace_async, is_arp, shell, side,
};

fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| text.parse().expect("a literal")).collect()
}

/// The addresses of the interface that are not link-local, sorted.
fn carried() -> Vec<String> {
    let shown = shell("ip -o address show dev ek0");
    let address = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
    let mut carried: Vec<String> =
        shown.lines().filter_map(address).filter(|a| !a.starts_with("fe80")).collect();
    carried.sort();
    carried
}

#[test]
fn the_interface_carries_exactly_what_is_wanted_and_keeps_what_others_added() {
    in_namespace_async(|| async {
        let side = side(&["192.0.2.10/24", "2001:db8::10/64"]);
        let running = Running::start(&side);
        let mut announcer =
            Announcer::open(std::slice::from_ref(&side), running.outbox.clone()).await.unwrap();
        assert_eq!(carried(), ["192.0.2.10/24", "2001:db8::10/64"]);
        assert!(shell("ip link show ek0").contains("UP"));
        assert_eq!(shell("cat /proc/sys/net/ipv4/conf/ek0/rp_filter"), "2\n");
        assert_eq!(shell("cat /proc/sys/net/ipv6/conf/ek0/accept_ra"), "0\n");
        shell("ip address add 198.51.100.1/32 dev ek0");

        let wanted = Announced {
            vips: addresses(&["203.0.113.80", "2001:db8::80"]),
            local_addresses: addresses(&["192.0.2.20", "2001:db8::20"]),
        };
        for _ in 0..2 {
            assert_eq!(announcer.set(&wanted).await, []);
            assert_eq!(
                carried(),
                [
                    "192.0.2.10/24",
                    "192.0.2.20/32",
                    "198.51.100.1/32",
                    "2001:db8::10/64",
                    "2001:db8::20/128",
                    "2001:db8::80/128",
                    "203.0.113.80/32",
                ],
            );
        }
        let v6 = shell("ip -6 -o address show dev ek0 to 2001:db8::80");
        assert!(v6.contains("nodad") && v6.contains("deprecated") && !v6.contains("tentative"), "{v6}");
        assert!(!shell("ip -6 route show table main").contains("2001:db8::80"));

        let fewer = Announced { vips: addresses(&["203.0.113.80"]), ..Announced::default() };
        assert_eq!(announcer.set(&fewer).await, []);
        assert_eq!(carried(), ["192.0.2.10/24", "198.51.100.1/32", "2001:db8::10/64", "203.0.113.80/32"]);
        assert_eq!(announcer.set(&Announced::default()).await, []);
        assert_eq!(carried(), ["192.0.2.10/24", "198.51.100.1/32", "2001:db8::10/64"]);
    });
}

#[test]
fn a_vip_is_announced_when_added_and_answered_for() {
    in_namespace_async(|| async {
        let side = side(&["192.0.2.10/24", "2001:db8::10/64"]);
        let running = Running::start(&side);
        let mut announcer =
            Announcer::open(std::slice::from_ref(&side), running.outbox.clone()).await.unwrap();
        let wanted = Announced { vips: addresses(&["203.0.113.80", "2001:db8::80"]), ..Announced::default() };
        assert_eq!(announcer.set(&wanted).await, []);

        let gratuitous = || running.next_injection(|frame| is_arp(frame, 1, [203, 0, 113, 80]));
        let frame = eventually_async("gratuitous ARP", gratuitous).await;
        assert_eq!((&frame[..6], &frame[6..12]), (&[0xff; 6][..], &OURS.0[..]));
        let advertisement = || running.next_injection(|frame| frame.len() == 86 && frame[54] == 136);
        let frame = eventually_async("unsolicited advertisement", advertisement).await;
        assert_eq!(frame[77], 0x80, "the last octet of the target");

        running.punt(&arp_request([192, 0, 2, 1], [203, 0, 113, 80]));
        let reply = || running.next_injection(|frame| is_arp(frame, 2, [192, 0, 2, 1]));
        assert_eq!(eventually_async("ARP reply for the VIP", reply).await[22..28], OURS.0);

        // Neighbour solicitation from 2001:db8::1 for the VIP, to its solicited-node address.
        let [from, vip]: [std::net::Ipv6Addr; 2] =
            ["2001:db8::1", "2001:db8::80"].map(|text| text.parse().unwrap());
        let to: std::net::Ipv6Addr = "ff02::1:ff00:80".parse().unwrap();
        let payload = [&vip.octets()[..], &[1, 1], &THEIRS.0].concat();
        let solicitation = etherparse::Icmpv6Type::Unknown { type_u8: 135, code_u8: 0, bytes5to8: [0; 4] };
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ethernet2(THEIRS.0, [0x33, 0x33, 0xff, 0, 0, 0x80])
            .ipv6(from.octets(), to.octets(), 255)
            .icmpv6(solicitation)
            .write(&mut frame, &payload)
            .unwrap();
        running.punt(&frame);
        let solicited = |frame: &[u8]| frame.len() == 86 && frame[54] == 136 && frame[58] & 0x40 != 0;
        let reply = eventually_async("solicited advertisement", || running.next_injection(solicited)).await;
        assert_eq!(reply[80..86], OURS.0);
    });
}

#[test]
fn the_kernel_does_not_take_a_vip_as_its_own_source() {
    in_namespace_async(|| async {
        let side = side(&["192.0.2.10/24", "2001:db8::10/64"]);
        let running = Running::start(&side);
        let mut announcer =
            Announcer::open(std::slice::from_ref(&side), running.outbox.clone()).await.unwrap();
        let wanted = Announced {
            vips: addresses(&["192.0.2.5", "2001:db8::5"]),
            local_addresses: addresses(&["10.0.8.10", "fd00:8::10"]),
        };
        assert_eq!(announcer.set(&wanted).await, []);
        shell("ip route add 10.0.0.0/8 dev ek0; ip route add default via 192.0.2.1");
        shell("ip -6 route add fd00::/8 via 2001:db8::1");
        for (destination, source) in [
            ("192.0.2.99", "192.0.2.10"),
            ("10.0.9.1", "192.0.2.10"),
            ("198.51.100.1", "192.0.2.10"),
            ("2001:db8::99", "2001:db8::10"),
            ("fd00:9::1", "2001:db8::10"),
        ] {
            let route = shell(&format!("ip route get {destination}"));
            assert!(route.contains(&format!("src {source} ")), "{destination}: {route}");
        }
    });
}

#[test]
fn addresses_that_others_removed_come_back_and_failures_are_reported_per_address() {
    in_namespace_async(|| async {
        let side = side(&["192.0.2.10/24"]);
        let running = Running::start(&side);
        let announcer = Announcer::open(std::slice::from_ref(&side), running.outbox.clone()).await.unwrap();
        let (requests, served) = tokio::sync::mpsc::channel(1);
        let task = tokio::spawn(announcer.run(served));
        let ask = async |vips| {
            let (reply, answer) = tokio::sync::oneshot::channel();
            let wanted = Announced { vips: addresses(vips), ..Announced::default() };
            requests.send(AnnounceRequest { wanted, reply }).await.unwrap();
            answer.await.unwrap()
        };
        let failures = ask(&["203.0.113.80", "224.0.0.9"]).await;
        let bad: IpAddr = "224.0.0.9".parse().unwrap();
        assert_eq!(failures.len(), 1, "{failures:?}");
        assert_eq!((failures[0].address, failures[0].interface.as_str()), (bad, "ek0"));
        assert!(carried().contains(&"203.0.113.80/32".to_owned()));

        // The failed address makes it look again every second.
        shell("ip address flush dev ek0");
        eventually_async("back", || (carried() == ["192.0.2.10/24", "203.0.113.80/32"]).then_some(())).await;
        assert_eq!(ask(&[]).await, []);
        assert_eq!(carried(), ["192.0.2.10/24"]);
        drop(requests);
        task.await.unwrap();
    });
}

#[test]
fn ipv6_stays_disabled_on_an_interface_without_ipv6_addresses() {
    in_namespace_async(|| async {
        shell("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
        let side = side(&["192.0.2.10/24"]);
        let running = Running::start(&side);
        let mut announcer =
            Announcer::open(std::slice::from_ref(&side), running.outbox.clone()).await.unwrap();
        let disabled = || shell("cat /proc/sys/net/ipv6/conf/ek0/disable_ipv6");
        let v4 = Announced { vips: addresses(&["203.0.113.80"]), ..Announced::default() };
        assert_eq!(announcer.set(&v4).await, []);
        assert_eq!(disabled(), "1\n");
        let v6 = Announced { vips: addresses(&["2001:db8:80::80"]), ..Announced::default() };
        assert_eq!(announcer.set(&v6).await, []);
        assert_eq!(disabled(), "0\n");
        assert!(carried().contains(&"2001:db8:80::80/128".to_owned()));
    });
}
