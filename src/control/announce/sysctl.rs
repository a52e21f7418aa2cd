//! Kernel settings of our own interfaces. Nothing global is touched.

/// Makes the settings of [`SETTINGS`] on `interface`. One that cannot be made is logged, not fatal: /proc/sys is
/// read-only in some containers, and the defaults of most systems work.
pub(super) fn tune(interface: &str) {
    for (family, key, value) in SETTINGS {
        let path = format!("/proc/sys/net/{family}/conf/{interface}/{key}");
        if let Err(error) = std::fs::write(&path, value) {
            tracing::warn!("sysctl_not_set path={path} value={value} reason=\"{error}\"");
        }
    }
}

const SETTINGS: [(&str, &str, &str); 6] = [
    // Answers to probes may come back by another port than the route's. The kernel uses the larger of this value and
    // conf.all's: 0 would leave a strict 1 from there in force, 2 (loose) overrides it.
    ("ipv4", "rp_filter", "2"),
    // ARP requests carry an address of the asked subnet, never a VIP, which neighbours might then learn or refuse.
    ("ipv4", "arp_announce", "2"),
    // Some systems have IPv6 off by default; a port may still have IPv6 addresses.
    ("ipv6", "disable_ipv6", "0"),
    // An appliance answers at once: no second of duplicate address detection before the link-local address works.
    ("ipv6", "accept_dad", "0"),
    // Routes are configured or come from routing daemons.
    ("ipv6", "accept_ra", "0"),
    // IPv6 addresses stay when the interface goes down and up again.
    ("ipv6", "keep_addr_on_down", "1"),
];
