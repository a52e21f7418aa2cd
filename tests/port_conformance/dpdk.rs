//! The suite on DPDK's devices, and what only they can do. Each case is a process of its own.

use std::fs;
use std::path::Path;
use std::time::Duration;

use evenkeel::io::Burst;
use evenkeel::io::Port;
use evenkeel::io::dpdk::Device;
use evenkeel::io::dpdk::DeviceOptions;
use evenkeel::io::dpdk::DpdkError;
use evenkeel::io::dpdk::DpdkPort;
use evenkeel::io::dpdk::Eal;
use evenkeel::io::dpdk::register_thread;

use super::suite::Link;
use super::suite::a_frame_in_parts_is_one_frame;
use super::suite::assert_same;
use super::suite::conforms;
use super::suite::new_frame;
use super::suite::test_frame;
use super::suite::wait_until;
use super::support::dpdk::Network;
use super::support::dpdk::in_own_process;
use super::support::dpdk::one_worker;
use super::support::dpdk::open;
use super::support::dpdk::run;
use super::support::dpdk::start_eal;

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
fn a_frame_in_parts_is_one_frame_and_leaves_as_one() {
    in_own_process("dpdk::a_frame_in_parts_is_one_frame_and_leaves_as_one", Network::Machine, || {
        let directory = tempfile::tempdir().unwrap();
        let (source, copy) = (directory.path().join("in"), directory.path().join("out"));
        let sent = vec![test_frame(9000, 1); 4];
        write_capture(&source, &sent);
        let files = format!("rx_pcap={},tx_pcap={}", source.display(), copy.display());
        let (devices, mut link) = link(&[&format!("net_pcap0,{files}")], false);
        let base = (link.in_use)();
        let mut burst = Burst::new();
        wait_until("frames are read", || {
            link.ports[0].receive(&mut burst);
            burst.len() == sent.len()
        });
        let frames = burst.drain(..3).collect::<Vec<_>>().try_into().unwrap();
        a_frame_in_parts_is_one_frame(frames, &sent[0], &link.in_use);
        assert_eq!((link.ports[0].transmit(&mut burst), burst.len()), (1, 0));
        assert_eq!((link.in_use)(), base);
        drop((devices, link));
        assert_same(&read_capture(&copy), &sent[..1]);
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
        let error = Device::open(&eal, &DeviceOptions { mbufs: Some(9_000_000), ..one_worker("net_ring1") });
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

pub(super) fn veth_pair() {
    no_ipv6();
    run("ip link add left type veth peer name right");
    for end in ["left", "right"] {
        run(&format!("ip link set {end} up"));
    }
}

/// In the namespace of the test alone: the kernel sends nothing of its own.
pub(super) fn no_ipv6() {
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
