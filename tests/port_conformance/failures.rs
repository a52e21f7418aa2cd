//! Devices that fail: no buffers, no link, nobody on the other side.

use evenkeel::io::Burst;
use evenkeel::io::Port;
use evenkeel::io::dpdk::Device;
use evenkeel::io::dpdk::DeviceOptions;
use evenkeel::io::dpdk::DpdkPort;

use super::dpdk::no_ipv6;
use super::dpdk::veth_pair;
use super::suite::is_ours;
use super::suite::new_frame;
use super::suite::test_frame;
use super::suite::wait_until;
use super::support::dpdk::Network;
use super::support::dpdk::in_own_process;
use super::support::dpdk::one_worker;
use super::support::dpdk::open;
use super::support::dpdk::run;
use super::support::dpdk::start_eal;

/// Frames of a pool that is too small: more than a burst, fewer than a ring.
const FEW: u32 = 255;

/// Both ends of a pair of interfaces, the first with this many buffers.
fn pair(mbufs: Option<u32>) -> [(Device, DpdkPort); 2] {
    veth_pair();
    let left = DeviceOptions { mbufs, ..one_worker("net_af_packet0,iface=left") };
    let right = one_worker("net_af_packet1,iface=right");
    let eal = start_eal(&[left.clone(), right.clone()]);
    let pair = [open(&eal, &left), open(&eal, &right)];
    wait_until("links are up", || pair.iter().all(|(device, _)| device.link().up));
    pair
}

/// Sends one frame; whether the port took it.
fn send(port: &mut DpdkPort, number: usize) -> bool {
    let mut burst = Burst::new();
    burst.push(new_frame(port, &test_frame(64, number)));
    port.transmit(&mut burst) == 1
}

/// Whether a frame of ours arrives at one look.
fn receives(port: &mut DpdkPort) -> bool {
    let mut burst = Burst::new();
    port.receive(&mut burst);
    burst.iter().any(is_ours)
}

#[test]
fn a_pool_without_buffers_stops_reception_is_counted_and_recovers_with_the_first_that_comes_back() {
    let case = "failures::a_pool_without_buffers_stops_reception_is_counted_and_recovers_with_the_first_that_comes_back";
    in_own_process(case, Network::OwnNamespace, || {
        let [(left, mut to), (right, mut from)] = pair(Some(FEW));
        let base = [left.pool().in_use(), right.pool().in_use()];
        let hoard: Vec<_> = std::iter::from_fn(|| to.allocate()).collect();
        assert_eq!(u32::try_from(hoard.len()).unwrap() + base[0], FEW, "every buffer is in hands");
        for number in 0..10 {
            assert!(send(&mut from, number));
        }
        // Without a buffer nothing is received, and nothing waits for one. What is to be seen of it is that all are in use:
        // this driver does not count what it cannot receive.
        assert_eq!(left.pool().in_use(), left.pool().capacity());
        for _ in 0..1000 {
            assert!(!receives(&mut to));
        }
        drop(hoard);
        let mut next = 10;
        wait_until("reception goes on", || {
            send(&mut from, next);
            next += 1;
            receives(&mut to)
        });
        wait_until("all buffers are back", || {
            receives(&mut to);
            [left.pool().in_use(), right.pool().in_use()] == base
        });
    });
}

#[test]
fn a_link_that_goes_is_told_costs_its_frames_and_works_again_when_it_is_back() {
    let case = "failures::a_link_that_goes_is_told_costs_its_frames_and_works_again_when_it_is_back";
    in_own_process(case, Network::OwnNamespace, || {
        let [(left, mut to), (right, mut from)] = pair(None);
        let base = [left.pool().in_use(), right.pool().in_use()];
        assert!(send(&mut from, 0));
        wait_until("a frame arrives", || receives(&mut to));
        for end in ["left", "right"] {
            run(&format!("ip link set {end} down"));
            for device in [&left, &right] {
                wait_until("the link is told to be down", || !device.link().up);
            }
            // Ten rings: a sender does not wait for a ring that nobody empties, but keeps what is refused.
            let taken = (0..10_240).filter(|number| send(&mut from, *number)).count();
            assert!(taken < 10_240, "{end}: nothing was refused");
            assert!(!receives(&mut to), "{end}");
        }
        run("ip link set right up");
        assert!(!right.link().up, "the other end is down");
        run("ip link set left up");
        wait_until("links are up", || left.link().up && right.link().up);
        let mut next = 20_000;
        wait_until("frames arrive again", || {
            send(&mut from, next);
            next += 1;
            receives(&mut to)
        });
        wait_until("all buffers are back", || {
            receives(&mut to);
            [left.pool().in_use(), right.pool().in_use()] == base
        });
    });
}

#[test]
fn a_tap_that_nobody_reads_costs_its_frames_holds_nobody_up_and_works_again_when_somebody_does() {
    let case = "failures::a_tap_that_nobody_reads_costs_its_frames_holds_nobody_up_and_works_again_when_somebody_does";
    in_own_process(case, Network::OwnNamespace, || {
        no_ipv6();
        // What a virtual machine's network card is: somebody holds its other end and reads, or does not.
        let tap = tun_rs::DeviceBuilder::new().name("guest").layer(tun_rs::Layer::L2).build_sync().unwrap();
        tap.set_nonblocking(true).unwrap();
        run("ip link set guest txqueuelen 100 up");
        let options = one_worker("net_af_packet0,iface=guest");
        let eal = start_eal(std::slice::from_ref(&options));
        let (device, mut port) = open(&eal, &options);
        wait_until("link is up", || device.link().up);
        let base = device.pool().in_use();

        // Ten rings. What the driver takes the kernel has no room for after a hundred.
        let taken = (0..10_240).filter(|number| send(&mut port, *number)).count();
        let mut buffer = [0; 2048];
        let mut wait_read = || {
            let mut read = 0;
            while tap.recv(&mut buffer).is_ok_and(|octets| octets > 0) {
                read += 1;
            }
            read
        };
        let mut read = 0;
        wait_until("what had room is read", || {
            read += wait_read();
            read >= 100
        });
        assert!(read < taken, "{read} of {taken}");

        let mut next = 20_000;
        wait_until("frames arrive again", || {
            send(&mut port, next);
            next += 1;
            wait_read() > 0
        });
        wait_until("all buffers are back", || device.pool().in_use() == base);
    });
}

#[test]
fn a_driver_that_counts_what_it_has_no_buffer_for_is_heard() {
    let case = "failures::a_driver_that_counts_what_it_has_no_buffer_for_is_heard";
    in_own_process(case, Network::OwnNamespace, || {
        no_ipv6();
        let tap = DeviceOptions { mbufs: Some(2047), ..one_worker("net_tap0,iface=tap") };
        let socket = one_worker("net_af_packet0,iface=tap");
        let eal = start_eal(&[tap.clone(), socket.clone()]);
        let (tap, mut to) = open(&eal, &tap);
        run("ip link set tap up");
        let (socket, mut from) = open(&eal, &socket);
        wait_until("links are up", || tap.link().up && socket.link().up);
        let base = tap.pool().in_use();
        let hoard: Vec<_> = std::iter::from_fn(|| to.allocate()).collect();
        let mut next = 0;
        wait_until("the driver has no buffer left", || {
            send(&mut from, next);
            next += 1;
            receives(&mut to);
            tap.stats().rx_no_buffer > 0
        });
        drop(hoard);
        wait_until("reception goes on", || {
            send(&mut from, next);
            next += 1;
            receives(&mut to)
        });
        wait_until("all buffers are back", || {
            receives(&mut to);
            tap.pool().in_use() <= base
        });
        run("ip link set tap down");
        wait_until("the link is told to be down", || !tap.link().up);
    });
}
