//! What was measured: printed as it comes, written as JSON at the end.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::machine::{Machine, Taken};

/// All figures of a run.
#[derive(Default)]
pub(crate) struct Figures(Vec<Value>);

/// One figure. What a target says of it: the limit, and whether to stay below it or above.
pub(crate) struct Figure {
    /// Stable: others look for it.
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) target: Option<Target>,
    pub(crate) samples: Samples,
}

/// What a figure should be.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// Repeated measurements of one thing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Figures {
    /// Notes a figure and prints its line.
    pub(crate) fn add(&mut self, figure: Figure, parameters: &Value) {
        let Figure { name, unit, target, samples } = figure;
        let (value, (least, most)) = (samples.median(), samples.spread());
        let (limit, better, shown) = match target {
            None => (Value::Null, Value::Null, String::new()),
            Some(Target::AtMost(limit)) => (json!(limit), json!("less"), format!("   target <= {limit}")),
            Some(Target::AtLeast(limit)) => (json!(limit), json!("more"), format!("   target >= {limit}")),
        };
        println!("{name:<36} {value:>10.2} {unit:<8} ({least:.2} - {most:.2}){shown}");
        self.0.push(json!({
            "name": name, "target": limit, "better": better, "unit": unit,
            "value": value, "spread": [least, most], "parameters": parameters,
        }));
    }

    /// Writes all of them.
    pub(crate) fn write(self, path: &Path, machine: &Machine, taken: Taken) -> anyhow::Result<()> {
        let mut document = Map::new();
        let Taken { stolen_ms, waited_ms } = taken;
        document.insert("machine".to_owned(), machine.describe());
        document.insert("taken".to_owned(), json!({ "stolen_ms": stolen_ms, "waited_ms": waited_ms }));
        document.insert("figures".to_owned(), self.0.into());
        let text = serde_json::to_string_pretty(&document)?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Figure {
    /// A figure without a target.
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, samples: Samples) -> Self {
        Self { name: name.into(), unit, target: None, samples }
    }

    /// The same, to be judged.
    pub(crate) fn with(self, target: Target) -> Self {
        Self { target: Some(target), ..self }
    }
}

impl Samples {
    /// A single measurement.
    pub(crate) fn one(value: f64) -> Self {
        Self(vec![value])
    }

    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// What `f` makes of each of these and its counterpart.
    pub(crate) fn with(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(one, other)| f(*one, *other)).collect())
    }

    pub(crate) fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self(self.0.iter().map(|sample| f(*sample)).collect())
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
    }

    fn spread(&self) -> (f64, f64) {
        self.0.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), sample| {
            (least.min(*sample), most.max(*sample))
        })
    }
}

/// Nanoseconds of each of `count` things that took `span` together.
pub(crate) fn nanos_each(span: Duration, count: u64) -> f64 {
    span.as_secs_f64() * 1e9 / count as f64
}
