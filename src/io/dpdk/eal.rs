//! DPDK's environment abstraction layer (EAL): memory, threads and drivers of the process.
//!
//! EAL starts once and never stops: packet memory stays mapped until the process ends, which is what makes dropping a
//! frame safe at any time. It runs on the control core alone; workers are threads of ours that register with it.

use std::ffi::CString;
use std::fmt;
use std::fs;
use std::io;
use std::marker::PhantomData;
use std::path::Path;
use std::process;
use std::ptr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use core_affinity::CoreId;

use super::DpdkError;
use super::log;
use crate::model::{Memory, TablePages};

/// What EAL needs to know.
#[derive(Clone, Debug)]
pub struct EalOptions {
    /// Where packet buffers come from.
    pub memory: Memory,
    /// The CPU of the calling thread and of EAL's own threads.
    pub control_core: usize,
    /// What the ports need: the sum of [`DeviceOptions::memory_mib`](super::DeviceOptions::memory_mib).
    pub memory_mib: usize,
    /// The `device` of every port; EAL has to know the PCI addresses among them before it starts.
    pub devices: Vec<String>,
    /// Appended to our arguments, so that they win where EAL takes the last.
    pub extra_args: Vec<String>,
}

/// The environment, started. A proof: it can be shared, and dropping it does nothing.
#[derive(Debug)]
pub struct Eal {
    memory: MemoryChoice,
}

/// Where packet buffers come from, and why; prints as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemoryChoice {
    /// Huge pages.
    Hugepages {
        /// What was free in them before EAL started.
        free_mib: usize,
        /// What the ports need.
        needed_mib: usize,
    },
    /// Ordinary pages: no set-up, but more TLB misses, and no DMA by cards without an IOMMU.
    Ordinary {
        /// What EAL was given; it becomes resident as it is used.
        reserved_mib: usize,
        /// Why not huge pages.
        because: OrdinaryBecause,
    },
}

/// Why ordinary pages are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrdinaryBecause {
    /// The configuration says so.
    Configured,
    /// `memory = "auto"`, and too few huge pages are free.
    TooFewHugepages {
        /// What was free.
        free_mib: usize,
        /// What the ports need.
        needed_mib: usize,
    },
}

/// While it lives, its thread is known to DPDK and has its own cache of packet buffers. It stays on its thread.
#[derive(Debug)]
pub struct RegisteredThread {
    /// Not `Send`: the registration is a property of the thread.
    _here: PhantomData<*const ()>,
}

impl Eal {
    /// Starts EAL and pins the calling thread to the control core.
    ///
    /// # Errors
    /// The second call in a process; too few huge pages where they are demanded; whatever EAL itself refuses. After
    /// an error of EAL a further attempt in this process fails with [`DpdkError::AlreadyStarted`].
    pub fn start(options: &EalOptions) -> Result<Self, DpdkError> {
        let memory = MemoryChoice::of(options, HugePages::of_machine())?;
        let arguments = arguments(options, &memory);
        if STARTED.swap(true, Ordering::Relaxed) {
            return Err(DpdkError::AlreadyStarted);
        }
        // EAL puts its own threads on the CPUs that the caller may use and that no lcore has: pinned first, the
        // caller keeps them off the workers' CPUs.
        if !core_affinity::set_for_current(CoreId { id: options.control_core }) {
            return Err(DpdkError::ControlCore { core: options.control_core });
        }
        log::forward();
        let started = initialise(arguments);
        // A failure leaves the directory, too.
        remove_empty_runtime_directory();
        started?;
        log::forward();
        Ok(Self { memory })
    }

    /// Where packet buffers come from, and why.
    #[must_use]
    pub const fn memory(&self) -> &MemoryChoice {
        &self.memory
    }
}

impl MemoryChoice {
    /// What [`Eal::start`] chooses with these options while `pages` are free.
    ///
    /// # Errors
    /// If these are too few, and none but huge pages will do.
    pub fn of(options: &EalOptions, pages: HugePages) -> Result<Self, DpdkError> {
        let needed_mib = options.needed_mib();
        let HugePages { free_mib, smallest_kib, .. } = pages;
        let ordinary = |because| Self::Ordinary { reserved_mib: needed_mib, because };
        match options.memory {
            Memory::NoHugepages => Ok(ordinary(OrdinaryBecause::Configured)),
            Memory::Auto | Memory::Hugepages if free_mib >= needed_mib => {
                Ok(Self::Hugepages { free_mib, needed_mib })
            }
            Memory::Auto => Ok(ordinary(OrdinaryBecause::TooFewHugepages { free_mib, needed_mib })),
            Memory::Hugepages => Err(DpdkError::TooFewHugepages {
                free_mib,
                needed_mib,
                pages: (needed_mib * 1024).div_ceil(smallest_kib),
                page_kib: smallest_kib,
            }),
        }
    }

    /// Where flow tables shall lie: beside the buffers.
    #[must_use]
    pub const fn table_pages(&self) -> TablePages {
        match self {
            Self::Hugepages { .. } => TablePages::Reserved,
            Self::Ordinary { .. } => TablePages::Ordinary,
        }
    }
}

impl fmt::Display for MemoryChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hugepages { free_mib, needed_mib } => {
                write!(f, "huge pages ({free_mib} MiB free, {needed_mib} MiB needed)")
            }
            Self::Ordinary { reserved_mib, because: OrdinaryBecause::Configured } => {
                write!(f, "ordinary pages, {reserved_mib} MiB (memory = \"no-hugepages\")")
            }
            Self::Ordinary {
                reserved_mib,
                because: OrdinaryBecause::TooFewHugepages { free_mib, needed_mib },
            } => write!(
                f,
                "ordinary pages, {reserved_mib} MiB (of huge pages {free_mib} MiB are free, {needed_mib} MiB needed)"
            ),
        }
    }
}

/// Makes the calling thread known to DPDK: without that its packet buffers bypass the per-thread cache and cost an
/// atomic operation each.
///
/// # Errors
/// EAL has not started, or has as many threads as it takes.
pub fn register_thread() -> Result<RegisteredThread, DpdkError> {
    // SAFETY: callable from any thread at any time: before EAL's start it fails with EINVAL, and for a registered
    // thread it is without effect.
    let result = unsafe { dpdk_sys::rte_thread_register() };
    if result != 0 {
        return Err(DpdkError::Thread { source: last_error() });
    }
    Ok(RegisteredThread { _here: PhantomData })
}

impl Drop for RegisteredThread {
    fn drop(&mut self) {
        // SAFETY: callable from any thread; this one is registered, as the guard cannot leave it.
        unsafe { dpdk_sys::rte_thread_unregister() };
    }
}

/// Whether `device` is a PCI address (with or without domain), perhaps followed by driver arguments.
pub(super) fn is_pci(device: &str) -> bool {
    let address = device_name(device);
    let Some((rest, function)) = address.rsplit_once('.') else { return false };
    let fields: Vec<&str> = rest.split(':').collect();
    let hexadecimal =
        |field: &str, digits| field.len() == digits && field.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bus_and_device = |bus, device| hexadecimal(bus, 2) && hexadecimal(device, 2);
    hexadecimal(function, 1)
        && match fields[..] {
            [domain, bus, device] => hexadecimal(domain, 4) && bus_and_device(bus, device),
            [bus, device] => bus_and_device(bus, device),
            _ => false,
        }
}

/// A device without its arguments.
pub(super) fn device_name(device: &str) -> &str {
    device.split_once(',').map_or(device, |(name, _)| name)
}

/// The reason that DPDK left in its thread-local errno.
pub(super) fn last_error() -> io::Error {
    // SAFETY: reads a thread-local variable; no preconditions.
    io::Error::from_raw_os_error(unsafe { dpdk_sys::evenkeel_errno() })
}

impl EalOptions {
    /// Mebibytes that EAL takes, its own included.
    #[must_use]
    pub const fn needed_mib(&self) -> usize {
        self.memory_mib + BASE_MIB
    }
}

/// What the kernel has reserved as huge pages, and nobody uses.
#[derive(Clone, Copy, Debug)]
pub struct HugePages {
    /// Of all sizes.
    pub free_mib: usize,
    /// Of pages of 2 MiB.
    pub free_small_mib: usize,
    smallest_kib: usize,
}

impl HugePages {
    /// Those of this machine, now.
    #[must_use]
    pub fn of_machine() -> Self {
        Self::read(Path::new("/sys/kernel/mm/hugepages"))
    }

    /// Reads a directory that looks like /sys/kernel/mm/hugepages; what is missing counts as nothing.
    #[must_use]
    pub fn read(directory: &Path) -> Self {
        let mut pages = Self { free_mib: 0, free_small_mib: 0, smallest_kib: usize::MAX };
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let size = name.to_str().and_then(|name| name.strip_prefix("hugepages-")?.strip_suffix("kB"));
            let Some(kib) = size.and_then(|size| size.parse::<usize>().ok()) else { continue };
            let free = fs::read_to_string(entry.path().join("free_hugepages")).unwrap_or_default();
            let free = free.trim().parse::<usize>().unwrap_or(0);
            pages.free_mib += free * kib / 1024;
            pages.free_small_mib += if kib == 2048 { free * 2 } else { 0 };
            pages.smallest_kib = pages.smallest_kib.min(kib);
        }
        if pages.smallest_kib == usize::MAX {
            pages.smallest_kib = 2048;
        }
        pages
    }
}

fn arguments(options: &EalOptions, memory: &MemoryChoice) -> Vec<String> {
    // lcore 0 on the control core, whatever its number: CPUs may be numbered higher than EAL's limit of lcores.
    let lcores = format!("0@{}", options.control_core);
    let mut list = vec!["evenkeel".to_owned(), "--lcores".to_owned(), lcores];
    // No telemetry: it is a socket and a thread of DPDK's own, beside our control socket.
    list.extend(["--no-telemetry", "--no-shconf", "--log-level=warning"].map(str::to_owned));
    list.push(format!("--file-prefix={}", file_prefix()));
    let mut pci = options.devices.iter().filter(|device| is_pci(device)).peekable();
    if pci.peek().is_none() {
        list.push("--no-pci".to_owned());
    }
    for device in pci {
        list.extend(["-a".to_owned(), device.clone()]);
    }
    match memory {
        // --single-file-segments: memif and vhost-user hand the memory to a peer as few file descriptors.
        MemoryChoice::Hugepages { .. } => {
            list.extend(["--in-memory", "--single-file-segments"].map(str::to_owned));
        }
        // --no-huge and --in-memory exclude each other.
        MemoryChoice::Ordinary { reserved_mib, .. } => {
            list.extend(["--no-huge".to_owned(), "-m".to_owned(), reserved_mib.to_string()]);
        }
    }
    list.extend_from_slice(&options.extra_args);
    list
}

/// Of this process alone, so that any number of balancers run on a machine.
fn file_prefix() -> String {
    format!("evenkeel-{}", process::id())
}

fn initialise(arguments: Vec<String>) -> Result<(), DpdkError> {
    let mut pointers = Vec::with_capacity(arguments.len() + 1);
    for argument in &arguments {
        let Ok(text) = CString::new(argument.as_str()) else {
            return Err(DpdkError::Argument { argument: argument.clone() });
        };
        // Left to EAL for good: it keeps pointers into some of its arguments.
        pointers.push(text.into_raw());
    }
    pointers.push(ptr::null_mut());
    let count = i32::try_from(arguments.len()).expect("a configuration has fewer than 2^31 arguments");
    let argv = pointers.leak().as_mut_ptr();
    // SAFETY: `argv` holds `count` NUL-terminated strings and a null pointer, which nobody else uses and which live
    // for ever; EAL was not started before (STARTED).
    let parsed = unsafe { dpdk_sys::rte_eal_init(count, argv) };
    let Ok(parsed) = usize::try_from(parsed) else {
        return Err(DpdkError::Eal { arguments, source: last_error() });
    };
    // EAL stops at the first word that is not an option, without a complaint.
    match arguments.get(parsed + 1) {
        Some(argument) => Err(DpdkError::Argument { argument: argument.clone() }),
        None => Ok(()),
    }
}

/// EAL makes a directory for shared files, of which it has none in the modes used here.
fn remove_empty_runtime_directory() {
    let runtime = std::env::var("RUNTIME_DIRECTORY").unwrap_or_else(|_| "/var/run".to_owned());
    // Not empty or not there: nothing to tidy.
    let _ = fs::remove_dir(Path::new(&runtime).join("dpdk").join(file_prefix()));
}

/// Set for ever by the first start.
static STARTED: AtomicBool = AtomicBool::new(false);

/// EAL's heap without packet buffers: rings of descriptors, device data, memory zones. Generous: ordinary pages become
/// resident when they are used.
const BASE_MIB: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn options(memory: Memory, devices: &[&str]) -> EalOptions {
        EalOptions {
            memory,
            control_core: 3,
            memory_mib: 100,
            devices: devices.iter().map(|device| (*device).to_owned()).collect(),
            extra_args: vec!["--log-level=debug".to_owned()],
        }
    }

    #[test]
    fn a_pci_address_is_told_from_a_vdev() {
        for device in ["0000:03:00.0", "03:00.0", "0000:af:1f.7,representor=0"] {
            assert!(is_pci(device), "{device}");
        }
        for device in ["net_pcap0,rx_pcap=a.b", "net_tap0", "", "0000:03:00", "eth0.100", "0:3:0.0"] {
            assert!(!is_pci(device), "{device}");
        }
    }

    #[test]
    fn only_configured_pci_devices_are_probed() {
        let memory = MemoryChoice::Hugepages { free_mib: 1024, needed_mib: 100 };
        let list = arguments(&options(Memory::Auto, &["0000:03:00.0", "net_tap0"]), &memory);
        assert!(list.windows(2).any(|pair| pair == ["-a", "0000:03:00.0"]));
        assert!(!list.contains(&"--no-pci".to_owned()));
        let list = arguments(&options(Memory::Auto, &["net_tap0"]), &memory);
        assert!(list.contains(&"--no-pci".to_owned()));
        assert!(!list.contains(&"-a".to_owned()));
    }

    #[test]
    fn the_two_memory_modes_exclude_each_other_and_extra_arguments_come_last() {
        let huge = MemoryChoice::Hugepages { free_mib: 1024, needed_mib: 100 };
        let ordinary = MemoryChoice::Ordinary { reserved_mib: 164, because: OrdinaryBecause::Configured };
        let options = options(Memory::Auto, &[]);
        let list = arguments(&options, &huge);
        assert!(list.contains(&"--in-memory".to_owned()) && !list.contains(&"--no-huge".to_owned()));
        let list = arguments(&options, &ordinary);
        assert!(list.contains(&"--no-huge".to_owned()) && !list.contains(&"--in-memory".to_owned()));
        assert!(list.windows(2).any(|pair| pair == ["-m", "164"]));
        assert_eq!(list.last().map(String::as_str), Some("--log-level=debug"));
    }

    #[test]
    fn free_huge_pages_of_all_sizes_count() {
        let directory = tempfile::tempdir().unwrap();
        for (size, free) in [("hugepages-2048kB", "10\n"), ("hugepages-1048576kB", "1\n"), ("other", "7\n")] {
            fs::create_dir(directory.path().join(size)).unwrap();
            fs::write(directory.path().join(size).join("free_hugepages"), free).unwrap();
        }
        let pages = HugePages::read(directory.path());
        assert_eq!((pages.free_mib, pages.free_small_mib, pages.smallest_kib), (1044, 20, 2048));
        assert_eq!(HugePages::read(&directory.path().join("missing")).free_mib, 0);
    }

    #[test]
    fn the_choice_of_memory_says_why() {
        let because = OrdinaryBecause::TooFewHugepages { free_mib: 2, needed_mib: 164 };
        let choice = MemoryChoice::Ordinary { reserved_mib: 164, because };
        assert_eq!(
            choice.to_string(),
            "ordinary pages, 164 MiB (of huge pages 2 MiB are free, 164 MiB needed)"
        );
    }
}
