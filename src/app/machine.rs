//! What a configuration asks of this machine and does not find there, for `evenkeel check` and the log of a start.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;

use super::memory_plan::MemoryPlan;
use crate::config::{Config, PortConfig, ServiceConfig};
use crate::io::dpdk::HugePages;
use crate::model::Cidr;

/// Messages about what is missing. Reads some files of /proc and /sys; costs ports x backends.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut found = missing_cores(config);
    found.extend(config.ports.iter().filter_map(|port| missing_interface(port, Path::new("/sys/class/net"))));
    found.extend(scarce_memory(config, available_mib(Path::new("/proc/meminfo"))));
    found.extend(unreachable_backends(config));
    found.extend(missing_sources(config));
    found
}

/// A message for each core that this process may not run on.
pub(super) fn missing_cores(config: &Config) -> Vec<String> {
    let available: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    let control = ("appliance.control_core", &config.appliance.control_core);
    let workers = config.appliance.workers.iter().map(|core| ("appliance.workers", core));
    let missing = std::iter::once(control).chain(workers).filter(|(_, core)| !available.contains(core));
    let message = |(key, core)| {
        format!("{key}: core {core} is not available to this process; choose from {available:?}")
    };
    missing.map(message).collect()
}

/// A message if the device takes frames from an interface of the kernel that is not in `directory`.
fn missing_interface(port: &PortConfig, directory: &Path) -> Option<String> {
    const DRIVERS: [&str; 3] = ["net_af_packet", "net_af_xdp", "net_pcap"];
    let takes_one = DRIVERS.iter().any(|driver| port.device.starts_with(driver));
    let arguments = port.device.split(',').skip(1).filter_map(|argument| argument.split_once('='));
    let mut named =
        arguments.filter(|(key, _)| ["iface", "rx_iface", "rx_iface_in", "tx_iface"].contains(key));
    let missing = named.find(|(_, name)| !directory.join(name).exists()).filter(|_| takes_one);
    missing.map(|(_, name)| {
        format!(
            "port {:?}: interface {name:?} does not exist here; see `ip link`, or correct device",
            port.name
        )
    })
}

fn scarce_memory(config: &Config, available_mib: Option<usize>) -> Option<String> {
    let needed = MemoryPlan::new(config, HugePages::of_machine()).ordinary_mib();
    let available = available_mib.filter(|available| *available < needed)?;
    Some(format!(
        "appliance: up to {needed} MiB of ordinary memory are taken, and {available} MiB are available; lower flows_per_worker, or reserve huge pages"
    ))
}

/// `MemAvailable` of a file like /proc/meminfo, in MiB.
fn available_mib(file: &Path) -> Option<usize> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<usize>().ok().map(|kib| kib / 1024)
}

/// A message if backends are in no port's network and have no static next hop: only a route of the kernel leads to them.
fn unreachable_backends(config: &Config) -> Option<String> {
    let addresses = config.ports.iter().flat_map(|port| &port.addresses);
    let networks: Vec<Cidr> =
        addresses.filter_map(|(address, length)| Cidr::new(*address, *length)).collect();
    let is_near = |address: IpAddr| {
        let next_hops = config.next_hops.iter().map(|next_hop| &next_hop.prefix);
        networks.iter().chain(next_hops).any(|prefix| prefix.contains(address))
    };
    let backends = config
        .services
        .iter()
        .flat_map(|service| service.backends.iter().map(move |backend| (service, backend.endpoint.address)));
    let mut far = backends.filter(|(_, address)| !is_near(*address));
    let (service, address) = far.next()?;
    let others = match far.count() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    Some(format!(
        "backend {address} of service {:?}{others}: in no port's network and without a [[next_hop]]; make sure that the kernel has a route by way of a port's kernel_interface",
        service.name
    ))
}

/// A message for each service whose probes leave from an address that neither this machine nor the configuration has.
fn missing_sources(config: &Config) -> Vec<String> {
    let ports = config.ports.iter().flat_map(|port| &port.addresses).map(|(address, _)| *address);
    let of_services = config.services.iter().flat_map(|service| &service.local_addresses);
    let ours: HashSet<IpAddr> =
        ports.chain(config.local_addresses.iter().chain(of_services).copied()).collect();
    let is_missing = |from: &IpAddr| {
        let bound = || UdpSocket::bind((*from, 0));
        !ours.contains(from)
            && bound().is_err_and(|error| error.kind() == std::io::ErrorKind::AddrNotAvailable)
    };
    let sources = config.services.iter().filter_map(|service| Some((service, service.health.from?)));
    let missing = sources.filter(|(_, from)| is_missing(from));
    let message = |(service, from): (&ServiceConfig, IpAddr)| {
        format!(
            "service {:?}: from {from} of [service.health] is no address of this machine, so that probes cannot be sent; write a port's address, a local address or \"any\"",
            service.name
        )
    };
    missing.map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl Fn(String) -> String) -> Config {
        let text = change(include_str!("../../conf/quickstart.toml").to_owned());
        crate::config::parse("lb.toml", &text).unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn cores_beyond_those_of_the_machine_are_named() {
        assert_eq!(missing_cores(&config(|text| text)), Vec::<String>::new());
        let config = config(|text| text.replace("workers = [1]", "workers = [1000]"));
        let missing = missing_cores(&config);
        assert_eq!(missing.len(), 1);
        assert!(missing[0].starts_with("appliance.workers: core 1000 is not available"), "{missing:?}");
    }

    #[test]
    fn interfaces_that_do_not_exist_are_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("front")).unwrap();
        let config = config(|text| text);
        let missing: Vec<String> =
            config.ports.iter().filter_map(|port| missing_interface(port, directory.path())).collect();
        assert_eq!(missing.len(), 1);
        assert!(missing[0].starts_with("port \"back\": interface \"back\" does not exist"), "{missing:?}");
    }

    #[test]
    fn memory_that_is_not_available_is_named() {
        let config = config(|text| text);
        assert_eq!(scarce_memory(&config, Some(usize::MAX)), None);
        assert_eq!(scarce_memory(&config, None), None, "not known");
        assert!(
            scarce_memory(&config, Some(1)).is_some_and(|message| message.contains("1 MiB are available"))
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "MemTotal: 9000000 kB\nMemAvailable:   2097152 kB\n").unwrap();
        assert_eq!(available_mib(file.path()), Some(2048));
    }

    #[test]
    fn sources_of_probes_that_this_machine_does_not_have_are_named() {
        assert_eq!(missing_sources(&config(|text| text)), Vec::<String>::new());
        let from = |address: &str| {
            let key = format!("[service.health]\nfrom = \"{address}\"");
            config(|text| text.replacen("[service.health]", &key, 1))
        };
        assert_eq!(missing_sources(&from("10.0.8.10")), Vec::<String>::new(), "a local address");
        // TEST-NET-3 (RFC 5737).
        let missing = missing_sources(&from("203.0.113.7"));
        assert_eq!(missing.len(), 1);
        assert!(missing[0].starts_with("service \"web\": from 203.0.113.7"), "{missing:?}");
    }

    #[test]
    fn backends_that_no_port_leads_to_are_named() {
        assert_eq!(unreachable_backends(&config(|text| text)), None);
        let far = |text: String| text.replace("address = \"10.0.9.1\"", "address = \"172.31.0.2\"");
        let message = unreachable_backends(&config(far)).unwrap();
        assert!(message.starts_with("backend 172.31.0.2 of service \"web\""), "{message}");
        let hop =
            "\n[[next_hop]]\nprefix = \"172.31.0.0/16\"\nport = \"back\"\nmac = \"02:00:00:00:00:01\"\n";
        assert_eq!(unreachable_backends(&config(|text| far(text) + hop)), None);
    }
}
