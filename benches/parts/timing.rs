//! How long things take, and for how long that is measured.

use std::time::{Duration, Instant};

use criterion::{Bencher, Criterion};

/// The settings of all measurements: short ones, as there are many. What is given on the command line goes before them.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .nresamples(5_000)
        .configure_from_args()
}

/// Whether everything is only to be run once. `cargo bench` says `--bench`, `cargo test` does not.
pub(crate) fn is_trial() -> bool {
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    has("--test") || !has("--bench")
}

/// Whether the figures of `name` that are no times are wanted: with all measurements, and if just `name` is asked for. Who
/// profiles a part wants to see nothing else.
pub(crate) fn wants_figures(name: &str) -> bool {
    let mut asked = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    let is_listing = std::env::args().any(|argument| argument == "--list");
    !is_listing && (asked.peek().is_none() || asked.any(|asked| asked == name))
}

/// The time of one item of `work`, which does `items` of them.
pub(crate) fn per_item(bencher: &mut Bencher<'_>, items: u64, mut work: impl FnMut()) {
    bencher.iter_custom(|wanted| {
        let rounds = rounds(wanted, items);
        let start = Instant::now();
        for _ in 0..rounds {
            work();
        }
        share(start.elapsed(), wanted, rounds * items)
    });
}

/// The time of one item of what `work` has the watch time, `items` at each call. The watch takes some 50 ns by itself: what
/// is timed at once should take many times as long.
pub(crate) fn per_item_timed(bencher: &mut Bencher<'_>, items: u64, mut work: impl FnMut(&mut Watch)) {
    bencher.iter_custom(|wanted| {
        let rounds = rounds(wanted, items);
        let mut watch = Watch(Duration::ZERO);
        for _ in 0..rounds {
            work(&mut watch);
        }
        share(watch.0, wanted, rounds * items)
    });
}

/// Adds up the time of what it is given.
pub(crate) struct Watch(Duration);

impl Watch {
    /// What `work` returns, its time noted.
    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.0 += start.elapsed();
        result
    }
}

/// So many rounds make `wanted` items, `items` each. A trial has some more, to get round whatever goes round.
fn rounds(wanted: u64, items: u64) -> u64 {
    const OF_A_TRIAL: u64 = 20;
    let rounds = wanted.div_ceil(items);
    if is_trial() { rounds.max(OF_A_TRIAL) } else { rounds }
}

/// The part of `elapsed` that `wanted` of `done` items took.
fn share(elapsed: Duration, wanted: u64, done: u64) -> Duration {
    elapsed.mul_f64(wanted as f64 / done as f64)
}
