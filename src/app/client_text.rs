//! Answers of the balancer as text for people, 100 columns wide at most in common cases.

use super::table::Column::Left;
use super::table::Column::Right;
use super::table::Table;
use crate::control::admin::protocol::Backends;
use crate::control::admin::protocol::Counters;
use crate::control::admin::protocol::Flows;
use crate::control::admin::protocol::PortInfo;
use crate::control::admin::protocol::PortStatus;
use crate::control::admin::protocol::Reload;
use crate::control::admin::protocol::Services;
use crate::control::admin::protocol::Status;
use crate::control::admin::protocol::Totals;
use crate::control::port_watch::PortReading;

/// `evenkeel status`.
#[must_use]
pub fn status(status: &Status) -> String {
    let phase = match (status.ready, status.draining) {
        (_, true) => "draining",
        (true, false) => "ready",
        (false, false) => "not ready",
    };
    let mut out = format!(
        "{}: evenkeel {}, {phase}, up {}\nsnapshot {}, {} VIPs announced, memory: {}\n\n",
        status.name,
        status.version,
        span(status.uptime_seconds),
        status.snapshot_version,
        status.vips_announced,
        status.memory,
    );
    if !status.not_ready.is_empty() {
        out.push_str(&format!("not ready: {}\n\n", status.not_ready.join("; ")));
    }
    if status.suspicion {
        out.push_str(
            "nearly all backends are silent at once, and held in service until that is verified\n\n",
        );
    }
    if !status.syn_proxies_active.is_empty() {
        out.push_str(&format!("SYNs answered with cookies: {}\n\n", status.syn_proxies_active.join(", ")));
    }
    if status.log_lines_dropped > 0 {
        out.push_str(&format!("log: {} lines were lost\n\n", status.log_lines_dropped));
    }
    let mut ports = Table::new(&[
        Left("PORT"),
        Left("DEVICE"),
        Left("MAC"),
        Right("MTU"),
        Right("QUEUES"),
        Left("KERNEL"),
        Left("LINK"),
        Right("LOST"),
        Right("MBUFS"),
    ]);
    for PortStatus { info: port, reading } in &status.ports {
        let of = |field: fn(&PortReading) -> String| reading.as_ref().map_or_else(|| "-".to_owned(), field);
        ports.row([
            port.name.clone(),
            shortened(&device(port), 30),
            port.mac.clone(),
            port.mtu.to_string(),
            format!("{}/{}", port.rx_queues, port.tx_queues),
            port.kernel_interface.clone().unwrap_or_else(|| "none".to_owned()),
            of(link),
            of(|reading| reading.lost().to_string()),
            of(|reading| format!("{}%", reading.mbufs_in_use * 100 / reading.mbufs.max(1))),
        ]);
    }
    out.push_str(&format!("{ports}\n"));
    let mut workers = Table::new(&[
        Left("WORKER"),
        Right("CORE"),
        Right("BUSY"),
        Right("RX"),
        Right("TX"),
        Right("PUNTED"),
        Right("HANDED OFF"),
        Right("DROPPED"),
        Right("FLOWS"),
        Right("CREATED"),
    ]);
    let row = |id: String, core: String, busy: String, totals: &Totals| {
        [
            id,
            core,
            busy,
            totals.rx_packets.to_string(),
            totals.tx_packets.to_string(),
            totals.punted.to_string(),
            totals.handed_off.to_string(),
            totals.drops.values().sum::<u64>().to_string(),
            totals.flows.to_string(),
            totals.flows_created.to_string(),
        ]
    };
    for worker in &status.workers {
        let busy =
            if worker.stalled { "STALLED".to_owned() } else { format!("{:.0}%", worker.occupancy * 100.0) };
        workers.row(row(worker.id.to_string(), worker.core.to_string(), busy, &worker.totals));
    }
    workers.row(row("total".to_owned(), String::new(), String::new(), &status.total));
    out.push_str(&workers.to_string());
    if !status.total.drops.is_empty() {
        let mut drops = Table::new(&[Left("DROPPED BECAUSE"), Right("PACKETS")]);
        for (reason, count) in &status.total.drops {
            drops.row([reason.clone(), count.to_string()]);
        }
        out.push_str(&format!("\n{drops}"));
    }
    out
}

/// A port's device, with the driver where its name does not say it.
fn device(port: &PortInfo) -> String {
    if port.device.starts_with(&port.driver) {
        return port.device.clone();
    }
    format!("{} ({})", port.device, port.driver)
}

fn link(reading: &PortReading) -> String {
    match (reading.link_up, reading.speed_mbps) {
        (false, _) => "DOWN".to_owned(),
        (true, None) => "up".to_owned(),
        (true, Some(speed)) if speed % 1000 == 0 => format!("{}G", speed / 1000),
        (true, Some(speed)) => format!("{speed}M"),
    }
}

/// `evenkeel services`.
#[must_use]
pub fn services(list: &Services) -> String {
    let mut table = Table::new(&[
        Left("SERVICE"),
        Left("VIP"),
        Left("PORT"),
        Left("PROTOCOL"),
        Left("SCHEDULER"),
        Right("TIER"),
        Right("UP"),
        Right("CONNECTIONS"),
        Right("LIMIT"),
        Right("REFUSED"),
        Left("SYN PROXY"),
    ]);
    for service in &list.services {
        table.row([
            service.name.clone(),
            service.vip.clone(),
            service.port.clone(),
            service.protocol.clone(),
            service.scheduler.clone(),
            match service.tier {
                Some(_) if service.panic => "panic".to_owned(),
                Some(tier) => tier.to_string(),
                None => "-".to_owned(),
            },
            format!("{}/{}", service.backends_up, service.backends_total),
            service.connections.to_string(),
            of_limit(service.limited_connections, service.limits.connections),
            service.refused.to_string(),
            match service.syn_proxy.mode.as_str() {
                "auto" if service.syn_proxy.active => "auto: on".to_owned(),
                mode => mode.to_owned(),
            },
        ]);
    }
    let mut out = table.to_string();
    for service in &list.services {
        if let Some(reason) = &service.not_announced {
            out.push_str(&format!("{}: VIP {} is not announced: {reason}\n", service.name, service.vip));
        }
    }
    out
}

/// `evenkeel backends`.
#[must_use]
pub fn backends(list: &Backends) -> String {
    let mut table = Table::new(&[
        Left("SERVICE"),
        Left("BACKEND"),
        Right("TIER"),
        Right("WEIGHT"),
        Left("STATE"),
        Right("SINCE"),
        Left("CHECK"),
        Right("FLOWS"),
        Right("LIMIT"),
        Right("CREATED"),
        Right("IN"),
        Right("OUT"),
    ]);
    for backend in &list.backends {
        let colon = backend.address.contains(':');
        let address = if colon { format!("[{}]", backend.address) } else { backend.address.clone() };
        table.row([
            backend.service.clone(),
            format!("{address}:{}", backend.port),
            backend.tier.to_string(),
            backend.weight.to_string(),
            backend.state.clone(),
            span(backend.since_seconds),
            backend.last_check.clone().unwrap_or_else(|| "-".to_owned()),
            backend.flows.to_string(),
            of_limit(backend.limited_connections, backend.max_connections),
            backend.connections.to_string(),
            octets(backend.bytes_in),
            octets(backend.bytes_out),
        ]);
    }
    table.to_string()
}

/// `evenkeel flows`.
#[must_use]
pub fn flows(list: &Flows) -> String {
    let mut table = Table::new(&[
        Left("PROTOCOL"),
        Left("CLIENT"),
        Left("VIP"),
        Left("LOCAL"),
        Left("BACKEND"),
        Left("STATE"),
        Right("IDLE"),
    ]);
    for flow in &list.flows {
        table.row([
            flow.protocol.clone(),
            flow.client.clone(),
            flow.vip.clone(),
            flow.local.clone(),
            flow.backend.clone(),
            if flow.displaced { format!("{}, displaced", flow.state) } else { flow.state.clone() },
            span(flow.idle_seconds.into()),
        ]);
    }
    let mut out = table.to_string();
    if list.truncated {
        out.push_str("There are more; see --limit.\n");
    }
    if !list.silent_workers.is_empty() {
        let workers: Vec<String> = list.silent_workers.iter().map(ToString::to_string).collect();
        out.push_str(&format!("No answer from worker {}: its flows are missing.\n", workers.join(", ")));
    }
    out
}

/// `evenkeel counters`.
#[must_use]
pub fn counters(list: &Counters, all: bool) -> String {
    let mut table = Table::new(&[Left("REASON"), Right("PACKETS"), Left("WHAT HAPPENED")]);
    let mut shown = 0;
    for counter in list.counters.iter().filter(|counter| all || counter.total > 0) {
        let mut lines = wrapped(&counter.sentence, 58).into_iter();
        let first = lines.next().unwrap_or_default();
        table.row([counter.reason.clone(), counter.total.to_string(), first]);
        lines.for_each(|line| table.row([String::new(), String::new(), line]));
        shown += 1;
    }
    if shown == 0 { "No packet was dropped.\n".to_owned() } else { table.to_string() }
}

/// `evenkeel reload`.
#[must_use]
pub fn reload(reload: &Reload) -> String {
    let verdict = match (reload.difference.is_empty(), reload.applied) {
        (true, _) => "Nothing changes.\n",
        (false, true) => "Loaded.\n",
        (false, false) => "Not loaded: dry run.\n",
    };
    let warnings: String = reload.warnings.iter().map(|warning| format!("{warning}\n")).collect();
    format!("{warnings}{}{verdict}", reload.difference)
}

/// As `17/100`, connections that count and how many may be; `-` without a limit.
fn of_limit(used: u32, limit: u32) -> String {
    if limit == 0 { "-".to_owned() } else { format!("{used}/{limit}") }
}

/// As `45s`, `12m 5s`, `3h 10m`, `12d 4h`.
fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// As `312`, `4.1k`, `2.0G`: powers of 1000.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn octets(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["", "k", "M", "G", "T"] {
        if value < 999.5 {
            return if unit.is_empty() { n.to_string() } else { format!("{value:.1}{unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1}P")
}

/// `text` in lines of at most `width` characters, as far as its words allow.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_short() {
        for (seconds, text) in [(0, "0s"), (65, "1m 5s"), (3_660, "1h 1m"), (90_000, "1d 1h")] {
            assert_eq!(span(seconds), text);
        }
        for (n, text) in
            [(0, "0"), (999, "999"), (1_000, "1.0k"), (999_499, "999.5k"), (2_000_000_000, "2.0G")]
        {
            assert_eq!(octets(n), text, "{n}");
        }
    }
}
