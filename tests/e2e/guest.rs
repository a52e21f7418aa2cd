//! A virtual machine on the lab's bridge, booted by `scripts/qemu`.

use std::fs;
use std::fs::File;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Child;
use std::process::Stdio;
use std::time::Duration;

use crate::lab::Lab;
use crate::wait::wait_until;

/// A running guest. Ended when dropped.
pub(crate) struct Guest {
    process: Child,
    console: PathBuf,
}

impl Guest {
    /// Boots a guest with these modules that runs `program`, with `files` beside it in /mnt. It has booted when
    /// something of it answers.
    pub(crate) fn boot(lab: &Lab, modules: &[&str], program: &str, files: &[(&str, &[u8])]) -> Self {
        let share = lab.directory().join("share");
        fs::create_dir(&share).unwrap();
        for (name, content) in files {
            fs::write(share.join(name), content).unwrap();
        }
        let run = share.join("run");
        fs::write(&run, program).unwrap();
        fs::set_permissions(&run, Permissions::from_mode(0o755)).unwrap();
        lab.plug(DEVICE);
        let mut line = vec![SCRIPT, "boot", "--share", share.to_str().unwrap(), "--nic", DEVICE];
        line.extend(modules.iter().flat_map(|module| ["--module", module]));
        let console = lab.directory().join("console");
        let output = File::create(&console).unwrap();
        let mut command = lab.command("fabric", &line);
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        Self { process: command.spawn().unwrap(), console }
    }

    /// Waits until something is so that the guest brings about.
    pub(crate) fn wait(&mut self, what: &str, bound: Duration, mut condition: impl FnMut() -> bool) {
        let (process, console) = (&mut self.process, &self.console);
        let shown = || fs::read_to_string(console).unwrap_or_default();
        let there = || {
            assert!(process.try_wait().unwrap().is_none(), "the guest has ended\n--- console\n{}", shown());
            condition()
        };
        wait_until(what, bound, there, || format!("--- console\n{}", shown()));
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- console of the guest\n{}", fs::read_to_string(&self.console).unwrap_or_default());
        }
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/qemu");
/// The TAP of the guest.
const DEVICE: &str = "guest";
