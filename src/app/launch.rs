//! Starts the balancer: reads the configuration, takes what it needs of the machine, in an order in which a failure
//! leaves nothing behind, and hands over to control until that ends.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, bail};
use core_affinity::CoreId;
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::sync::mpsc;

use super::bounded_log::BoundedLog;
use super::kernel_network::KernelNetwork;
use super::machine;
use super::memory_plan::{capacities, device_options, eal_options};
use super::worker_thread::{self, Pace};
use crate::config::{Config, PortConfig};
use crate::control::admin::protocol::PortInfo;
use crate::control::admin::{Listeners, StartInfo};
use crate::control::kernel_port::{Exit, KernelCounters, KernelPort, KernelSide, SideTotals};
use crate::control::neighbours::Neighbours;
use crate::control::port_watch::{PortReading, ReadPorts};
use crate::control::run::ControlPlane;
use crate::control::signals::ControlRuntime;
use crate::dataplane::worker::Connections;
use crate::dataplane::{Settings, Worker, WorkerPort};
use crate::hash::IndexKey;
use crate::io::dpdk::{Device, DeviceOptions, DpdkPool, DpdkPort, Eal, register_thread};
use crate::model::{PortId, TablePages, WorkerId};
use crate::shared::rings::{CommandRings, FrameRings};
use crate::shared::{
    Capacities, Egress, Fib, Limits, PathMtus, Persistence, Reader, Snapshot, SynProxies, WorkerCounters,
    channel,
};

/// Commands to the mirror of the kernel's neighbours under way at most.
const NEIGHBOUR_COMMANDS: usize = 16;

/// The parts of the process that exist before its configuration is read.
pub(super) struct Process {
    /// Receives signals from the first moment on.
    pub(super) runtime: ControlRuntime,
    /// Never waits for its reader.
    pub(super) log: BoundedLog,
}

/// Runs the balancer with the configuration at `path` until it is told to leave.
///
/// # Errors
///
/// If it cannot start, or has to stop.
pub(super) fn run(path: &Path, process: Process) -> anyhow::Result<()> {
    let Process { mut runtime, log } = process;
    let config = crate::config::load(path)?;
    config.log_warnings();
    if let Some(missing) = machine::missing_cores(&config).first() {
        bail!("{missing}");
    }
    for warning in machine::warnings(&config) {
        tracing::warn!(reason = warning, "configuration_warning");
    }
    log.run_on(config.appliance.control_core);
    let listeners = Listeners::bind(&config.appliance)?;

    let options = device_options(&config);
    let eal = Eal::start(&eal_options(&config, &options))?;
    tracing::info!(memory = %eal.memory(), "packet_memory");
    if runtime.is_terminated() {
        // Nothing that clients could use exists yet.
        tracing::info!(reason = "signal during the start", "left");
        return Ok(());
    }
    let ports = options
        .iter()
        .zip(&config.ports)
        .map(|(options, port)| OpenPort::open(&eal, options, port))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let start_info = StartInfo {
        version: super::cli::VERSION.clone(),
        memory: eal.memory().to_string(),
        ports: ports.iter().map(OpenPort::info).collect(),
        log_lines_dropped: log.dropped(),
    };
    let egresses: Vec<Egress> = ports.iter().zip(port_ids()).map(|(port, id)| port.egress(id)).collect();
    let sides = kernel_sides(&ports);
    let kernel_port = KernelPort::open(&sides)?;

    let count = config.appliance.workers.len();
    let capacities = capacities(&config);
    let (snapshots, snapshot_readers) = channel(Snapshot::empty(), count);
    let (fibs, fib_readers) = channel(Fib::default(), count);
    let neighbours = Neighbours::new(sides.clone(), egresses, config.next_hops.clone(), fibs);
    let counters: Vec<_> = (0..count).map(|_| Arc::new(WorkerCounters::new(capacities))).collect();
    let frames = FrameRings::new(count, ports.len());
    let rings = CommandRings::new(count);

    let exits = ports.iter().zip(port_ids()).filter(|(port, _)| port.config.kernel_interface.is_some());
    let exits = exits.map(|(port, id)| port.exit(id)).collect();
    // Until control has ended these live on the stack: whatever ends it, the threads are stopped and waited for.
    let threads = Threads::default();
    let outbox = kernel_port.outbox();
    let readings = readings(&ports, kernel_port.counters());
    let kernel_thread =
        kernel_port.spawn(frames.clone(), exits, config.appliance.control_core, threads.stop_flag())?;
    let threads = threads.and(kernel_thread);

    let key = random_key()?;
    let limits = Arc::new(Limits::new(capacities, config.appliance.max_clients, &key));
    let persistence = Arc::new(Persistence::new(config.appliance.max_clients, &key));
    let syn_proxies = Arc::new(SynProxies::new(capacities.services));
    let factory = WorkerFactory {
        config: &config,
        started: Instant::now(),
        capacities,
        key,
        pages: eal.memory().table_pages(),
        limits: Arc::clone(&limits),
        persistence: Arc::clone(&persistence),
        syn_proxies: Arc::clone(&syn_proxies),
        path_mtus: Arc::new(PathMtus::new(capacities.backends)),
        frames,
        rings: rings.clone(),
    };
    let threads = factory.start(ports, snapshot_readers, fib_readers, &counters, threads)?;

    let (commands, command_queue) = mpsc::channel(NEIGHBOUR_COMMANDS);
    let mirror = neighbours.run(command_queue);
    let file = path.to_owned();
    let plane = ControlPlane {
        config,
        load: Arc::new(move || crate::config::load(&file).map_err(|errors| errors.to_string())),
        snapshots,
        counters,
        limits,
        persistence,
        syn_proxies,
        rings,
        network: Box::new(KernelNetwork::new(sides, outbox, commands)),
        tasks: vec![Box::pin(async move {
            mirror.await;
            Ok(())
        })],
        listeners,
        ports: readings,
        start_info,
    };
    let ended = plane.run(runtime);
    threads.stop();
    let end = ended?;
    tracing::info!(reason = %end, "left");
    Ok(())
}

/// What control reads of the ports, now and then.
fn readings(ports: &[OpenPort<'_>], kernel: Arc<KernelCounters>) -> ReadPorts {
    let devices: Vec<_> =
        ports.iter().zip(port_ids()).map(|(port, id)| (id, Arc::clone(&port.device))).collect();
    Box::new(move || {
        let sides: HashMap<PortId, SideTotals> = kernel.totals().collect();
        let read = |(id, device): &(PortId, Arc<Device>)| {
            let (link, stats, pool) = (device.link(), device.stats(), device.pool());
            PortReading {
                link_up: link.up,
                speed_mbps: link.speed_mbps,
                rx_missed: stats.rx_missed,
                rx_errors: stats.rx_errors,
                rx_no_buffer: stats.rx_no_buffer,
                tx_errors: stats.tx_errors,
                mbufs: pool.capacity().into(),
                mbufs_in_use: pool.in_use().into(),
                kernel: sides.get(id).copied(),
            }
        };
        devices.iter().map(read).collect()
    })
}

/// A port and everything that is made of it.
struct OpenPort<'a> {
    config: &'a PortConfig,
    device: Arc<Device>,
    /// One per worker.
    queues: Vec<DpdkPort>,
}

impl<'a> OpenPort<'a> {
    fn open(eal: &Eal, options: &DeviceOptions, config: &'a PortConfig) -> anyhow::Result<Self> {
        let opened = Device::open(eal, options);
        let (device, queues) = opened.with_context(|| format!("port {:?}", config.name))?;
        tracing::info!(
            port = %config.name,
            device = %device.device(),
            driver = %device.driver(),
            mac = %device.mac(),
            rx_queues = device.rx_queues(),
            tx_queues = device.tx_queues(),
            "port_open"
        );
        Ok(Self { config, device: Arc::new(device), queues })
    }

    /// What frames that leave by it are made of, `id` being its place among the ports.
    fn egress(&self, id: PortId) -> Egress {
        Egress { port: id, mac: self.device.mac(), mtu: self.config.mtu }
    }

    fn info(&self) -> PortInfo {
        PortInfo {
            name: self.config.name.clone(),
            device: self.device.device().to_owned(),
            driver: self.device.driver().to_owned(),
            mac: self.device.mac().to_string(),
            mtu: self.config.mtu,
            rx_queues: self.device.rx_queues(),
            tx_queues: self.device.tx_queues(),
            kernel_interface: self.config.kernel_interface.clone(),
        }
    }

    /// The worker that sends on this port for `worker`: itself if it has a queue, else one of those that have.
    fn transmitter(&self, worker: u16) -> WorkerId {
        WorkerId(worker % self.device.tx_queues().max(1))
    }

    /// The kernel's frames leave by a queue that depends on the port, so that not all fall to one worker.
    fn exit(&self, id: PortId) -> Exit<DpdkPool> {
        Exit { port: id, transmitter: self.transmitter(id.0), pool: self.device.pool().clone() }
    }
}

/// What all workers have in common.
struct WorkerFactory<'a> {
    config: &'a Config,
    /// When their clocks began: what they share is in one time.
    started: Instant,
    capacities: Capacities,
    key: IndexKey,
    pages: TablePages,
    limits: Arc<Limits>,
    persistence: Arc<Persistence>,
    syn_proxies: Arc<SynProxies>,
    path_mtus: Arc<PathMtus>,
    frames: FrameRings<<DpdkPort as crate::io::Port>::Frame>,
    rings: CommandRings,
}

impl WorkerFactory<'_> {
    /// Starts every worker on its core.
    fn start(
        &self,
        mut ports: Vec<OpenPort<'_>>,
        snapshots: Vec<Reader<Snapshot>>,
        fibs: Vec<Reader<Fib>>,
        counters: &[Arc<WorkerCounters>],
        mut threads: Threads,
    ) -> anyhow::Result<Threads> {
        let cores = &self.config.appliance.workers;
        let workers = u16::try_from(cores.len()).context("more workers than there can be")?;
        // Queues are taken from the front, worker by worker.
        for port in &mut ports {
            port.queues.reverse();
        }
        for (((worker, core), snapshots), (fibs, counters)) in
            (0..workers).zip(cores).zip(snapshots).zip(fibs.into_iter().zip(counters))
        {
            let settings = Settings {
                worker: WorkerId(worker),
                workers,
                flows: self.config.appliance.flows_per_worker,
                pages: self.pages,
                capacities: self.capacities,
                key: self.key,
                limits: Arc::clone(&self.limits),
                persistence: Arc::clone(&self.persistence),
                syn_proxies: Arc::clone(&self.syn_proxies),
                path_mtus: Arc::clone(&self.path_mtus),
            };
            let queues = ports.iter_mut().zip(port_ids()).map(|(port, id)| {
                Some(WorkerPort {
                    queue: port.queues.pop()?,
                    egress: port.egress(id),
                    kernel: port.config.kernel_interface.is_some(),
                    transmitter: port.transmitter(worker),
                })
            });
            let queues =
                queues.collect::<Option<Vec<_>>>().context("a port has a queue pair for every worker")?;
            let connections = Connections {
                snapshots,
                fibs,
                frames: self.frames.clone(),
                commands: self.rings.clone(),
                counters: Arc::clone(counters),
            };
            let pace = Pace { started: self.started, idle: self.config.appliance.idle };
            let thread = start_worker(settings, *core, queues, connections, pace, &threads);
            threads = threads.and(thread.with_context(|| format!("worker {worker} on core {core}"))?);
        }
        Ok(threads)
    }
}

/// The worker's memory is touched first by its own thread, so that it lies on the NUMA node of its core.
fn start_worker(
    settings: Settings,
    core: usize,
    ports: Vec<WorkerPort<DpdkPort>>,
    connections: Connections<<DpdkPort as crate::io::Port>::Frame>,
    pace: Pace,
    threads: &Threads,
) -> anyhow::Result<JoinHandle<()>> {
    let stop = threads.stop_flag();
    let name = format!("worker-{}", settings.worker);
    let (report, started) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        if !core_affinity::set_for_current(CoreId { id: core }) {
            let _gone = report.send(Err(format!("the thread cannot be pinned to core {core}")));
            return;
        }
        let registered = match register_thread() {
            Ok(registered) => registered,
            Err(error) => {
                let _gone = report.send(Err(error.to_string()));
                return;
            }
        };
        let worker = Worker::new(&settings, ports, connections);
        let (octets, pages) = worker.flow_tables();
        tracing::info!(worker = %settings.worker, mib = octets >> 20, %pages, "flow_tables");
        let _gone = report.send(Ok(()));
        worker_thread::turn_until(worker, pace, &stop);
        drop(registered);
    })?;
    match started.recv().context("the worker's thread ended")? {
        Ok(()) => Ok(thread),
        Err(reason) => bail!(reason),
    }
}

/// The threads of workers and kernel port; dropping it stops them and waits.
#[derive(Default)]
struct Threads {
    stop: Arc<AtomicBool>,
    running: Vec<JoinHandle<()>>,
}

impl Threads {
    fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    fn and(mut self, thread: JoinHandle<()>) -> Self {
        self.running.push(thread);
        self
    }

    fn stop(self) {
        drop(self);
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.running.drain(..) {
            // A thread that panicked has said so; with panic = "abort" there is none.
            let _panicked = thread.join();
        }
    }
}

fn port_ids() -> impl Iterator<Item = PortId> {
    (0..=u16::MAX).map(PortId)
}

fn kernel_sides(ports: &[OpenPort<'_>]) -> Vec<KernelSide> {
    let side = |(port, id): (&OpenPort<'_>, PortId)| {
        Some(KernelSide {
            port: id,
            interface: port.config.kernel_interface.clone()?,
            mac: port.device.mac(),
            mtu: port.config.mtu,
            addresses: port.config.addresses.clone(),
        })
    };
    ports.iter().zip(port_ids()).filter_map(side).collect()
}

fn random_key() -> anyhow::Result<IndexKey> {
    let mut bytes = [0_u8; 32];
    let got = getrandom(&mut bytes, GetRandomFlags::empty()).context("no random numbers from the kernel")?;
    if got != bytes.len() {
        bail!("the kernel gave {got} random octets instead of {}", bytes.len());
    }
    let word = |n: usize| {
        let bytes = bytes[n * 8..].first_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(bytes)
    };
    Ok(IndexKey::new([word(0), word(1), word(2), word(3)]))
}
