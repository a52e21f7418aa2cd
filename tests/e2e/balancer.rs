//! A running evenkeel.

use std::fs;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;

use crate::configuration::Configuration;
use crate::lab::Lab;
use crate::lab::Printed;
use crate::lab::print_of;
use crate::wait::wait_until;

/// The program in the balancer's namespace of a lab. Killed when dropped.
pub(crate) struct Balancer<'a> {
    lab: &'a Lab,
    process: Child,
    file: PathBuf,
    socket: PathBuf,
    log: PathBuf,
}

impl<'a> Balancer<'a> {
    /// Starts it, and waits until it is ready and every backend is in service.
    pub(crate) fn start(lab: &'a Lab, configuration: &Configuration) -> Self {
        Self::start_logging_to(lab, configuration, File::create(lab.directory().join("log")).unwrap())
    }

    /// The same with its standard output and error elsewhere than in a file.
    pub(crate) fn start_logging_to(
        lab: &'a Lab,
        configuration: &Configuration,
        output: impl Into<OwnedFd>,
    ) -> Self {
        let at = |name: &str| lab.directory().join(name);
        let (file, socket, log) = (at("evenkeel.toml"), at("control.sock"), at("log"));
        fs::write(&file, configuration.text(socket.to_str().unwrap())).unwrap();
        let output = output.into();
        let mut command = lab.command("balancer", &[PROGRAM, "run", "-c", file.to_str().unwrap()]);
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let process = command.spawn().unwrap();
        let mut balancer = Self { lab, process, file, socket, log };
        balancer.wait_ready();
        balancer
    }

    fn wait_ready(&mut self) {
        let healthy = |backend: &Value| backend["state"] == "up" || backend["state"] == "standby";
        let ready = || {
            self.try_ask("status").is_some_and(|status| status["ready"] == true)
                && self
                    .try_ask("backends")
                    .is_some_and(|answer| answer["backends"].as_array().unwrap().iter().all(healthy))
        };
        wait_until("evenkeel is ready, every backend in service", Duration::from_secs(20), ready, || {
            self.circumstances()
        });
        self.wait_published();
    }

    /// Waits until the workers have everything that control knows.
    pub(crate) fn wait_published(&self) {
        let published = || self.ask("status")["snapshot_pending"] == false;
        self.wait("the latest snapshot is published", Duration::from_secs(2), published);
    }

    /// The answer of `evenkeel WHAT --json`.
    pub(crate) fn ask(&self, what: &str) -> Value {
        self.try_ask(what).unwrap_or_else(|| panic!("evenkeel {what}: no answer\n{}", self.circumstances()))
    }

    fn try_ask(&self, what: &str) -> Option<Value> {
        let done = self.run(&[what, "--json"]);
        done.success.then(|| serde_json::from_str(&done.out).unwrap())
    }

    /// Runs a command that talks to the balancer.
    pub(crate) fn run(&self, line: &[&str]) -> Printed {
        print_of(Command::new(PROGRAM).args(line).arg("--socket").arg(&self.socket).output().unwrap())
    }

    /// Reloads with another configuration.
    pub(crate) fn reload(&self, configuration: &Configuration) -> Printed {
        self.write(configuration);
        self.run(&["reload"])
    }

    /// Writes another configuration, without saying so.
    pub(crate) fn write(&self, configuration: &Configuration) {
        fs::write(&self.file, configuration.text(self.socket.to_str().unwrap())).unwrap();
    }

    /// The states of a host's backends: those of web and web6, say, for b1.
    pub(crate) fn states(&self, host: &str, service: &str) -> Vec<String> {
        let number = host.strip_prefix('b').unwrap();
        let answer = self.ask("backends");
        let backends = answer["backends"].as_array().unwrap().iter();
        backends
            .filter(|backend| backend["service"].as_str().unwrap().starts_with(service))
            .filter(|backend| {
                let address = backend["address"].as_str().unwrap();
                address == format!("10.0.9.{number}") || address == format!("fd00:9::{number}")
            })
            .map(|backend| backend["state"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until every backend of a host is in this state, for the workers too; how long it took.
    pub(crate) fn wait_state(&self, host: &str, state: &str, bound: Duration) -> Duration {
        let began = Instant::now();
        let there = || {
            let states = self.states(host, "");
            !states.is_empty() && states.iter().all(|is| is == state)
        };
        self.wait(&format!("{host} is {state}"), bound, there);
        self.wait_published();
        began.elapsed()
    }

    /// Waits for something else that it says.
    pub(crate) fn wait(&self, what: &str, bound: Duration, condition: impl FnMut() -> bool) -> Duration {
        wait_until(what, bound, condition, || self.circumstances())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Waits until the process has ended.
    pub(crate) fn wait_end(&mut self, bound: Duration) -> ExitStatus {
        let mut status = None;
        let (process, log) = (&mut self.process, &self.log);
        let ended = || {
            status = process.try_wait().unwrap();
            status.is_some()
        };
        wait_until("evenkeel has ended", bound, ended, || fs::read_to_string(log).unwrap_or_default());
        status.unwrap()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What to print beside a failure.
    pub(crate) fn circumstances(&self) -> String {
        let shown = |what: &str| {
            let done = self.run(&[what]);
            format!("--- evenkeel {what}\n{}{}", done.out, done.err)
        };
        format!("--- log\n{}{}{}{}", self.log(), shown("status"), shown("backends"), shown("counters"))
    }

    /// The lab it runs in.
    pub(crate) const fn lab(&self) -> &'a Lab {
        self.lab
    }
}

impl Drop for Balancer<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.circumstances());
        }
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_evenkeel");
