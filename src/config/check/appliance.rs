//! `[appliance]`: defaults, and cores given out once.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Appliance;
use crate::config::Idle;
use crate::config::Memory;
use crate::config::raw;
use crate::config::report::Report;
use crate::config::table::At;
use crate::config::value::List;
use crate::model::MIN_PATH_MTU;

use super::Unique;

pub(super) fn check(raw: raw::Appliance, report: &Report<'_>) -> Option<Appliance> {
    let control_core = raw.control_core.or_at(0, 0);
    let workers = raw.workers.or_at(List { items: vec![At { at: 0, value: 1 }], whole: true }, 0);
    if let Some(workers) = &workers {
        check_workers(workers, control_core, report);
    }
    Some(Appliance {
        name: raw.name.or("evenkeel".to_owned())?,
        control_core: control_core?.value,
        workers: workers?.value.into_values(),
        memory: raw.memory.or(Memory::Auto)?,
        flows_per_worker: raw.flows_per_worker.or(1_000_000)?,
        idle: raw.idle.or(Idle::Poll)?,
        control_socket: raw.control_socket.or(PathBuf::from("/run/evenkeel/control.sock"))?,
        http_listen: raw.http_listen.or(Some(([127, 0, 0, 1], 9180).into()))?,
        mbufs: raw.mbufs.or(None)?,
        hash_seed: raw.hash_seed.or(1)?,
        eal_args: raw.eal_args.or(List::default())?.into_values(),
        drain_timeout: raw.drain_timeout.or(Duration::from_secs(10))?,
        min_path_mtu: raw.min_path_mtu.or(MIN_PATH_MTU)?,
        max_services: raw.max_services.or(1024)?,
        max_backends: raw.max_backends.or(4096)?,
        max_clients: raw.max_clients.or(65_536)?,
    })
}

/// Every worker needs a core of its own: two on one core take turns of milliseconds.
fn check_workers(workers: &At<List<usize>>, control_core: Option<At<usize>>, report: &Report<'_>) {
    if workers.value.items.is_empty() && workers.value.whole {
        report.wrong(workers.at, "workers is an empty list; write at least one core, as workers = [1]");
    }
    let mut cores = Unique::new();
    for At { at, value: core } in &workers.value.items {
        if cores.earlier(core, *at).is_some() {
            report.wrong(*at, format!("worker core {core} is listed twice; remove one"));
        }
        if let Some(control) = control_core
            && control.value == *core
        {
            // A default has no line: the place to point at is the one that was written.
            let at = if *at == 0 { control.at } else { *at };
            report.wrong(
                at,
                format!("core {core} is both control_core and a worker's; give control another core"),
            );
        }
    }
}
