//! What was measured, as a table and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::plan::Plan;
use super::{Measured, Run};

/// The quantiles that are reported, and their names.
const QUANTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0)];

/// A line for each measurement; times in microseconds.
pub(crate) fn table(plan: &Plan, measured: &[Measured]) -> String {
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| {
        text.write_fmt(words).expect("a string takes every octet");
        text.push('\n');
    };
    let names: String = QUANTILES.iter().map(|(name, _)| format!("{name:>9}")).collect();
    line(format_args!("{:<9} {:>5} {:>9}{names} {:>6}  late p99", "idle", "load", "Mpps", "lost"));
    for measured in measured {
        for run in &measured.runs {
            let values: String = quantiles(run).map(|(_, us)| format!("{us:>9.1}")).collect();
            let late = us(run.outcome.lateness.value_at_quantile(0.99));
            let (idle, lost) = (measured.idle.name(), run.outcome.lost());
            let (load, rate) = (format!("{:.0}%", run.load * 100.0), run.rate / 1e6);
            line(format_args!("{idle:<9} {load:>5} {rate:>9.3}{values} {lost:>6}  {late:>8.1}"));
        }
    }
    let full = measured.first().map_or(0.0, |measured| measured.full_rate / 1e6);
    let found = measured.first().is_some_and(|measured| measured.searched);
    let how = if found { "the highest rate without loss" } else { "as given" };
    line(format_args!(
        "\nmicroseconds, from when a packet was to be sent to when it was back, through shared memory; {} flows, UDP, 64 \
         octets; full load: {full:.3} Mpps, {how}; late: what of it went by before the packet left",
        plan.flows
    ));
    text
}

/// `{"machine": ..., "figures": [{"name", "unit", "value", "parameters"}]}`.
pub(crate) fn document(plan: &Plan, measured: &[Measured]) -> Value {
    let mut figures = Vec::new();
    for measured in measured {
        let idle = measured.idle.name();
        if measured.searched {
            let parameters = json!({"idle": idle, "flows": plan.flows});
            figures.push(figure("rate_without_loss", "Mpps", measured.full_rate / 1e6, &parameters));
        }
        for run in &measured.runs {
            let parameters = json!({
                "load": run.load,
                "idle": idle,
                "rate_mpps": run.rate / 1e6,
                "flows": plan.flows,
                "seconds": plan.duration.as_secs_f64(),
            });
            for (name, us) in quantiles(run) {
                figures.push(figure(&format!("latency_{name}"), "us", us, &parameters));
            }
            let late = us(run.outcome.lateness.value_at_quantile(0.99));
            figures.push(figure("generator_lateness_p99", "us", late, &parameters));
            #[expect(clippy::cast_precision_loss, reason = "packets of some seconds")]
            let lost = run.outcome.lost() as f64;
            figures.push(figure("latency_lost", "packets", lost, &parameters));
        }
    }
    json!({"machine": machine(), "figures": figures})
}

fn figure(name: &str, unit: &str, value: f64, parameters: &Value) -> Value {
    json!({"name": name, "unit": unit, "value": value, "parameters": parameters})
}

/// Names and microseconds.
fn quantiles(run: &Run) -> impl Iterator<Item = (&'static str, f64)> {
    QUANTILES.iter().map(|&(name, quantile)| (name, us(run.outcome.latency.value_at_quantile(quantile))))
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of some seconds")]
fn us(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

/// As `scripts/bench` says it.
fn machine() -> Value {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    json!({"cpu": model.map_or("unknown", |(_, name)| name), "cores": cores, "kernel": kernel.trim()})
}
