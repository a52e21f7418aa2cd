//! An open-loop generator: sends at a constant rate whatever comes back, and reads the stamps of what does.
//!
//! A packet's stamp is the time at which it was to be sent. If the generator is late, by a pause of its own or because the
//! balancer takes no more, that counts as latency: a client would have waited for it, too.

use std::time::{Duration, Instant};

use anyhow::ensure;
use evenkeel::io::dpdk::{DpdkFrame, DpdkPort};
use evenkeel::io::{Burst, Frame, Port};
use hdrhistogram::Histogram;

use super::packet::{self, Mark};

/// Sends and receives on one port.
pub(crate) struct Generator {
    port: DpdkPort,
    /// A packet of each flow, without its stamp.
    templates: Vec<[u8; packet::OCTETS]>,
    /// Trials so far: what comes back from a former one is told by its number.
    trial: u32,
    totals: Totals,
}

/// All that a generator did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    /// Packets that the port took.
    pub(crate) sent: u64,
    /// Packets that came back.
    pub(crate) received: u64,
}

/// A constant rate for a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial {
    /// Packets a second.
    pub(crate) rate: f64,
    /// Of sending; waiting for the last ones comes on top.
    pub(crate) duration: Duration,
}

/// What came of a trial.
pub(crate) struct Outcome {
    /// Packets sent.
    pub(crate) sent: u64,
    /// Packets that came back, translated.
    pub(crate) received: u64,
    /// Packets that came back otherwise than full NAT makes them.
    pub(crate) foreign: u64,
    /// Everything was sent, and the last one in time: the rate is one that the generator has.
    pub(crate) kept_up: bool,
    /// From when a packet was to be sent to when it was back, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// From when a packet was to be sent to when it was, in nanoseconds: of each burst the oldest.
    pub(crate) lateness: Histogram<u64>,
}

impl Outcome {
    /// Packets that did not come back.
    pub(crate) const fn lost(&self) -> u64 {
        self.sent - self.received
    }
}

impl Generator {
    /// `flows`: at least 1; each is a client's address and port.
    pub(super) fn new(port: DpdkPort, flows: u32) -> Self {
        let templates = (0..flows).map(packet::of_flow).collect();
        Self { port, templates, trial: 0, totals: Totals::default() }
    }

    /// All so far, with what has come since the last trial.
    pub(super) fn totals(&mut self) -> Totals {
        loop {
            let mut burst = Burst::new();
            self.port.receive(&mut burst);
            if burst.is_empty() {
                return self.totals;
            }
            self.totals.received += burst.len() as u64;
        }
    }

    /// Waits until the other side of the shared memory is there. Polls, as only a receiver that has polled offers
    /// buffers to the sender.
    pub(super) fn wait_for_link(&mut self, is_up: impl Fn() -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + LINK_WITHIN;
        while !is_up() {
            ensure!(Instant::now() < deadline, "the shared memory has no link");
            self.port.receive(&mut Burst::new());
            std::thread::sleep(Duration::from_millis(1));
        }
        self.port.receive(&mut Burst::new());
        Ok(())
    }

    /// Runs a trial, and waits until everything is back or nothing more comes.
    pub(crate) fn run(&mut self, trial: &Trial) -> Outcome {
        self.trial += 1;
        let mut run = Run::new(trial);
        let mut waiting = Burst::new();
        let mut now = run.now();
        while run.goes_on(now) {
            if run.is_too_late(now) {
                // What the port never took was not sent.
                waiting.clear();
                run.give_up();
            }
            self.prepare(&mut run, &mut waiting, now);
            run.record_lateness(now);
            let taken = self.port.transmit(&mut waiting);
            run.left(taken, now);
            self.totals.sent += taken as u64;
            self.receive(&mut run);
            now = run.now();
        }
        run.finish()
    }

    /// Makes the packets that are due.
    fn prepare(&mut self, run: &mut Run, waiting: &mut Burst<DpdkFrame>, now: u64) {
        while !waiting.is_full() && run.has_due(now) {
            let Some(mut frame) = self.port.allocate() else { return };
            let flow = usize::try_from(run.made).unwrap_or(usize::MAX) % self.templates.len();
            let fits = frame.append(&self.templates[flow]);
            assert!(fits, "an empty frame holds the smallest packet");
            packet::mark(frame.head_mut(), self.trial, run.due(run.made));
            waiting.push(frame);
            run.made += 1;
        }
    }

    fn receive(&mut self, run: &mut Run) {
        let mut burst = Burst::new();
        self.port.receive(&mut burst);
        if burst.is_empty() {
            return;
        }
        let now = run.now();
        self.totals.received += burst.len() as u64;
        for frame in &burst {
            match packet::read(frame.head(), self.trial) {
                Mark::Due(due) => run.arrived(due, now),
                Mark::FormerTrial => {}
                Mark::Foreign => run.outcome.foreign += 1,
            }
        }
    }
}

/// A trial under way. Times are nanoseconds since its start.
struct Run {
    started: Instant,
    /// Between two packets.
    interval: f64,
    /// Packets to send in all.
    total: u64,
    /// Packets made so far.
    made: u64,
    /// When sending should be over.
    end: u64,
    /// Not all was sent.
    gave_up: bool,
    /// When the port last took something.
    last_sent: u64,
    /// When something last came back.
    last_arrival: u64,
    outcome: Outcome,
}

impl Run {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "packets and nanoseconds of a trial of seconds"
    )]
    fn new(trial: &Trial) -> Self {
        let total = (trial.rate * trial.duration.as_secs_f64()).round() as u64;
        let outcome = Outcome {
            sent: 0,
            received: 0,
            foreign: 0,
            kept_up: false,
            latency: histogram(),
            lateness: histogram(),
        };
        let end = trial.duration.as_nanos() as u64;
        let interval = 1e9 / trial.rate;
        Self {
            started: Instant::now(),
            interval,
            total,
            made: 0,
            end,
            gave_up: false,
            last_sent: 0,
            last_arrival: 0,
            outcome,
        }
    }

    #[inline]
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// When the packet with this number is to be sent.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "numbers and nanoseconds are far below 2^52"
    )]
    fn due(&self, packet: u64) -> u64 {
        (packet as f64 * self.interval) as u64
    }

    #[inline]
    fn has_due(&self, now: u64) -> bool {
        self.made < self.total && self.due(self.made) <= now
    }

    /// Of the oldest packet that has not left yet.
    #[inline]
    fn record_lateness(&mut self, now: u64) {
        if self.outcome.sent < self.made {
            let due = self.due(self.outcome.sent);
            self.outcome.lateness.saturating_record(now.saturating_sub(due));
        }
    }

    #[inline]
    fn arrived(&mut self, due: u64, now: u64) {
        self.last_arrival = now;
        self.outcome.received += 1;
        self.outcome.latency.saturating_record(now.saturating_sub(due));
    }

    #[inline]
    fn left(&mut self, packets: usize, now: u64) {
        if packets > 0 {
            self.last_sent = now;
            self.outcome.sent += packets as u64;
        }
    }

    /// Whether there is something to send or to wait for.
    #[inline]
    fn goes_on(&self, now: u64) -> bool {
        let under_way = self.outcome.received + self.outcome.foreign < self.outcome.sent;
        self.outcome.sent < self.total || under_way && now < self.last_sent.max(self.last_arrival) + PATIENCE
    }

    /// A rate that is far too high would have it send for ever.
    #[inline]
    fn is_too_late(&self, now: u64) -> bool {
        self.outcome.sent < self.total && now > self.end + self.end / 2 + SLACK
    }

    /// Sends no more; what is under way is still waited for.
    fn give_up(&mut self) {
        self.gave_up = true;
        self.total = self.outcome.sent;
        self.made = self.outcome.sent;
    }

    fn finish(mut self) -> Outcome {
        let in_time = self.last_sent <= self.end + self.end / 50 + SLACK;
        self.outcome.kept_up = in_time && !self.gave_up;
        self.outcome
    }
}

/// Three significant digits, from a nanosecond to ten seconds; no allocation afterwards.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("bounds that are in order")
}

const LINK_WITHIN: Duration = Duration::from_secs(10);

/// Nanoseconds without a packet after which those that lack are lost.
const PATIENCE: u64 = 200_000_000;

/// Nanoseconds that a trial may last longer than a fiftieth of itself beyond its time.
const SLACK: u64 = 2_000_000;
