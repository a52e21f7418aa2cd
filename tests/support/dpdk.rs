//! DPDK in tests: EAL starts once per process, so every case runs in a process of its own.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

use std::env;
use std::process::Command;

use evenkeel::config::Memory;
use evenkeel::io::dpdk::DEFAULT_DESCRIPTORS;
use evenkeel::io::dpdk::Device;
use evenkeel::io::dpdk::DeviceOptions;
use evenkeel::io::dpdk::DpdkPort;
use evenkeel::io::dpdk::Eal;
use evenkeel::io::dpdk::EalOptions;

/// Where a case runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// The one of the machine; the case touches no interface.
    Machine,
    /// A namespace without a name, which ends with the process. Needs root, and is skipped without.
    OwnNamespace,
}

/// Runs `body` in a process of its own: the test named `case` starts this binary again with itself as the only test.
pub(crate) fn in_own_process(case: &str, network: Network, body: impl FnOnce()) {
    if env::var("EVENKEEL_TEST_CASE").as_deref() == Ok(case) {
        body();
        return;
    }
    if network == Network::OwnNamespace && !rustix::process::geteuid().is_root() {
        eprintln!("{case}: skipped, network namespaces need root");
        return;
    }
    let binary = env::current_exe().unwrap();
    let mut command = match network {
        Network::Machine => Command::new(binary),
        Network::OwnNamespace => {
            let mut command = Command::new("unshare");
            command.arg("--net").arg(binary);
            command
        }
    };
    let output = command
        .args(["--exact", case, "--nocapture", "--test-threads=1"])
        .env("EVENKEEL_TEST_CASE", case)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success(), "{case}: {}\n{text}", output.status);
    assert!(text.contains("1 passed"), "{case} is not the name of a test:\n{text}");
}

/// EAL on the first CPU that the process may use.
pub(crate) fn start_eal(devices: &[DeviceOptions]) -> Eal {
    let core = core_affinity::get_core_ids().unwrap()[0].id;
    Eal::start(&EalOptions {
        memory: Memory::Auto,
        control_core: core,
        memory_mib: devices.iter().map(DeviceOptions::memory_mib).sum(),
        devices: devices.iter().map(|options| options.device.clone()).collect(),
        extra_args: vec![],
    })
    .unwrap_or_else(|error| panic!("{error}"))
}

/// A port for one worker.
pub(crate) fn one_worker(device: &str) -> DeviceOptions {
    DeviceOptions {
        device: device.to_owned(),
        workers: 1,
        mtu: 1500,
        mac: None,
        mbufs: None,
        ports: 1,
        waiting_frames: 0,
        descriptors: DEFAULT_DESCRIPTORS,
    }
}

/// Opens a device that one worker uses.
pub(crate) fn open(eal: &Eal, options: &DeviceOptions) -> (Device, DpdkPort) {
    let (device, mut ports) = Device::open(eal, options).unwrap_or_else(|error| panic!("{error}"));
    let port = ports.pop().unwrap();
    assert!(ports.is_empty(), "one worker, one port");
    (device, port)
}

/// Runs a program that has to succeed; words are separated by blanks.
pub(crate) fn run(command: &str) {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}
