//! The machine: what it is, where on it we run, and what others took of it.

use core_affinity::CoreId;
use serde_json::{Value, json};

/// The cores that this process may use, asked for before any thread is kept on one.
pub(crate) struct Machine {
    cores: Vec<CoreId>,
    /// The one that the first worker runs on.
    first: usize,
}

/// Milliseconds that somebody else had of the time that a measurement wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    /// By the host, of all cores since the machine's start: in them a turn lasts as long as somebody else likes.
    pub(crate) stolen_ms: u64,
    /// By other processes: this thread was ready and had no core.
    pub(crate) waited_ms: u64,
}

impl Machine {
    /// This machine; the first worker is to run on `core`, or on the last one.
    pub(crate) fn new(core: Option<usize>) -> Self {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let last = cores.iter().map(|id| id.id).max().unwrap_or(0);
        Self { first: core.unwrap_or(last), cores }
    }

    pub(crate) const fn cores(&self) -> usize {
        self.cores.len()
    }

    /// Keeps this thread on the core of a worker: the first one's, or the one `worker` cores before that. Which it is;
    /// `None` if there is no such core.
    pub(crate) fn pin(&self, worker: usize) -> Option<usize> {
        let place = self.cores.iter().position(|id| id.id == self.first)?;
        let core = self.cores[(place + self.cores.len() - worker) % self.cores.len()];
        core_affinity::set_for_current(core).then_some(core.id)
    }

    /// What the figures are of.
    pub(crate) fn describe(&self) -> Value {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let information = read("/proc/cpuinfo");
        let processor =
            information.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
        json!({
            "processor": processor.unwrap_or("unknown"),
            "cores": self.cores(),
            "kernel": read("/proc/sys/kernel/osrelease").trim(),
            "transparent_huge_pages": read("/sys/kernel/mm/transparent_hugepage/enabled").trim(),
        })
    }
}

impl Taken {
    /// Until now.
    pub(crate) fn now() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let number = |word: Option<&str>| word.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        // proc(5): cpu user nice system idle iowait irq softirq steal, in hundredths of a second.
        let machine = read("/proc/stat");
        let stolen = number(machine.lines().next().and_then(|line| line.split_whitespace().nth(8)));
        // Documentation/scheduler/sched-stats: on a core, waiting for one, in nanoseconds; and how often.
        let thread = read("/proc/thread-self/schedstat");
        let waited = number(thread.split_whitespace().nth(1));
        Self { stolen_ms: stolen * 10, waited_ms: waited / 1_000_000 }
    }

    /// From `earlier` until these.
    pub(crate) const fn since(self, earlier: Self) -> Self {
        let stolen_ms = self.stolen_ms.saturating_sub(earlier.stolen_ms);
        Self { stolen_ms, waited_ms: self.waited_ms.saturating_sub(earlier.waited_ms) }
    }

    /// Both together.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self { stolen_ms: self.stolen_ms + other.stolen_ms, waited_ms: self.waited_ms + other.waited_ms }
    }
}
