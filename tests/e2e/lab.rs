//! A laid lab: hosts to run commands on. It is gone when this is dropped.

use std::path::Path;
use std::path::PathBuf;
use std::process;
use std::process::Command;
use std::process::Output;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use rustix::process::geteuid;

/// A lab. While it lives no other test has one.
pub(crate) struct Lab {
    name: String,
    directory: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// Where the balancer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arms {
    /// Clients and servers on the same port.
    One,
    /// Clients in front, servers behind.
    Two,
}

/// What a command printed.
pub(crate) struct Printed {
    pub(crate) success: bool,
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Lab {
    /// Lays a lab called `name`, unless the test cannot run here. The servers' file has `file_mb` megabytes.
    pub(crate) fn lay(name: &str, arms: Arms, file_mb: u32) -> Option<Self> {
        let shape = match arms {
            Arms::One => Some("--one-arm"),
            Arms::Two => None,
        };
        Self::lay_shape(name, shape, file_mb)
    }

    /// Lays one of two arms with routers on both sides that let no more than 1400 octets through to the client and 1300
    /// to the servers.
    pub(crate) fn lay_narrow(name: &str, file_mb: u32) -> Option<Self> {
        Self::lay_shape(name, Some("--narrow"), file_mb)
    }

    fn lay_shape(name: &str, shape: Option<&str>, file_mb: u32) -> Option<Self> {
        let alone = alone(name)?;
        let prefix = std::env::var("EVENKEEL_LAB_PREFIX").unwrap_or_else(|_| format!("e2e{}", process::id()));
        let name = format!("{prefix}-{name}");
        let mut line = vec!["up".to_owned(), name.clone(), "--file-mb".to_owned(), file_mb.to_string()];
        line.extend(shape.map(str::to_owned));
        let lab = Self { name, directory: tempfile::tempdir().unwrap(), _alone: alone };
        let done = print_of(script().args(line).output().unwrap());
        assert!(done.success, "scripts/lab up: {}{}", done.out, done.err);
        Some(lab)
    }

    /// For files of the test.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A command line on a host, to be started; the process is the command itself.
    pub(crate) fn command(&self, host: &str, line: &[&str]) -> Command {
        let mut command = script();
        command.args(["exec", &self.name, host]).args(line);
        command
    }

    /// Runs a command line on a host.
    pub(crate) fn on(&self, host: &str, line: &[&str]) -> Printed {
        print_of(self.command(host, line).output().unwrap())
    }

    /// Runs a command line on a host; what it printed. Fails the test if it fails.
    pub(crate) fn must(&self, host: &str, line: &[&str]) -> String {
        let done = self.on(host, line);
        assert!(done.success, "{host}: {line:?}: {}{}", done.out, done.err);
        done.out
    }

    /// Ends the servers of a host with SIGKILL.
    pub(crate) fn kill_servers(&self, host: &str) {
        self.script("kill", &[host]);
    }

    /// Starts the servers of a host.
    pub(crate) fn start_servers(&self, host: &str) {
        self.script("start", &[host]);
    }

    /// Makes a TAP on the servers' bridge, in the host "fabric".
    pub(crate) fn plug(&self, device: &str) {
        self.script("plug", &[device]);
    }

    /// Stops the servers of a host where they are (SIGSTOP): what arrives is acknowledged, and never answered.
    pub(crate) fn pause_servers(&self, host: &str) {
        self.script("pause", &[host]);
    }

    /// Lets them go on.
    pub(crate) fn resume_servers(&self, host: &str) {
        self.script("resume", &[host]);
    }

    /// Sends `count` datagrams from as many ports; the answers.
    pub(crate) fn datagrams(&self, address: &str, port: u16, count: usize) -> Vec<String> {
        let done = self.script("udp", &[address, &port.to_string(), &count.to_string()]);
        done.out.lines().map(str::to_owned).collect()
    }

    /// Where the servers' file is on this machine.
    pub(crate) fn file(&self) -> PathBuf {
        Path::new("/run/evenkeel-lab").join(&self.name).join("files/file")
    }

    /// Where what was PUT to /upload/NAME on a host is on this machine.
    pub(crate) fn uploaded(&self, host: &str, name: &str) -> PathBuf {
        Path::new("/run/evenkeel-lab").join(&self.name).join(host).join("upload").join(name)
    }

    /// While this file exists, a host's health check is answered with 503, and everything else as ever.
    pub(crate) fn unwell(&self, host: &str) -> PathBuf {
        Path::new("/run/evenkeel-lab").join(&self.name).join(host).join("unwell")
    }

    /// The network namespace of a host.
    pub(crate) fn namespace(&self, host: &str) -> PathBuf {
        Path::new("/run/netns").join(format!("ek-{}-{host}", self.name))
    }

    fn script(&self, command: &str, args: &[&str]) -> Printed {
        let done = print_of(script().args([command, &self.name]).args(args).output().unwrap());
        assert!(done.success, "scripts/lab {command} {args:?}: {}{}", done.out, done.err);
        done
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let down = script().args(["down", &self.name]).status();
        if !down.is_ok_and(|status| status.success()) {
            eprintln!("scripts/lab down {} failed", self.name);
        }
    }
}

/// The machine's cores, for a lab or a test that needs none; `None` if neither is possible here.
pub(crate) fn alone(name: &str) -> Option<MutexGuard<'static, ()>> {
    if !geteuid().is_root() {
        eprintln!("{name}: skipped: it takes root");
        return None;
    }
    Some(ALONE.lock().unwrap_or_else(PoisonError::into_inner))
}

fn script() -> Command {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/lab"))
}

/// A finished process's output as text.
pub(crate) fn print_of(output: Output) -> Printed {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Printed {
        success: output.status.success(),
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

static ALONE: Mutex<()> = Mutex::new(());
