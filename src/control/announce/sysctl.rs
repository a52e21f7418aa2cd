//! Kernel settings: those of our own interfaces, and the size of the kernel's neighbour tables.

use std::fs;
use std::path::Path;

/// Makes the settings of [`SETTINGS`] on `interface`. One that cannot be made is logged, not fatal: /proc/sys is
/// read-only in some containers, and the defaults of most systems work.
pub(super) fn tune(interface: &str) {
    for (family, key, value) in SETTINGS {
        set(&format!("/proc/sys/net/{family}/conf/{interface}/{key}"), value);
    }
}

/// Enables IPv6 on `interface`, which is to carry an IPv6 address: some systems have it disabled by default. An interface
/// without IPv6 addresses stays as the system has it.
pub(super) fn enable_ipv6(interface: &str) {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
    // A kernel without IPv6 has no such file, and the address fails with a reason of its own.
    if fs::read_to_string(&path).is_ok_and(|value| value.trim() != "0") {
        set(&path, "0");
    }
}

/// Raises the limits of the kernel's neighbour tables below `directory` (/proc/sys/net), which are of all network
/// namespaces together, to what backends and routers may need. In a namespace other than the first they cannot be seen.
pub(super) fn raise_neighbour_limits(directory: &Path) {
    for family in ["ipv4", "ipv6"] {
        // The largest first: the kernel evicts by the smaller ones.
        for (key, wanted) in NEIGHBOUR_LIMITS {
            let path = directory.join(family).join("neigh/default").join(key);
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let Some(limit) = text.trim().parse::<u32>().ok().filter(|limit| *limit < wanted) else {
                continue;
            };
            let path = path.display().to_string();
            if set(&path, &wanted.to_string()) {
                tracing::info!(path, from = limit, to = wanted, "sysctl_raised");
            }
        }
    }
}

/// arp(7): above the third no neighbour is added, above the second for 5 s, below the first none is evicted. Enough for
/// the 2,048 neighbours that are kept resolved and as many again of clients.
const NEIGHBOUR_LIMITS: [(&str, u32); 3] = [("gc_thresh3", 8192), ("gc_thresh2", 4096), ("gc_thresh1", 2048)];

/// Returns true if the kernel took the value.
fn set(path: &str, value: &str) -> bool {
    let written = fs::write(path, value);
    if let Err(error) = &written {
        tracing::warn!("sysctl_not_set path={path} value={value} reason=\"{error}\"");
    }
    written.is_ok()
}

const SETTINGS: [(&str, &str, &str); 5] = [
    // Answers to probes may come back by another port than the route's. The kernel uses the larger of this value and
    // conf.all's: 0 would leave a strict 1 from there in force, 2 (loose) overrides it.
    ("ipv4", "rp_filter", "2"),
    // ARP requests carry an address of the asked subnet, never a VIP, which neighbours might then learn or refuse.
    ("ipv4", "arp_announce", "2"),
    // An appliance answers at once: no second of duplicate address detection before the link-local address works.
    ("ipv6", "accept_dad", "0"),
    // Routes are configured or come from routing daemons.
    ("ipv6", "accept_ra", "0"),
    // IPv6 addresses stay when the interface goes down and up again.
    ("ipv6", "keep_addr_on_down", "1"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbour_limits_are_raised_and_never_lowered() {
        let directory = tempfile::tempdir().unwrap();
        let of = |family: &str| directory.path().join(family).join("neigh/default");
        fs::create_dir_all(of("ipv4")).unwrap();
        for (key, value) in [("gc_thresh1", "128\n"), ("gc_thresh2", "512\n"), ("gc_thresh3", "100000\n")] {
            fs::write(of("ipv4").join(key), value).unwrap();
        }
        raise_neighbour_limits(directory.path());
        let read = |key| fs::read_to_string(of("ipv4").join(key)).unwrap();
        assert_eq!((read("gc_thresh1").as_str(), read("gc_thresh2").as_str()), ("2048", "4096"));
        assert_eq!(read("gc_thresh3"), "100000\n");
        assert!(!of("ipv6").exists());
    }
}
