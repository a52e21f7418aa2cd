//! How long turns last, by the clock of the machine.

use std::time::Instant;

use hdrhistogram::Histogram;
use serde_json::Value;

use super::figures::{Figure, Figures, Samples, Target};
use super::machine::Taken;

/// Durations of turns, and what others took of their time.
pub(crate) struct Durations {
    /// Nanoseconds.
    histogram: Histogram<u64>,
    taken: Taken,
}

impl Durations {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("a minute is a bound");
        Self { histogram, taken: Taken::default() }
    }

    /// Takes the time of a turn.
    #[inline]
    pub(crate) fn time(&mut self, turn: impl FnOnce()) {
        let began = Instant::now();
        turn();
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(nanos);
    }

    /// Does what takes the time of turns, and counts what was taken meanwhile.
    pub(crate) fn watch(&mut self, turns: impl FnOnce(&mut Self)) {
        let before = Taken::now();
        turns(self);
        self.taken = self.taken.and(Taken::now().since(before));
    }

    /// Microseconds that a share of the turns, in per cent, stay below.
    pub(crate) fn micros(&self, percent: f64) -> f64 {
        self.histogram.value_at_percentile(percent) as f64 / 1e3
    }

    /// Adds the figures `NAME.p50`, `.p99`, `.p9999` and `.longest`, with a target for the last but one.
    pub(crate) fn add_to(
        &self,
        figures: &mut Figures,
        name: &str,
        target: Option<Target>,
        parameters: &Value,
    ) {
        let mut parameters = parameters.clone();
        parameters["turns"] = self.histogram.len().into();
        parameters["stolen_ms"] = self.taken.stolen_ms.into();
        parameters["waited_ms"] = self.taken.waited_ms.into();
        for (point, percent) in [("p50", 50.0), ("p99", 99.0), ("p9999", 99.99), ("longest", 100.0)] {
            let figure = Figure::new(format!("{name}.{point}"), "us", Samples::one(self.micros(percent)));
            let figure = match target {
                Some(target) if point == "p9999" => figure.with(target),
                Some(_) | None => figure,
            };
            figures.add(figure, &parameters);
        }
    }
}
