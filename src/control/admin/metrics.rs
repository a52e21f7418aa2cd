//! Metrics in the OpenMetrics text format, gathered anew at each scrape.

use std::borrow::Borrow;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::NoLabelSet;
use prometheus_client::encoding::text;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

use super::protocol::BackendStatus;
use super::protocol::CounterStatus;
use super::protocol::ServiceStatus;
use super::protocol::Status;
use super::protocol::Totals;
use super::protocol::WorkerStatus;
use crate::control::kernel_port::SideTotals;
use crate::control::port_watch::PortReading;
use crate::control::step_times::BOUNDS;
use crate::control::step_times::StepTimes;

/// What metrics show of the process, beside services and backends.
#[derive(Debug)]
pub struct Overview {
    /// The process, its ports and workers.
    pub status: Status,
    /// The drop counters.
    pub drops: Vec<CounterStatus>,
    /// The durations of the loop's steps.
    pub steps: StepTimes,
}

/// All that metrics are made of.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) overview: Overview,
    pub(super) services: Vec<ServiceStatus>,
    pub(super) backends: Vec<BackendStatus>,
}

impl Gathered {
    /// The metrics as text.
    pub(super) fn text(self) -> String {
        let mut registry = Registry::with_prefix("evenkeel");
        registry.register_collector(Box::new(self));
        let mut out = String::new();
        text::encode(&mut out, &registry).expect("a string takes all that is written");
        out
    }
}

type Labels = Vec<(&'static str, String)>;

impl Collector for Gathered {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.process(&mut page)?;
        page.steps(&self.overview.steps)?;
        self.ports(&mut page)?;
        self.workers(&mut page)?;
        self.services(&mut page)?;
        self.backends(&mut page)
    }
}

impl Gathered {
    fn process(&self, page: &mut Page<'_>) -> fmt::Result {
        let Status { name, version, uptime_seconds, ready, draining, .. } = &self.overview.status;
        let labels = vec![("name", name.clone()), ("version", version.clone())];
        page.gauge("info", "The balancer's name and version", [(labels, 1)].into_iter())?;
        page.single("uptime_seconds", "Seconds since control started", *uptime_seconds)?;
        page.single(
            "ready",
            "1 while serving: started, every worker turns, every port has its link and its kernel side",
            (*ready).into(),
        )?;
        page.single("draining", "1 while leaving", (*draining).into())?;
        page.single(
            "snapshot_version",
            "Version of the latest snapshot",
            self.overview.status.snapshot_version,
        )?;
        page.single("vips_announced", "VIPs that lead here", self.overview.status.vips_announced as u64)?;
        let help = "Client prefixes with connections that count for their limits";
        page.single("clients_used", help, self.overview.status.clients as u64)?;
        page.single(
            "clients_capacity",
            "Client prefixes there is room for",
            self.overview.status.max_clients as u64,
        )?;
        let help = "Connections not held to the limits of their client prefix, for which there was no room";
        page.counter(
            "clients_unlimited",
            help,
            [(vec![], self.overview.status.clients_unlimited)].into_iter(),
        )?;
        let help = "Client prefixes whose backend is remembered";
        page.single("persistent_clients", help, self.overview.status.persistent_clients as u64)?;
        let help = "Flows whose backend was not remembered, as there was no room";
        let forgotten = self.overview.status.persistence_forgotten;
        page.counter("persistence_forgotten", help, [(vec![], forgotten)].into_iter())?;
        let help = "Lines of the log lost because they could not be written in time";
        page.counter(
            "log_lines_dropped",
            help,
            [(vec![], self.overview.status.log_lines_dropped)].into_iter(),
        )?;
        self.probes(page)
    }

    fn probes(&self, page: &mut Page<'_>) -> fmt::Result {
        let help = "Probes that could not be sent, once for each backend that they are about";
        page.counter("probes_not_sent", help, [(vec![], self.overview.status.probes_not_sent)].into_iter())?;
        let help =
            "1 while nearly all backends are silent at once and held in service until that is verified";
        page.single("suspicion", help, self.overview.status.suspicion.into())?;
        let help = "Times that nearly all backends were silent at once";
        page.counter("suspicions", help, [(vec![], self.overview.status.suspicions)].into_iter())?;
        let help = "Probe results discarded because this machine was late";
        page.counter("probes_discarded", help, [(vec![], self.overview.status.probes_discarded)].into_iter())
    }

    fn ports(&self, page: &mut Page<'_>) -> fmt::Result {
        let of = |field: fn(&PortReading) -> u64| {
            let read = self
                .overview
                .status
                .ports
                .iter()
                .filter_map(|port| Some((&port.info, port.reading.as_ref()?)));
            read.map(move |(info, reading)| (vec![("port", info.name.clone())], field(reading)))
        };
        page.gauge("port_up", "1 while there is a link", of(|p| p.link_up.into()))?;
        page.gauge("port_mbufs", "Packet buffers", of(|p| p.mbufs))?;
        page.gauge("port_mbufs_in_use", "Packet buffers in use", of(|p| p.mbufs_in_use))?;
        let help = "Frames that the device dropped because its receive rings were full";
        page.counter("port_rx_missed", help, of(|p| p.rx_missed))?;
        page.counter("port_rx_errors", "Frames received damaged", of(|p| p.rx_errors))?;
        let help = "Times that the device found no packet buffer to receive into";
        page.counter("port_rx_no_buffer", help, of(|p| p.rx_no_buffer))?;
        page.counter("port_tx_errors", "Frames that the device failed to send", of(|p| p.tx_errors))?;
        type Field = fn(&SideTotals) -> u64;
        let kernel: [(&str, &str, Field); 8] = [
            ("to_kernel", "Frames that the kernel took", |k| k.to_kernel),
            ("from_kernel", "Frames of the kernel given to workers", |k| k.from_kernel),
            ("originated", "Frames made by control given to workers", |k| k.originated),
            ("tap_full", "Frames lost because the TAP took no more", |k| k.tap_full),
            ("tap_errors", "Frames that the kernel refused", |k| k.tap_error),
            ("no_buffer", "Frames for workers lost for want of a packet buffer", |k| k.no_buffer),
            ("ring_full", "Frames for workers lost because these were behind", |k| k.ring_full),
            ("oversized", "Frames for workers lost because they exceed a packet buffer", |k| k.oversized),
        ];
        for (name, help, field) in kernel {
            let ports = self.overview.status.ports.iter();
            let sides = ports.filter_map(|port| Some((&port.info, port.reading.as_ref()?.kernel?)));
            let samples = sides.map(|(info, side)| (vec![("port", info.name.clone())], field(&side)));
            page.counter(&format!("kernel_port_{name}"), help, samples)?;
        }
        Ok(())
    }

    fn workers(&self, page: &mut Page<'_>) -> fmt::Result {
        type Field = fn(&Totals) -> u64;
        let counters: [(&str, &str, Field); 16] = [
            ("turns", "Turns of the loop", |t| t.turns),
            ("busy_turns", "Turns in which something arrived", |t| t.busy_turns),
            ("rx_packets", "Frames received from ports", |t| t.rx_packets),
            ("rx_bytes", "Octets received from ports", |t| t.rx_bytes),
            ("tx_packets", "Frames that ports accepted", |t| t.tx_packets),
            ("tx_bytes", "Octets that ports accepted", |t| t.tx_bytes),
            ("punted", "Frames given to the kernel", |t| t.punted),
            ("handed_in", "Frames taken from other workers", |t| t.handed_in),
            ("handed_off", "Frames given to other workers", |t| t.handed_off),
            ("injected", "Frames taken from the kernel", |t| t.injected),
            ("originated", "Frames made here: TCP resets, ICMP errors, pieces", |t| t.originated),
            ("icmp_errors", "ICMP errors about packets of flows, sent on", |t| t.icmp_errors),
            (
                "resets_doubted",
                "TCP resets sent on that do not end their flow at once, as their number is not the one expected",
                |t| t.resets_doubted,
            ),
            ("echoes", "Pings answered", |t| t.echoes),
            ("flows_created", "Flows created", |t| t.flows_created),
            (
                "flows_evicted",
                "Flows evicted for new ones, as the flow table was full or a backend had no local port left",
                |t| t.flows_evicted,
            ),
        ];
        let workers = &self.overview.status.workers;
        for (name, help, field) in counters {
            let samples = workers.iter().map(|worker| (of_worker(worker), field(&worker.totals)));
            page.counter(&format!("worker_{name}"), help, samples)?;
        }
        let drops = self.overview.drops.iter().flat_map(|drop| {
            let labels =
                |worker: usize| vec![("worker", worker.to_string()), ("reason", drop.reason.clone())];
            drop.workers.iter().enumerate().map(move |(worker, count)| (labels(worker), *count))
        });
        page.counter("worker_drops", "Frames dropped, by reason", drops)?;
        let gauge = |field: fn(&WorkerStatus) -> u64| workers.iter().map(move |w| (of_worker(w), field(w)));
        page.gauge("worker_held", "Frames inside the worker", gauge(|w| w.totals.held))?;
        page.gauge(
            "worker_stalled",
            "1 if the worker has not turned for a second",
            gauge(|w| w.stalled.into()),
        )?;
        let help = "Sessions that are not on the backend that their packets name";
        page.gauge("displaced_sessions", help, gauge(|w| w.totals.displaced))?;
        page.gauge("flow_table_used", "Flows in the worker's tables", gauge(|w| w.totals.flows))?;
        let help = "Flows that the worker's tables have room for, in the families that services use";
        page.gauge("flow_table_capacity", help, gauge(|w| w.flow_capacity))?;
        let occupancies = workers.iter().map(|worker| (of_worker(worker), worker.occupancy));
        page.ratio("worker_occupancy_ratio", "Busy share of the last second's turns", occupancies)
    }

    fn services(&self, page: &mut Page<'_>) -> fmt::Result {
        let labels = |service: &ServiceStatus| vec![("service", service.name.clone())];
        let labelled: Vec<_> = self.services.iter().map(|service| (labels(service), service)).collect();
        let of = |field: fn(&ServiceStatus) -> u64| {
            labelled.iter().map(move |(labels, service)| (labels, field(service)))
        };
        page.counter("service_connections", "Flows created", of(|s| s.connections))?;
        page.counter("service_refused", "Flows refused", of(|s| s.refused))?;
        page.counter("service_limited", "Flows refused by a limit", of(|s| s.limited))?;
        page.counter("service_denied", "Packets of clients not let in", of(|s| s.denied))?;
        page.gauge(
            "service_half_open",
            "TCP flows whose client has not completed the handshake",
            of(|s| s.syn_proxy.half_open),
        )?;
        let help = "1 while SYNs are answered in the backends' place";
        page.gauge("service_syn_proxy_active", help, of(|s| s.syn_proxy.active.into()))?;
        page.counter(
            "service_syn_cookies_sent",
            "SYNs answered with a cookie",
            of(|s| s.syn_proxy.cookies_sent),
        )?;
        let help = "Acknowledgements that brought a cookie back";
        page.counter("service_syn_cookies_accepted", help, of(|s| s.syn_proxy.cookies_accepted))?;
        let help =
            "Acknowledgements without a flow that brought no cookie of ours, while one could have come";
        page.counter("service_syn_cookies_wrong", help, of(|s| s.syn_proxy.cookies_wrong))?;
        let help = "Acknowledgements that brought a cookie too late";
        page.counter("service_syn_cookies_late", help, of(|s| s.syn_proxy.cookies_late))?;
        let help = "Segments that went on without the client's address, for lack of room";
        page.counter("service_toa_skipped", help, of(|s| s.toa_skipped))?;
        let help = "Segments from which a forged address of the client was taken";
        page.counter("service_toa_forged", help, of(|s| s.toa_forged))?;
        let help = "Connections that count for the service's limit";
        page.gauge("service_limit_used", help, of(|s| s.limited_connections.into()))?;
        let help = "Connections that the service may have; 0: any number";
        page.gauge("service_limit", help, of(|s| s.limits.connections.into()))?;
        page.gauge("service_backends", "Backends configured", of(|s| s.backends_total as u64))?;
        let help = "Backends that new flows can be placed on";
        page.gauge("service_backends_up", help, of(|s| s.backends_up as u64))?;
        page.gauge("service_announced", "1 while the VIP leads here", of(|s| s.announced.into()))?;
        let help = "Backends whose probes cannot be sent";
        page.gauge("service_probes_not_sent", help, of(|s| s.probes_not_sent as u64))?;
        page.gauge("service_up", "1 while a backend gets new flows", of(|s| s.up.into()))
    }

    fn backends(&self, page: &mut Page<'_>) -> fmt::Result {
        let configured = self.backends.iter().filter(|backend| backend.state != "removed");
        let labelled: Vec<_> = configured.map(|backend| (of_backend(backend), backend)).collect();
        let of = |field: fn(&BackendStatus) -> u64| {
            labelled.iter().map(move |(labels, backend)| (labels, field(backend)))
        };
        page.gauge("backend_up", "1 while in service", of(|b| (b.state == "up").into()))?;
        page.gauge("backend_weight", "Share of new flows", of(|b| b.weight.into()))?;
        page.gauge("backend_flows", "Flows on the backend", of(|b| b.flows))?;
        let help = "Connections that count for the backend's limit or for the scheduler";
        page.gauge("backend_limit_used", help, of(|b| b.limited_connections.into()))?;
        let help = "Connections that the backend takes; 0: any number";
        page.gauge("backend_limit", help, of(|b| b.max_connections.into()))?;
        page.gauge(
            "backend_local_ports_used",
            "Local ports in use for the endpoint",
            of(|b| b.local_ports_used),
        )?;
        let help = "Local ports there are for the endpoint";
        page.gauge("backend_local_ports_capacity", help, of(|b| b.local_ports_capacity))?;
        let help = "Flows refused because no local port was left for the backend";
        page.counter("backend_local_ports_refused", help, of(|b| b.local_ports_refused))?;
        let fullest = self.backends.iter().map(|backend| backend.local_ports_ratio).fold(0.0, f64::max);
        let help = "Share of local ports in use, of the backend and worker where it is the greatest";
        page.ratio("local_ports_used_ratio", help, [(vec![], fullest)].into_iter())?;
        page.counter("backend_transitions", "Changes of health", of(|b| b.transitions))?;
        page.counter("backend_connections", "Flows created", of(|b| b.connections))?;
        page.counter("backend_in_packets", "Packets from clients", of(|b| b.packets_in))?;
        page.counter("backend_in_bytes", "Octets from clients", of(|b| b.bytes_in))?;
        page.counter("backend_syns_unanswered", "SYNs that clients sent again", of(|b| b.syns_unanswered))?;
        page.counter(
            "backend_syns_reset",
            "SYNs that the backend answered with a RST",
            of(|b| b.syns_reset),
        )?;
        page.counter("backend_out_packets", "Packets to clients", of(|b| b.packets_out))?;
        page.counter("backend_out_bytes", "Octets to clients", of(|b| b.bytes_out))
    }
}

/// One metric after the other.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    /// A gauge of the process, without labels.
    fn single(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn steps(&mut self, steps: &StepTimes) -> fmt::Result {
        let help = "Durations of the steps of control's loop, by cause";
        let unit = Unit::Seconds;
        let mut metric =
            self.0.encode_descriptor("control_step", help, Some(&unit), MetricType::Histogram)?;
        for (step, durations) in steps.iter() {
            let labels = vec![("step", step.name().to_owned())];
            let buckets: Vec<(f64, u64)> = BOUNDS.into_iter().zip(durations.buckets).collect();
            let sum = durations.sum.as_secs_f64();
            let mut family = metric.encode_family(&labels)?;
            family.encode_histogram::<NoLabelSet>(sum, durations.count(), &buckets, None)?;
        }
        Ok(())
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Iterator<Item = (impl Borrow<Labels>, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            metric.encode_family(labels.borrow())?.encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
        }
        Ok(())
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Iterator<Item = (impl Borrow<Labels>, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            metric.encode_family(labels.borrow())?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn ratio(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Iterator<Item = (impl Borrow<Labels>, f64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            metric.encode_family(labels.borrow())?.encode_gauge(&value)?;
        }
        Ok(())
    }
}

fn of_worker(worker: &WorkerStatus) -> Labels {
    vec![("worker", worker.id.to_string())]
}

fn of_backend(backend: &BackendStatus) -> Labels {
    let endpoint = if backend.address.contains(':') {
        format!("[{}]:{}", backend.address, backend.port)
    } else {
        format!("{}:{}", backend.address, backend.port)
    };
    vec![("service", backend.service.clone()), ("backend", endpoint)]
}
