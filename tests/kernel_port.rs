//! The kernel port against the real kernel. Needs root: every test makes a network namespace.

mod kernel_support;

use evenkeel::control::announce::Announcer;
use evenkeel::control::kernel_port::{KernelPort, KernelPortError, SideTotals};
use evenkeel::model::PortId;
use evenkeel::shared::PuntClass;
use evenkeel::shared::rings::{FRAME_RING, PortFrame, PuntRings};
use kernel_support::{
    OURS, Running, THEIRS, arp_request, eventually, eventually_async, in_namespace, in_namespace_async,
    is_arp, shell, side,
};

fn totals(running: &Running) -> SideTotals {
    running.counters.totals().next().expect("one side was started").1
}

#[test]
fn the_tap_has_the_ports_mac_and_mtu_and_dies_with_the_thread() {
    in_namespace(|| {
        let mut running = Running::start(&side(&[]));
        let features = shell("ip -d link show ek0");
        assert!(features.contains("type tap") && features.contains("persist off"), "{features}");
        let shown = shell("ip link show ek0");
        assert!(shown.contains("mtu 1400") && shown.contains("02:00:00:00:00:10"), "{shown}");
        running.stop();
        assert!(!shell("ip link").contains("ek0"));
    });
}

#[test]
fn a_name_in_use_is_refused_and_the_interface_left_alone() {
    in_namespace(|| {
        shell("ip tuntap add ek0 mode tap");
        let error = KernelPort::open(&[side(&[])]).unwrap_err();
        assert!(matches!(error, KernelPortError::NameTaken { .. }), "{error}");
        assert!(shell("ip link").contains("ek0"));
    });
}

#[test]
fn the_kernel_answers_arp_and_ping_on_the_ports_address() {
    in_namespace_async(|| async {
        let side = side(&["192.0.2.10/24"]);
        let running = Running::start(&side);
        let _announcer = Announcer::open(std::slice::from_ref(&side), running.outbox.clone()).await.unwrap();

        running.punt(&arp_request([192, 0, 2, 1], [192, 0, 2, 10]));
        let reply = eventually_async("ARP reply", || {
            running.next_injection(|frame| is_arp(frame, 2, [192, 0, 2, 1]))
        })
        .await;
        assert_eq!(reply[..6], THEIRS.0, "to the one that asked");
        assert_eq!(reply[22..28], OURS.0, "the port's MAC address");

        let mut ping = Vec::new();
        etherparse::PacketBuilder::ethernet2(THEIRS.0, OURS.0)
            .ipv4([192, 0, 2, 1], [192, 0, 2, 10], 64)
            .icmpv4_echo_request(7, 1)
            .write(&mut ping, b"evenkeel")
            .unwrap();
        running.punt(&ping);
        let pong = eventually_async("echo reply", || {
            running.next_injection(|frame| frame.len() == ping.len() && frame[34] == 0)
        })
        .await;
        assert_eq!(pong[..6], THEIRS.0);
        assert_eq!(pong[42..], *b"evenkeel");
        let moved = totals(&running);
        assert_eq!((moved.to_kernel, moved.originated), (2, 1), "{moved:?}");
        assert!(moved.from_kernel >= 2, "{moved:?}");
    });
}

#[test]
fn frames_of_the_kernel_have_complete_checksums_and_fit_the_mtu() {
    in_namespace_async(|| async {
        let side = side(&["192.0.2.10/24"]);
        let running = Running::start(&side);
        let _announcer = Announcer::open(std::slice::from_ref(&side), running.outbox.clone()).await.unwrap();
        shell("ip neigh replace 192.0.2.1 lladdr 02:00:00:00:00:20 dev ek0 nud permanent");
        let socket = std::net::UdpSocket::bind("192.0.2.10:0").unwrap();
        socket.send_to(&[0xa5; 5000], "192.0.2.1:9").unwrap();
        socket.send_to(b"checksum", "192.0.2.1:9").unwrap();
        let is_udp = |frame: &[u8]| frame.len() > 34 && frame[12..14] == [8, 0] && frame[23] == 17;
        for _ in 0..5 {
            let frame = eventually_async("datagram", || running.next_injection(is_udp)).await;
            assert!(frame.len() <= 1400 + 14);
            let packet = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(etherparse::NetSlice::Ipv4(ip)) = &packet.net else { panic!("not IPv4") };
            assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
            if let Some(etherparse::TransportSlice::Udp(udp)) = &packet.transport {
                let computed = udp.to_header().calc_checksum_ipv4(&ip.header().to_header(), udp.payload());
                assert_eq!(udp.checksum(), computed.unwrap());
            }
        }
    });
}

#[test]
fn a_worker_that_is_behind_loses_frames_that_are_counted() {
    in_namespace_async(|| async {
        let side = side(&["192.0.2.10/24"]);
        let running = Running::start(&side);
        let _announcer = Announcer::open(std::slice::from_ref(&side), running.outbox.clone()).await.unwrap();
        shell("ip neigh replace 192.0.2.1 lladdr 02:00:00:00:00:20 dev ek0 nud permanent");
        let socket = std::net::UdpSocket::bind("192.0.2.10:0").unwrap();
        // Nobody takes frames from the worker's ring.
        eventually_async("full ring", || {
            socket.send_to(b"more", "192.0.2.1:9").unwrap();
            (totals(&running).ring_full > 0).then_some(())
        })
        .await;
        assert_eq!(running.rings.injections[1].len(), FRAME_RING);
    });
}

#[test]
fn an_empty_pool_and_what_the_kernel_refuses_are_counted_and_stop_nothing() {
    in_namespace_async(|| async {
        let side = side(&["192.0.2.10/24"]);
        let running = Running::start(&side);
        running.punt(&arp_request([192, 0, 2, 1], [192, 0, 2, 10]));
        eventually_async("interface down", || (totals(&running).tap_error == 1).then_some(())).await;

        let _announcer = Announcer::open(std::slice::from_ref(&side), running.outbox.clone()).await.unwrap();
        running.punt(&[1, 2, 3]);
        eventually_async("not a frame", || (totals(&running).tap_error == 2).then_some(())).await;
        let stray = PortFrame { port: PortId(5), frame: running.pool.frame(&[0; 60]).unwrap() };
        running.rings.punts.push(PuntClass::Other, stray).unwrap();
        eventually_async("no such side", || (running.counters.stray() == 1).then_some(())).await;

        running.punt(&arp_request([192, 0, 2, 1], [192, 0, 2, 10]));
        while running.next_injection(|_| false).is_some() {}
        let hoard: Vec<_> = std::iter::from_fn(|| running.pool.frame(&[0])).collect();
        let before = totals(&running).no_buffer;
        assert!(running.outbox.send(PortId(0), vec![0; 60]));
        eventually_async("empty pool", || (totals(&running).no_buffer > before).then_some(())).await;
        drop(hoard);
        assert!(running.outbox.send(PortId(0), vec![0; 4000]));
        eventually_async("oversized", || (totals(&running).oversized == 1).then_some(())).await;
        running.punt(&arp_request([192, 0, 2, 1], [192, 0, 2, 10]));
        let reply = || running.next_injection(|frame| is_arp(frame, 2, [192, 0, 2, 1]));
        eventually_async("still working", reply).await;
    });
}

#[test]
fn an_interface_that_takes_nothing_for_a_while_costs_its_punts_and_holds_nobody_up() {
    in_namespace_async(|| async {
        let side = side(&["192.0.2.10/24"]);
        let running = Running::start(&side);
        let _announcer = Announcer::open(std::slice::from_ref(&side), running.outbox.clone()).await.unwrap();
        let request = arp_request([192, 0, 2, 1], [192, 0, 2, 10]);
        let answered = || running.next_injection(|frame| is_arp(frame, 2, [192, 0, 2, 1]));
        running.punt(&request);
        eventually_async("an answer", answered).await;
        while running.next_injection(|_| false).is_some() {}

        let base =
            eventually_async("rest", || running.rings.punts.is_empty().then(|| running.pool.available()))
                .await;
        let before = totals(&running).tap_error;
        shell("ip link set ek0 down");
        let more = 5 * FRAME_RING;
        for _ in 0..more {
            // A worker drops what finds no room; here all of it is to get to the interface.
            eventually("room in the ring", || {
                (running.rings.punts.len() < PuntRings::<()>::capacity(PuntClass::Other) / 2).then_some(())
            });
            running.punt(&request);
        }
        eventually_async("all are counted", || {
            (totals(&running).tap_error == before + more as u64).then_some(())
        })
        .await;
        eventually_async("all buffers are back", || (running.pool.available() == base).then_some(())).await;
        assert!(!totals(&running).lost, "it is only down");

        shell("ip link set ek0 up");
        eventually_async("an answer again", || {
            running.punt(&request);
            answered()
        })
        .await;
    });
}

#[test]
fn a_deleted_interface_is_reported_and_the_thread_goes_on() {
    in_namespace(|| {
        let running = Running::start(&side(&[]));
        shell("ip link delete ek0");
        eventually("lost", || totals(&running).lost.then_some(()));
        running.punt(&[0; 60]);
        eventually("counted", || (totals(&running).tap_error == 1).then_some(()));
    });
}
