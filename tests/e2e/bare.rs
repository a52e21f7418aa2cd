//! A running evenkeel without a lab: a port that receives nothing, for what concerns the process alone.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::MutexGuard;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;

use crate::lab::Printed;
use crate::lab::alone;
use crate::lab::print_of;
use crate::wait::wait_until;

/// A configuration, of which any number of processes are started one after the other.
pub(crate) struct Bare {
    directory: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// A process with that configuration. Killed when dropped.
pub(crate) struct BareProcess<'a> {
    bare: &'a Bare,
    process: Child,
}

impl Bare {
    /// Writes the configuration, unless the test cannot run here.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let alone = alone(name)?;
        let bare = Self { directory: tempfile::tempdir().unwrap(), _alone: alone };
        fs::write(bare.file(), CONFIGURATION.replace("SOCKET", bare.socket().to_str().unwrap())).unwrap();
        Some(bare)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("evenkeel.toml")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    /// Starts the program with standard error there; it is not waited for.
    pub(crate) fn start(&self, log: impl Into<Stdio>) -> BareProcess<'_> {
        let mut command = Command::new(PROGRAM);
        command.args(["run", "-c"]).arg(self.file());
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        BareProcess { bare: self, process }
    }

    /// Runs a command that talks to the balancer.
    pub(crate) fn run(&self, line: &str) -> Printed {
        let mut command = Command::new(PROGRAM);
        print_of(command.args(line.split(' ')).arg("--socket").arg(self.socket()).output().unwrap())
    }

    /// The answer to `evenkeel status`, if there is one.
    pub(crate) fn status(&self) -> Option<Value> {
        let done = self.run("status --json");
        done.success.then(|| serde_json::from_str(&done.out).unwrap())
    }
}

impl BareProcess<'_> {
    pub(crate) fn wait_ready(&mut self) {
        let bare = self.bare;
        self.wait("ready", || bare.status().is_some_and(|status| status["ready"] == true));
    }

    /// Waits for a condition; fails the test if the process ends before.
    pub(crate) fn wait(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        let held = || {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none(), "{what}: the process has ended: {ended:?}");
            condition()
        };
        wait_until(what, BOUND, held, String::new);
    }

    /// Waits until the process handles this signal, which it does before it reads its configuration.
    pub(crate) fn wait_handled(&mut self, signal: Signal) {
        let status = format!("/proc/{}/status", self.process.id());
        let handled = || {
            let text = fs::read_to_string(&status).unwrap();
            let mask = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
            u64::from_str_radix(mask.trim(), 16).unwrap() & 1 << (signal.as_raw() - 1) != 0
        };
        self.wait("the signal is handled", handled);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends the process by SIGTERM.
    pub(crate) fn leave(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_end()
    }

    pub(crate) fn wait_end(&mut self) -> ExitStatus {
        let mut status = None;
        let process = &mut self.process;
        let ended = || {
            status = process.try_wait().unwrap();
            status.is_some()
        };
        wait_until("evenkeel has ended", BOUND, ended, String::new);
        status.unwrap()
    }

    /// Whether DPDK's directory of this process is there.
    pub(crate) fn has_runtime_directory(&self) -> bool {
        Path::new("/var/run/dpdk").join(format!("evenkeel-{}", self.id())).exists()
    }
}

impl Drop for BareProcess<'_> {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const BOUND: Duration = Duration::from_secs(30);

const PROGRAM: &str = env!("CARGO_BIN_EXE_evenkeel");

const CONFIGURATION: &str = r#"
[appliance]
control_core = 0
workers = [1]
idle = "adaptive"
memory = "no-hugepages"
flows_per_worker = 50000
http_listen = "none"
control_socket = "SOCKET"

[[port]]
name = "front"
device = "net_null0"
kernel_interface = "none"

[[next_hop]]
prefix = "0.0.0.0/0"
port = "front"
mac = "02:00:00:00:00:fe"

[local_addresses]
default = ["10.0.8.10"]

[[service]]
name = "web"
vip = "203.0.113.80"
port = 80
[service.health]
kind = "none"
[[service.backend]]
address = "10.0.9.1"
port = 8080
"#;
