//! The rig: evenkeel and a generator, each on a core of its own, with shared memory between them.
//!
//! ```text
//! core 0: generator  --- client to VIP --->  core 1: evenkeel's worker
//!         (net_memif) <-- local address to backend --- (net_memif)
//! ```
//! evenkeel's only next hop leads back over the port that packets came by, so that who sends a packet receives it again,
//! translated, and one clock is enough.

mod balancer;
mod generator;
mod packet;
pub(crate) mod plan;
pub(crate) mod report;
mod search;

use std::time::Duration;

use anyhow::Context;
use evenkeel::io::dpdk::{DEFAULT_DESCRIPTORS, Device, DeviceOptions, Eal, EalOptions};
use evenkeel::model::Memory;

use balancer::Balancer;
use generator::{Generator, Outcome, Trial};
use plan::{Idle, Plan};

/// What was found with one setting of `idle`.
pub(crate) struct Measured {
    /// With this one.
    pub(crate) idle: Idle,
    /// Packets a second that count as full load.
    pub(crate) full_rate: f64,
    /// That rate was found here, and is not a given one.
    pub(crate) searched: bool,
    /// Each of the plan's loads, in its order.
    pub(crate) runs: Vec<Run>,
}

/// One measurement.
pub(crate) struct Run {
    /// Share of the full rate.
    pub(crate) load: f64,
    /// Packets a second that were to be sent.
    pub(crate) rate: f64,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

/// Runs the plan: takes its seconds for each load and setting, and about ten more for each search. EAL starts once in a
/// process, and so this can be called once.
///
/// # Errors
/// The plan makes no sense, a program or port does not start, or a packet has disappeared without being counted.
pub(crate) fn measure(plan: &Plan) -> anyhow::Result<Vec<Measured>> {
    plan.check()?;
    let directory = tempfile::tempdir()?;
    let devices: Vec<DeviceOptions> = plan
        .idle
        .iter()
        .map(|idle| client(&format!("net_memif{}", idle.name()), &directory.path().join(idle.name())))
        .collect();
    let eal = Eal::start(&EalOptions {
        memory: Memory::Auto,
        control_core: plan.generator_core,
        memory_mib: devices.iter().map(DeviceOptions::memory_mib).sum(),
        devices: devices.iter().map(|options| options.device.clone()).collect(),
        extra_args: vec![],
    })?;
    let mut full_rate = plan.rate;
    let mut measured = Vec::new();
    for (&idle, options) in plan.idle.iter().zip(&devices) {
        let balancer = Balancer::start(plan, idle, directory.path())?;
        let (device, mut ports) = Device::open(&eal, options)?;
        let port = ports.pop().context("a port for one worker")?;
        let mut generator = Generator::new(port, plan.flows);
        generator.wait_for_link(|| device.link().up).with_context(|| balancer.log())?;
        let every_flow = Duration::from_secs_f64(f64::from(plan.flows) / WARM_UP_RATE);
        generator.run(&Trial { rate: WARM_UP_RATE, duration: WARM_UP.max(every_flow) });
        // Both settings at the same rates, or they could not be compared.
        let searched = full_rate.is_none();
        let full = full_rate.map_or_else(|| search::highest_rate(&mut generator), Ok)?;
        full_rate = Some(full);
        let runs = plan.loads.iter().map(|&load| {
            let trial = Trial { rate: full * load, duration: plan.duration };
            Run { load, rate: trial.rate, outcome: generator.run(&trial) }
        });
        let runs = runs.collect();
        balancer.check_conservation(|| generator.totals())?;
        measured.push(Measured { idle, full_rate: full, searched, runs });
    }
    Ok(measured)
}

fn client(name: &str, socket: &std::path::Path) -> DeviceOptions {
    DeviceOptions {
        device: format!(
            "{name},role=client,rsize={RING_LOG2},socket-abstract=no,socket={}",
            socket.display()
        ),
        workers: 1,
        mtu: 1500,
        mac: None,
        mbufs: None,
        ports: 1,
        waiting_frames: 0,
        descriptors: DEFAULT_DESCRIPTORS,
    }
}

/// The rings of shared memory have 2 to the power of this many places: at a few million packets a second they bridge
/// pauses of a millisecond, which a virtual machine takes now and then.
const RING_LOG2: u8 = 12;

/// At least, before anything counts: every flow begins, and caches and branch predictors learn.
const WARM_UP: Duration = Duration::from_millis(200);

/// Packets a second then.
const WARM_UP_RATE: f64 = 100_000.0;
