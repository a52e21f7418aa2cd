//! The machine: what it is, where on it we run, and what others took of it.

use serde_json::{Value, json};

/// What the figures are of.
pub(crate) fn describe() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let information = read("/proc/cpuinfo");
    let processor = information.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    json!({
        "processor": processor.unwrap_or("unknown"),
        "cores": core_affinity::get_core_ids().map_or(0, |ids| ids.len()),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "transparent_huge_pages": read("/sys/kernel/mm/transparent_hugepage/enabled").trim(),
    })
}

/// Keeps this thread on a core: the `back`-th before `core`, or before the last one. Which it is; `None` if there is none.
pub(crate) fn pin(core: Option<usize>, back: usize) -> Option<usize> {
    let ids = core_affinity::get_core_ids()?;
    let last = ids.iter().map(|id| id.id).max()?;
    let wanted = core.unwrap_or(last).checked_sub(back)?;
    let id = ids.into_iter().find(|id| id.id == wanted)?;
    core_affinity::set_for_current(id).then_some(wanted)
}

/// Milliseconds that the host has taken from this machine's cores since its start: in them a turn lasts as long as somebody
/// else likes.
pub(crate) fn stolen_ms() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    // proc(5): user nice system idle iowait irq softirq steal, in hundredths of a second.
    first.split_whitespace().nth(8).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0) * 10
}
