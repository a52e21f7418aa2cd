//! What every port has to do, and the small tools to see that it does.

use std::time::Duration;
use std::time::Instant;

use evenkeel::io::BURST;
use evenkeel::io::Burst;
use evenkeel::io::Frame;
use evenkeel::io::HEADROOM;
use evenkeel::io::Port;

/// Ports, of which one sends what another (or itself) receives.
pub(super) struct Link<P> {
    pub(super) ports: Vec<P>,
    pub(super) from: usize,
    pub(super) to: usize,
    /// Whether sending without receiving ends in a refusal, and not in a loss elsewhere.
    pub(super) refuses: bool,
    /// Buffers in use, of all pools together.
    pub(super) in_use: Box<dyn Fn() -> usize>,
}

pub(super) fn conforms<P: Port>(link: &mut Link<P>) {
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

/// What three frames that hold `sent`, 9000 octets in several parts, have to do; `in_use` as in [`Link`].
pub(super) fn a_frame_in_parts_is_one_frame<F: Frame>(
    [mut first, mut second, mut third]: [F; 3],
    sent: &[u8],
    in_use: &dyn Fn() -> usize,
) {
    let part = first.head().len();
    assert!(part < 9000 && first.octets() == 9000, "9000 octets in buffers of {part}");
    assert_same(&[contents(&first)], &[sent.to_vec()]);
    assert!(first.append(&[1, 2, 3]), "the last part has room");
    assert_eq!(contents(&first), [sent, &[1, 2, 3]].concat());

    second.trim_front(14);
    assert!(second.prepend(18));
    assert_eq!(contents(&second)[18..], sent[14..]);

    for (octets, parts) in [(8999, 5), (part + 1, 2), (part, 1), (10, 1), (0, 1)] {
        let before = in_use();
        let parts_before = third.octets().div_ceil(part).max(1);
        third.truncate(octets);
        assert_eq!(contents(&third), &sent[..octets]);
        assert_eq!(before - in_use(), parts_before - parts, "cut to {octets}");
    }
    assert!(third.append(&sent[..100]));
    assert_eq!(contents(&third), &sent[..100], "a frame cut short grows in its first part");
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

pub(super) fn new_frame<P: Port>(port: &mut P, bytes: &[u8]) -> P::Frame {
    let mut frame = port.allocate().expect("the pool is large enough");
    assert!(frame.append(bytes));
    frame
}

/// A broadcast of `octets` octets: addresses, EtherType, `number`, then a pattern.
pub(super) fn test_frame(octets: usize, number: usize) -> Vec<u8> {
    let mut bytes = vec![0xff; 6];
    bytes.extend([2, 0, 0, 0, 0, 1]);
    bytes.extend(ETHERTYPE);
    bytes.extend(u32::try_from(number).unwrap().to_be_bytes());
    bytes.extend((bytes.len()..octets).map(|at| u8::try_from((at * 7 + octets) % 251).unwrap()));
    bytes
}

pub(super) fn is_ours<F: Frame>(frame: &F) -> bool {
    frame.head().get(12..14) == Some(&ETHERTYPE)
}

fn number_of(bytes: &[u8]) -> usize {
    u32::from_be_bytes(bytes[14..18].try_into().unwrap()) as usize
}

pub(super) fn contents<F: Frame>(frame: &F) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.copy_to(&mut bytes);
    assert_eq!(bytes.len(), frame.octets());
    bytes
}

/// As `assert_eq`, without two kilobytes of numbers.
pub(super) fn assert_same(received: &[Vec<u8>], sent: &[Vec<u8>]) {
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
pub(super) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 20 s: {what}");
        std::thread::yield_now();
    }
}

/// IEEE 802-2014, 9.2.4: local experimental EtherType 1.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
