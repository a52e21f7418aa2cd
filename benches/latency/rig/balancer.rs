//! A running evenkeel that sends every packet back over the port it came by.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::RING_LOG2;
use super::generator::Totals;
use super::packet::{BACKENDS, OUR_MAC, PEER_MAC, VIP, VIP_PORT};
use super::plan::{Idle, Plan};

/// The process; ended when dropped.
pub(super) struct Balancer {
    process: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Balancer {
    /// Starts it, the server of a shared memory at `directory/IDLE`, and waits until it is ready.
    pub(super) fn start(plan: &Plan, idle: Idle, directory: &Path) -> anyhow::Result<Self> {
        let at = |suffix: &str| directory.join(format!("{}{suffix}", idle.name()));
        let (file, socket, log) = (at(".toml"), at(".sock"), at(".log"));
        std::fs::write(&file, configuration(plan, idle, &at(""), &socket))?;
        let output = File::create(&log)?;
        // A child inherits the affinity of the generator's thread, which is pinned.
        let cores = format!("{},{}", plan.generator_core, plan.worker_core);
        let process = Command::new("taskset")
            .args(["-c", &cores, PROGRAM, "run", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {PROGRAM}"))?;
        let mut balancer = Self { process, socket, log };
        let deadline = Instant::now() + START_WITHIN;
        while balancer.status().is_none_or(|status| status["ready"] != true) {
            if balancer.process.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("evenkeel is not ready:\n{}", balancer.log());
            }
            std::thread::sleep(POLL);
        }
        Ok(balancer)
    }

    /// What it has logged.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Compares what it counted with what the generator did: every packet is where it should be, or a counted drop. Waits
    /// for those that are still under way.
    pub(super) fn check_conservation(&self, mut generator: impl FnMut() -> Totals) -> anyhow::Result<()> {
        let deadline = Instant::now() + SETTLE_WITHIN;
        loop {
            let (total, generator) = (self.total()?, generator());
            let drops = total["drops"].as_object().into_iter().flatten();
            let dropped: u64 = drops.filter_map(|(_, count)| count.as_u64()).sum();
            let [received, sent, held] =
                ["rx_packets", "tx_packets", "held"].map(|name| total[name].as_u64().unwrap_or_default());
            let balanced =
                received == generator.sent && received == sent + dropped + held && sent == generator.received;
            if balanced {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "packets have disappeared: {generator:?}, evenkeel {total}");
            std::thread::sleep(POLL);
        }
    }

    fn total(&self) -> anyhow::Result<Value> {
        let status = self.status().with_context(|| format!("evenkeel has left:\n{}", self.log()))?;
        Ok(status["total"].clone())
    }

    /// The answer of `evenkeel status`, if there is one.
    fn status(&self) -> Option<Value> {
        let mut ask = Command::new(PROGRAM);
        let done = ask.args(["status", "--json", "--socket"]).arg(&self.socket).output().ok()?;
        serde_json::from_slice(&done.stdout).ok()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let deadline = Instant::now() + END_WITHIN;
        while self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            if Instant::now() > deadline {
                let _gone = self.process.kill();
            }
            std::thread::sleep(POLL);
        }
    }
}

fn configuration(plan: &Plan, idle: Idle, memif: &Path, socket: &Path) -> String {
    let backends: String =
        BACKENDS.iter().map(|backend| format!("[[service.backend]]\naddress = \"{backend}\"\n\n")).collect();
    format!(
        "[appliance]
name = \"latency\"
control_core = {}
workers = [{}]
idle = \"{}\"
flows_per_worker = {}
control_socket = \"{}\"
http_listen = \"none\"
drain_timeout = \"0s\"

[[port]]
name = \"memif\"
device = \"net_memif0,role=server,rsize={RING_LOG2},socket-abstract=no,socket={}\"
mac = \"{OUR_MAC}\"
kernel_interface = \"none\"

[[next_hop]]
prefix = \"0.0.0.0/0\"
port = \"memif\"
mac = \"{PEER_MAC}\"

[local_addresses]
default = [\"10.0.8.10\", \"10.0.8.11\"]

[[service]]
name = \"latency\"
vip = \"{VIP}\"
port = {VIP_PORT}
protocol = \"udp\"

[service.health]
kind = \"none\"

{backends}",
        plan.generator_core,
        plan.worker_core,
        idle.name(),
        (plan.flows * 2).max(1024),
        socket.display(),
        memif.display(),
    )
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_evenkeel");
const START_WITHIN: Duration = Duration::from_secs(20);
const SETTLE_WITHIN: Duration = Duration::from_secs(5);
const END_WITHIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);
