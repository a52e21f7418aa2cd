//! Every kind of port behaves the same: one suite, run on the memory port and on real DPDK devices.
//!
//! A device needs no hardware: a ring, capture files, a pair of interfaces in a network namespace, a TAP, shared
//! memory. Frames of the suite have the EtherType of local experiments, and whatever else an interface brings (the
//! kernel's own chatter) is ignored.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use std::time::Duration;
use std::time::Instant;

use evenkeel::io::BURST;
use evenkeel::io::Burst;
use evenkeel::io::Frame;
use evenkeel::io::HEADROOM;
use evenkeel::io::Port;
use evenkeel::io::mem::MemPort;
use evenkeel::io::mem::Pool;
use evenkeel::io::mem::Wire;

/// Ports, of which one sends what another (or itself) receives.
struct Link<P> {
    ports: Vec<P>,
    from: usize,
    to: usize,
    /// Whether sending without receiving ends in a refusal, and not in a loss elsewhere.
    refuses: bool,
    /// Buffers in use, of all pools together.
    in_use: Box<dyn Fn() -> usize>,
}

fn conforms<P: Port>(link: &mut Link<P>) {
    let base = (link.in_use)();
    a_frame_can_be_edited(link);
    frames_of_every_size_arrive_byte_for_byte(link);
    more_than_a_burst_arrives_in_order(link);
    what_is_received_goes_behind_what_the_burst_holds(link);
    if link.refuses {
        what_a_full_queue_refuses_stays_in_the_burst(link);
    }
    an_empty_pool_fills_again(link);
    wait_until("all buffers are back", || (link.in_use)() == base);
}

fn a_frame_can_be_edited<P: Port>(link: &mut Link<P>) {
    let mut frame = link.ports[link.from].allocate().expect("the pool is full");
    assert_eq!((frame.octets(), frame.head().len()), (0, 0), "a new frame is empty");
    assert!(frame.append(&[1, 2, 3, 4]));
    assert!(frame.prepend(2));
    frame.head_mut()[..2].copy_from_slice(&[8, 9]);
    assert!(frame.append(&[5]));
    assert_eq!(contents(&frame), [8, 9, 1, 2, 3, 4, 5]);
    frame.trim_front(3);
    assert_eq!(contents(&frame), [2, 3, 4, 5]);
    frame.truncate(9);
    assert_eq!(frame.octets(), 4, "truncating to more than there is has no effect");
    frame.truncate(3);
    assert_eq!(contents(&frame), [2, 3, 4]);
    frame.prefetch();

    assert!(frame.prepend(HEADROOM + 1), "3 octets cut, 2 of them added before: 1 more than the headroom");
    assert!(!frame.prepend(1));
    assert_eq!(frame.octets(), HEADROOM + 4);
    frame.trim_front(HEADROOM + 1);
    assert_eq!(contents(&frame), [2, 3, 4], "nothing was changed by the refused prepend");
    frame.trim_front(10_000);
    assert_eq!((frame.octets(), frame.head().len()), (0, 0));
    assert!(!frame.append(&vec![0; 1 << 16]), "larger than any buffer");
    assert_eq!(frame.octets(), 0, "nothing was changed by the refused append");
    frame.truncate(0);
    assert_eq!(contents(&frame), [0_u8; 0]);
}

fn frames_of_every_size_arrive_byte_for_byte<P: Port>(link: &mut Link<P>) {
    let sizes: Vec<usize> = (60..=1514).collect();
    for sizes in sizes.chunks(BURST) {
        let sent: Vec<_> = sizes.iter().map(|&octets| test_frame(octets, 7)).collect();
        send(link, &sent);
        assert_same(&receive(link, sent.len()), &sent);
    }
}

fn more_than_a_burst_arrives_in_order<P: Port>(link: &mut Link<P>) {
    let sent: Vec<_> = (0..3 * BURST + 5).map(|number| test_frame(64, number)).collect();
    send(link, &sent);
    assert_same(&receive(link, sent.len()), &sent);
}

fn what_is_received_goes_behind_what_the_burst_holds<P: Port>(link: &mut Link<P>) {
    let mut burst = Burst::new();
    let held = BURST - 2;
    for number in 0..held {
        burst.push(new_frame(&mut link.ports[link.to], &test_frame(64, 1000 + number)));
    }
    send(link, &[test_frame(64, 1), test_frame(64, 2), test_frame(64, 3)]);
    wait_until("two frames fit behind those held", || {
        link.ports[link.to].receive(&mut burst);
        burst.retain(|frame| is_ours(frame));
        burst.len() == BURST
    });
    let numbers: Vec<_> = burst.iter().map(|frame| number_of(&contents(frame))).collect();
    let expected: Vec<_> = (0..held).map(|number| 1000 + number).chain([1, 2]).collect();
    assert_eq!(numbers, expected);
    link.ports[link.to].receive(&mut burst);
    assert_eq!(burst.len(), BURST, "a full burst stays as it is");
    assert_same(&receive(link, 1), &[test_frame(64, 3)]);
}

fn what_a_full_queue_refuses_stays_in_the_burst<P: Port>(link: &mut Link<P>) {
    let mut next = 0;
    let mut burst = Burst::new();
    let sent = loop {
        while !burst.is_full() {
            burst.push(new_frame(&mut link.ports[link.from], &test_frame(64, next)));
            next += 1;
        }
        let before = burst.len();
        let accepted = link.ports[link.from].transmit(&mut burst);
        assert_eq!(burst.len(), before - accepted, "what is accepted leaves the burst, and nothing else");
        if accepted < before {
            break next - burst.len();
        }
        assert!(next < 100_000, "nothing receives, and nothing is refused");
    };
    let kept: Vec<_> = burst.iter().map(|frame| number_of(&contents(frame))).collect();
    assert_eq!(kept, (sent..next).collect::<Vec<_>>(), "the front was accepted, the rest kept in order");
    let numbers: Vec<_> = receive(link, sent).iter().map(|frame| number_of(frame)).collect();
    assert_eq!(numbers, (0..sent).collect::<Vec<_>>());
    wait_until("there is room again", || {
        link.ports[link.from].transmit(&mut burst);
        burst.is_empty()
    });
    receive(link, next - sent);
}

fn an_empty_pool_fills_again<P: Port>(link: &mut Link<P>) {
    let port = &mut link.ports[link.from];
    let all: Vec<_> = std::iter::from_fn(|| port.allocate()).collect();
    assert!(all.len() > 2 * BURST, "{} buffers", all.len());
    drop(all);
    assert!(port.allocate().is_some());
}

/// Sends frames, all of them, in bursts.
fn send<P: Port>(link: &mut Link<P>, frames: &[Vec<u8>]) {
    let port = &mut link.ports[link.from];
    for frames in frames.chunks(BURST) {
        let mut burst: Burst<_> = frames.iter().map(|bytes| new_frame(port, bytes)).collect();
        wait_until("frames are accepted", || {
            port.transmit(&mut burst);
            burst.is_empty()
        });
    }
}

/// The next `count` frames of ours.
fn receive<P: Port>(link: &mut Link<P>, count: usize) -> Vec<Vec<u8>> {
    let mut received = Vec::new();
    let mut burst = Burst::new();
    wait_until("frames arrive", || {
        link.ports[link.to].receive(&mut burst);
        received.extend(burst.drain(..).filter(is_ours).map(|frame| contents(&frame)));
        received.len() >= count
    });
    assert_eq!(received.len(), count, "nothing but what was sent");
    received
}

fn new_frame<P: Port>(port: &mut P, bytes: &[u8]) -> P::Frame {
    let mut frame = port.allocate().expect("the pool is large enough");
    assert!(frame.append(bytes));
    frame
}

/// A broadcast of `octets` octets: addresses, EtherType, `number`, then a pattern.
fn test_frame(octets: usize, number: usize) -> Vec<u8> {
    let mut bytes = vec![0xff; 6];
    bytes.extend([2, 0, 0, 0, 0, 1]);
    bytes.extend(ETHERTYPE);
    bytes.extend(u32::try_from(number).unwrap().to_be_bytes());
    bytes.extend((bytes.len()..octets).map(|at| u8::try_from((at * 7 + octets) % 251).unwrap()));
    bytes
}

fn is_ours<F: Frame>(frame: &F) -> bool {
    frame.head().get(12..14) == Some(&ETHERTYPE)
}

fn number_of(bytes: &[u8]) -> usize {
    u32::from_be_bytes(bytes[14..18].try_into().unwrap()) as usize
}

fn contents<F: Frame>(frame: &F) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.copy_to(&mut bytes);
    assert_eq!(bytes.len(), frame.octets());
    bytes
}

/// As `assert_eq`, without two kilobytes of numbers.
fn assert_same(received: &[Vec<u8>], sent: &[Vec<u8>]) {
    assert_eq!(received.len(), sent.len());
    for (received, sent) in received.iter().zip(sent) {
        let differs = received.iter().zip(sent).position(|(left, right)| left != right);
        assert!(
            received == sent,
            "{} octets of {}, first difference {differs:?}",
            received.len(),
            sent.len()
        );
    }
}

/// Polls a condition that has to come true within a time that no machine needs.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 20 s: {what}");
        std::thread::yield_now();
    }
}

/// IEEE 802-2014, 9.2.4: local experimental EtherType 1.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

#[test]
fn the_memory_port_conforms() {
    let wire = Wire::new(200);
    // What is sent comes back.
    let looped = Wire { inbound: wire.outbound.clone(), outbound: wire.outbound };
    let pool = Pool::new(500, 2048);
    let all = pool.available();
    let port = MemPort::new(looped, pool.clone());
    let in_use = Box::new(move || all - pool.available());
    conforms(&mut Link { ports: vec![port], from: 0, to: 0, refuses: true, in_use });
}

#[cfg(feature = "dpdk")]
mod dpdk {
    use std::fs;
    use std::path::Path;

    use evenkeel::io::dpdk::Device;
    use evenkeel::io::dpdk::DeviceOptions;
    use evenkeel::io::dpdk::DpdkError;
    use evenkeel::io::dpdk::DpdkPort;
    use evenkeel::io::dpdk::Eal;
    use evenkeel::io::dpdk::register_thread;

    use super::support::dpdk::Network;
    use super::support::dpdk::in_own_process;
    use super::support::dpdk::one_worker;
    use super::support::dpdk::open;
    use super::support::dpdk::run;
    use super::support::dpdk::start_eal;
    use super::*;

    /// Opens the devices, the sender first, and waits until their links are up.
    fn link(devices: &[&str], refuses: bool) -> (Vec<Device>, Link<DpdkPort>) {
        let options: Vec<_> = devices.iter().map(|device| one_worker(device)).collect();
        let eal = start_eal(&options);
        let (devices, ports): (Vec<_>, Vec<_>) = options.iter().map(|options| open(&eal, options)).unzip();
        wait_until("links are up", || devices.iter().all(|device| device.link().up));
        let pools: Vec<_> = devices.iter().map(|device| device.pool().clone()).collect();
        let in_use = Box::new(move || pools.iter().map(|pool| pool.in_use() as usize).sum());
        let to = ports.len() - 1;
        (devices, Link { ports, from: 0, to, refuses, in_use })
    }

    #[test]
    fn a_ring_conforms() {
        in_own_process("dpdk::a_ring_conforms", Network::Machine, || {
            let (devices, mut link) = link(&["net_ring0"], true);
            conforms(&mut link);
            let stats = devices[0].stats();
            assert!(stats.tx_packets > 1000 && stats.rx_packets == stats.tx_packets, "{stats:?}");
        });
    }

    #[test]
    fn shared_memory_conforms() {
        in_own_process("dpdk::shared_memory_conforms", Network::Machine, || {
            let directory = tempfile::tempdir().unwrap();
            let socket = directory.path().join("memif");
            let server = format!("net_memif0,role=server,socket-abstract=no,socket={}", socket.display());
            let client = format!("net_memif1,role=client,socket-abstract=no,socket={}", socket.display());
            let (_devices, mut link) = link(&[&server, &client], true);
            for port in &mut link.ports {
                // Only a receiver that has polled offers buffers to the sender.
                port.receive(&mut Burst::new());
            }
            conforms(&mut link);
            link.ports.reverse();
            conforms(&mut link);
        });
    }

    #[test]
    fn a_packet_socket_conforms() {
        in_own_process("dpdk::a_packet_socket_conforms", Network::OwnNamespace, || {
            veth_pair();
            let devices = ["net_af_packet0,iface=left", "net_af_packet1,iface=right"];
            let (_devices, mut link) = link(&devices, false);
            conforms(&mut link);
            link.ports.reverse();
            conforms(&mut link);
        });
    }

    #[test]
    fn a_tap_conforms() {
        in_own_process("dpdk::a_tap_conforms", Network::OwnNamespace, || {
            no_ipv6();
            let tap = one_worker("net_tap0,iface=tap");
            let socket = one_worker("net_af_packet0,iface=tap");
            let eal = start_eal(&[tap.clone(), socket.clone()]);
            let (tap, tap_port) = open(&eal, &tap);
            run("ip link set tap up");
            let (socket, socket_port) = open(&eal, &socket);
            wait_until("links are up", || tap.link().up && socket.link().up);
            let pools = [tap.pool().clone(), socket.pool().clone()];
            let in_use = Box::new(move || pools.iter().map(|pool| pool.in_use() as usize).sum());
            let ports = vec![tap_port, socket_port];
            let mut link = Link { ports, from: 0, to: 1, refuses: false, in_use };
            conforms(&mut link);
            link.ports.reverse();
            conforms(&mut link);
        });
    }

    #[test]
    fn capture_files_are_read_and_written() {
        in_own_process("dpdk::capture_files_are_read_and_written", Network::Machine, || {
            let directory = tempfile::tempdir().unwrap();
            let (source, copy) = (directory.path().join("in"), directory.path().join("out"));
            let frames: Vec<_> = (60..=1514).map(|octets| test_frame(octets, octets)).collect();
            write_capture(&source, &frames);
            let files = format!("rx_pcap={},tx_pcap={}", source.display(), copy.display());
            let (devices, mut link) = link(&[&format!("net_pcap0,{files}")], false);
            let base = (link.in_use)();
            let mut received = 0;
            wait_until("all frames are copied", || {
                let mut burst = Burst::new();
                link.ports[0].receive(&mut burst);
                received += burst.len();
                link.ports[0].transmit(&mut burst);
                assert!(burst.is_empty(), "a file takes everything");
                received == frames.len()
            });
            assert_eq!((link.in_use)(), base);
            drop((devices, link));
            assert_same(&read_capture(&copy), &frames);
        });
    }

    #[test]
    fn a_frame_in_parts_is_one_frame() {
        in_own_process("dpdk::a_frame_in_parts_is_one_frame", Network::Machine, || {
            let directory = tempfile::tempdir().unwrap();
            let source = directory.path().join("in");
            let sent = vec![test_frame(9000, 1); 4];
            write_capture(&source, &sent);
            let (_devices, mut link) = link(&[&format!("net_pcap0,rx_pcap={}", source.display())], false);
            let base = (link.in_use)();
            let mut burst = Burst::new();
            wait_until("frames are read", || {
                link.ports[0].receive(&mut burst);
                burst.len() == sent.len()
            });
            let part = burst[0].head().len();
            assert!(part < 9000 && burst[0].octets() == 9000, "9000 octets in buffers of {part}");
            assert_same(&[contents(&burst[0])], &sent[..1]);
            assert!(burst[0].append(&[1, 2, 3]), "the last part has room");
            assert_eq!(contents(&burst[0]), [&sent[0][..], &[1, 2, 3]].concat());

            burst[1].trim_front(14);
            assert!(burst[1].prepend(18));
            assert_eq!(contents(&burst[1])[18..], sent[1][14..]);

            for (octets, parts) in [(8999, 5), (part + 1, 2), (part, 1), (10, 1), (0, 1)] {
                let before = (link.in_use)();
                let parts_before = burst[2].octets().div_ceil(part).max(1);
                burst[2].truncate(octets);
                assert_eq!(contents(&burst[2]), &sent[2][..octets]);
                assert_eq!(before - (link.in_use)(), parts_before - parts, "cut to {octets}");
            }
            assert!(burst[2].append(&sent[2][..100]));
            assert_eq!(contents(&burst[2]), &sent[2][..100], "a frame cut short grows in its first part");
            burst.clear();
            assert_eq!((link.in_use)(), base);
        });
    }

    #[test]
    fn workers_beyond_the_queues_of_a_device_neither_receive_nor_send() {
        let case = "dpdk::workers_beyond_the_queues_of_a_device_neither_receive_nor_send";
        in_own_process(case, Network::OwnNamespace, || {
            veth_pair();
            let options = DeviceOptions { workers: 3, ..one_worker("net_af_packet0,iface=left,qpairs=2") };
            let eal = start_eal(std::slice::from_ref(&options));
            let (device, mut ports) = Device::open(&eal, &options).unwrap();
            assert_eq!((device.rx_queues(), device.tx_queues()), (2, 2));
            let queues: Vec<_> = ports.iter().map(|port| (port.has_receive(), port.has_transmit())).collect();
            assert_eq!(queues, [(true, true), (true, true), (false, false)]);
            let mut burst = Burst::new();
            ports[2].receive(&mut burst);
            assert!(burst.is_empty());
            burst.push(new_frame(&mut ports[2], &test_frame(64, 1)));
            assert_eq!((ports[2].transmit(&mut burst), burst.len()), (0, 1));
            // A worker is a thread of its own, known to DPDK, and outlives the device as the user sees it.
            drop(device);
            std::thread::scope(|scope| {
                for mut port in ports {
                    scope.spawn(move || {
                        let _registered = register_thread().unwrap();
                        drop(port.allocate().unwrap());
                    });
                }
            });
        });
    }

    #[test]
    fn a_configured_mac_is_set_or_else_kept_by_us() {
        in_own_process("dpdk::a_configured_mac_is_set_or_else_kept_by_us", Network::OwnNamespace, || {
            veth_pair();
            let mac = Some("02:00:00:00:00:09".parse().unwrap());
            let socket = DeviceOptions { mac, ..one_worker("net_af_packet0,iface=left") };
            let memif = DeviceOptions { mac, ..one_worker("net_memif0,role=server,socket-abstract=yes") };
            let eal = start_eal(&[socket.clone(), memif.clone()]);
            let (socket, _port) = open(&eal, &socket);
            assert_eq!((Some(socket.mac()), socket.promiscuous()), (mac, false));
            assert_eq!(mac_of("left").unwrap(), "02:00:00:00:00:09");
            let (memif, _port) = open(&eal, &memif);
            assert_eq!((Some(memif.mac()), memif.promiscuous()), (mac, true));
        });
    }

    #[test]
    fn what_cannot_be_opened_is_an_error_that_names_the_device() {
        let case = "dpdk::what_cannot_be_opened_is_an_error_that_names_the_device";
        in_own_process(case, Network::Machine, || {
            let ring = one_worker("net_ring0");
            let eal = start_eal(std::slice::from_ref(&ring));
            let (_device, _port) = open(&eal, &ring);
            let directory = tempfile::tempdir().unwrap();
            let capture = directory.path().join("in");
            write_capture(&capture, &vec![test_frame(60, 0); 5000]);
            let endless = format!("net_pcap1,rx_pcap={},infinite_rx=1", capture.display());
            for (device, expected) in [
                ("net_ring0", "is open already"),
                ("net_af_packet0,iface=nosuch", "no driver took it"),
                ("net_nosuch0", "no driver took it"),
                ("0000:7f:1f.7", "DPDK has no port \"0000:7f:1f.7\""),
                ("net_pcap0,rx_pcap=/nonexistent", "no driver took it"),
                (&endless, "raise mbufs"),
            ] {
                let options = DeviceOptions { mbufs: Some(4095), ..one_worker(device) };
                let error = Device::open(&eal, &options).unwrap_err();
                let text = error.to_string();
                assert!(text.contains(expected) && text.contains(&format!("{device:?}")), "{text}");
            }
            let error =
                Device::open(&eal, &DeviceOptions { mbufs: Some(9_000_000), ..one_worker("net_ring1") });
            assert!(matches!(error, Err(DpdkError::Pool { .. })), "{error:?}");
            let error = Eal::start(&evenkeel::io::dpdk::EalOptions {
                memory: evenkeel::config::Memory::NoHugepages,
                control_core: 0,
                memory_mib: 1,
                devices: vec![],
                extra_args: vec![],
            });
            assert!(matches!(error, Err(DpdkError::AlreadyStarted)), "{error:?}");
        });
    }

    #[test]
    fn an_mtu_that_the_device_cannot_carry_is_refused_with_its_limits() {
        let case = "dpdk::an_mtu_that_the_device_cannot_carry_is_refused_with_its_limits";
        in_own_process(case, Network::OwnNamespace, || {
            let options = DeviceOptions { mtu: 9000, ..one_worker("net_tap0,iface=tap") };
            let eal = start_eal(std::slice::from_ref(&options));
            let error = Device::open(&eal, &options).unwrap_err().to_string();
            assert!(error.contains("mtu = 9000 is not possible, the device takes "), "{error}");
        });
    }

    fn veth_pair() {
        no_ipv6();
        run("ip link add left type veth peer name right");
        for end in ["left", "right"] {
            run(&format!("ip link set {end} up"));
        }
    }

    /// In the namespace of the test alone: the kernel sends nothing of its own.
    fn no_ipv6() {
        for which in ["all", "default"] {
            // A kernel without IPv6 is as quiet.
            let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6"), "1");
        }
    }

    fn mac_of(interface: &str) -> std::io::Result<String> {
        let output = std::process::Command::new("ip").args(["-o", "link", "show", interface]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut words = text.split(' ').skip_while(|word| !word.starts_with("link/")).skip(1);
        Ok(words.next().unwrap_or_default().to_owned())
    }

    fn write_capture(path: &Path, frames: &[Vec<u8>]) {
        let mut writer = pcap_file::pcap::PcapWriter::new(fs::File::create(path).unwrap()).unwrap();
        for frame in frames {
            let octets = u32::try_from(frame.len()).unwrap();
            let packet = pcap_file::pcap::PcapPacket::new(Duration::ZERO, octets, frame);
            writer.write_packet(&packet).unwrap();
        }
    }

    fn read_capture(path: &Path) -> Vec<Vec<u8>> {
        let mut reader = pcap_file::pcap::PcapReader::new(fs::File::open(path).unwrap()).unwrap();
        std::iter::from_fn(|| Some(reader.next_packet()?.unwrap().data.into_owned())).collect()
    }
}
