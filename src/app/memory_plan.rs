//! What a configuration takes of the machine's memory: counted by what the parts are made with, so that `evenkeel check`
//! says what `evenkeel run` does.

use std::fmt::{self, Write};

use crate::config::{Config, PortConfig};
use crate::dataplane::flow::Flows;
use crate::dataplane::fragments::{HELD_FRAGMENTS, RECORD_OCTETS};
use crate::io::dpdk::{DEFAULT_DESCRIPTORS, DeviceOptions, EalOptions, HugePages, MemoryChoice};
use crate::model::Memory;
use crate::shared::rings::{FRAME_RING, PuntRings};
use crate::shared::{Capacities, Limits, PathMtus, Persistence, WorkerCounters};

/// What each port is to be.
pub(super) fn device_options(config: &Config) -> Vec<DeviceOptions> {
    let workers = config.appliance.workers.len();
    let option = |port: &PortConfig| DeviceOptions {
        device: port.device.clone(),
        workers,
        mtu: port.mtu,
        mac: port.mac,
        mbufs: config.appliance.mbufs,
        ports: config.ports.len(),
        // An inbox and an injection ring per worker, and the port's rings to the kernel port; fragments that wait.
        waiting_frames: FRAME_RING * 2 * workers + PuntRings::<()>::FRAMES + HELD_FRAGMENTS * workers,
        descriptors: DEFAULT_DESCRIPTORS,
    };
    config.ports.iter().map(option).collect()
}

/// What DPDK is to start with for these ports.
pub(super) fn eal_options(config: &Config, ports: &[DeviceOptions]) -> EalOptions {
    EalOptions {
        memory: config.appliance.memory,
        control_core: config.appliance.control_core,
        memory_mib: ports.iter().map(DeviceOptions::memory_mib).sum(),
        devices: config.ports.iter().map(|port| port.device.clone()).collect(),
        extra_args: config.appliance.eal_args.clone(),
    }
}

/// Ids that there is room for.
pub(super) const fn capacities(config: &Config) -> Capacities {
    Capacities::of_configured(config.appliance.max_services, config.appliance.max_backends)
}

/// The plan, to be printed.
pub(super) struct MemoryPlan<'a> {
    config: &'a Config,
    ports: Vec<DeviceOptions>,
    eal: EalOptions,
    pages: HugePages,
}

impl<'a> MemoryPlan<'a> {
    /// What `config` takes, on a machine of which these huge pages are free.
    pub(super) fn new(config: &'a Config, pages: HugePages) -> Self {
        let ports = device_options(config);
        let eal = eal_options(config, &ports);
        Self { config, ports, eal, pages }
    }

    /// Whether what has been reserved is enough, and what is missing.
    fn say_pages(&self, f: &mut fmt::Formatter<'_>, tables_mib: usize) -> fmt::Result {
        let free_mib = self.pages.free_mib;
        if self.eal.memory != Memory::NoHugepages {
            let packets = self.eal.needed_mib();
            writeln!(
                f,
                "huge pages: {packets} MiB for packet memory, {tables_mib} MiB for flow tables; {free_mib} MiB are free"
            )?;
        }
        let choice = match MemoryChoice::of(&self.eal, self.pages) {
            Ok(choice) => choice,
            Err(error) => return writeln!(f, "packet memory: evenkeel run will fail: {error}"),
        };
        writeln!(f, "packet memory: {choice}")?;
        let MemoryChoice::Hugepages { needed_mib, .. } = choice else {
            return writeln!(f, "flow tables: ordinary pages");
        };
        let left = self.left_mib(needed_mib);
        if tables_mib <= left {
            return writeln!(f, "flow tables: huge pages ({left} MiB left, {tables_mib} MiB needed)");
        }
        let more = (tables_mib - left).div_ceil(2);
        writeln!(
            f,
            "flow tables: partly ordinary pages (of huge pages {left} MiB are left, {tables_mib} MiB needed; reserve \
             {more} more pages of 2048 kB)"
        )
    }
}

/// What a configuration takes, in MiB.
struct Sizes {
    tables_each: usize,
    /// The part of `tables_each` that huge pages can hold.
    huge_tables_each: usize,
    beside_each: usize,
    shared: usize,
}

impl MemoryPlan<'_> {
    fn sizes(&self) -> Sizes {
        let appliance = &self.config.appliance;
        let capacities = capacities(self.config);
        let tables = Flows::need(appliance.flows_per_worker);
        let clients = appliance.max_clients;
        let shared = Limits::octets(capacities, clients)
            + Persistence::octets(clients)
            + PathMtus::octets(capacities.backends);
        Sizes {
            tables_each: mib(tables.octets),
            huge_tables_each: mib(tables.huge_pages),
            beside_each: mib(RECORD_OCTETS + WorkerCounters::octets(capacities)),
            shared: mib(shared),
        }
    }

    fn total_mib(&self, sizes: &Sizes) -> usize {
        let workers = self.config.appliance.workers.len();
        self.eal.needed_mib() + (sizes.tables_each + sizes.beside_each) * workers + sizes.shared
    }

    /// The MiB of ordinary pages that are taken when all of it is in use.
    pub(super) fn ordinary_mib(&self) -> usize {
        let sizes = self.sizes();
        let total = self.total_mib(&sizes);
        match MemoryChoice::of(&self.eal, self.pages) {
            Ok(MemoryChoice::Hugepages { needed_mib, .. }) => {
                let tables = sizes.huge_tables_each * self.config.appliance.workers.len();
                total - needed_mib - tables.min(self.left_mib(needed_mib))
            }
            Ok(MemoryChoice::Ordinary { .. }) => total,
            // A start fails for another reason.
            Err(_) => 0,
        }
    }

    /// Huge pages of 2 MiB that are left for tables. DPDK takes larger ones first, and tables lie in those of 2 MiB alone.
    fn left_mib(&self, packets_mib: usize) -> usize {
        let HugePages { free_mib, free_small_mib, .. } = self.pages;
        free_small_mib - packets_mib.saturating_sub(free_mib - free_small_mib).min(free_small_mib)
    }
}

impl fmt::Display for MemoryPlan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let workers = self.config.appliance.workers.len();
        let sizes = self.sizes();
        f.write_str("memory at most, when all of it is in use:\n")?;
        let mut line = |what: &str, mib: usize| writeln!(f, "  {what:<42}{mib:>8} MiB");
        for (port, options) in self.config.ports.iter().zip(&self.ports) {
            line(&format!("packet buffers of port {:?}", port.name), options.memory_mib())?;
        }
        line("DPDK beside them", self.eal.needed_mib() - self.eal.memory_mib)?;
        line("flow tables, each worker", sizes.tables_each)?;
        line("fragments and counters, each worker", sizes.beside_each)?;
        line("limits and persistence", sizes.shared)?;
        let mut total = String::new();
        write!(total, "in all, with {}", super::count(workers, "worker"))?;
        line(&total, self.total_mib(&sizes))?;
        self.say_pages(f, sizes.huge_tables_each * workers)
    }
}

/// Octets as mebibytes, rounded up.
const fn mib(octets: usize) -> usize {
    octets.div_ceil(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(memory: &str) -> Config {
        let text = include_str!("../../conf/evenkeel.toml");
        let text = text.replace("memory = \"auto\"", &format!("memory = \"{memory}\""));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        crate::config::load(file.path()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn plan(memory: &str, large_mib: usize, small_mib: usize) -> String {
        let config = config(memory);
        let directory = tempfile::tempdir().unwrap();
        for (size, free) in [("hugepages-2048kB", small_mib / 2), ("hugepages-1048576kB", large_mib / 1024)] {
            std::fs::create_dir(directory.path().join(size)).unwrap();
            std::fs::write(directory.path().join(size).join("free_hugepages"), free.to_string()).unwrap();
        }
        MemoryPlan::new(&config, HugePages::read(directory.path())).to_string()
    }

    /// The number in front of MiB in the line that begins so.
    fn number(plan: &str, what: &str) -> usize {
        let line =
            plan.lines().find(|line| line.trim_start().starts_with(what)).unwrap_or_else(|| panic!("{plan}"));
        line.split_whitespace().rev().nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn the_parts_of_the_plan_are_what_the_parts_of_the_program_say_they_take() {
        use crate::dataplane::flow::{FlowTable, TimeoutTicks};
        use crate::hash::IndexKey;
        use crate::model::{TablePages, Timeouts, V4, V6};

        let plan = plan("no-hugepages", 0, 0);
        let flows = config("auto").appliance.flows_per_worker;
        let (key, ticks) = (IndexKey::new([1; 4]), TimeoutTicks::new(&Timeouts::default()));
        let v4 = FlowTable::<V4>::new(flows, key, ticks, TablePages::Ordinary).octets();
        let v6 = FlowTable::<V6>::new(flows, key, ticks, TablePages::Ordinary).octets();
        assert_eq!(number(&plan, "flow tables, each worker"), mib(v4 + v6), "{plan}");
        let parts = plan.lines().skip(1).take_while(|line| line.ends_with("MiB") && !line.contains("in all"));
        let sum: usize = parts.map(|line| number(line, line.trim())).sum();
        assert_eq!(sum, number(&plan, "in all, with 1 worker"), "{plan}");
        assert!(plan.contains("packet memory: ordinary pages") && !plan.contains("huge pages:"), "{plan}");
    }

    #[test]
    fn the_plan_says_whether_free_huge_pages_are_enough_and_how_many_are_missing() {
        let enough = plan("auto", 1024, 2048);
        assert!(enough.contains("packet memory: huge pages (3072 MiB free,"), "{enough}");
        assert!(enough.contains("flow tables: huge pages (2048 MiB left,"), "{enough}");

        let some = plan("auto", 1024, 20);
        assert!(
            some.contains("flow tables: partly ordinary pages (of huge pages 20 MiB are left,"),
            "{some}"
        );
        assert!(some.contains("more pages of 2048 kB"), "{some}");

        let few = plan("auto", 0, 20);
        assert!(few.contains("MiB for flow tables; 20 MiB are free"), "{few}");
        assert!(
            few.contains("packet memory: ordinary pages,") && few.contains("flow tables: ordinary"),
            "{few}"
        );
        assert!(plan("hugepages", 0, 20).contains("evenkeel run will fail"));
    }
}
