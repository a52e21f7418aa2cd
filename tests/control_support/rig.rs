//! A control plane that runs, with made-up workers.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;

use evenkeel::config::Config;
use evenkeel::config::ProbeKind;
use evenkeel::control::admin::Listeners;
use evenkeel::control::admin::StartInfo;
use evenkeel::control::admin::protocol::PortInfo;
use evenkeel::control::kernel_port::SideTotals;
use evenkeel::control::network::NoNetwork;
use evenkeel::control::port_watch::PortReading;
use evenkeel::control::run::ControlPlane;
use evenkeel::control::signals::ControlRuntime;
use evenkeel::hash::IndexKey;
use evenkeel::model::BackendId;
use evenkeel::model::Protocol;
use evenkeel::model::ServiceId;
use evenkeel::shared::Capacities;
use evenkeel::shared::Command;
use evenkeel::shared::DropReason;
use evenkeel::shared::Event;
use evenkeel::shared::FlowPage;
use evenkeel::shared::FlowRecord;
use evenkeel::shared::FlowState;
use evenkeel::shared::Limits;
use evenkeel::shared::Persistence;
use evenkeel::shared::Snapshot;
use evenkeel::shared::SynProxies;
use evenkeel::shared::Tally;
use evenkeel::shared::WorkerCounters;
use evenkeel::shared::channel;
use evenkeel::shared::rings::CommandRings;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use super::config;
use super::endpoint;
use super::service;

/// A control plane on a thread of its own, until the process ends.
pub(crate) struct Rig {
    directory: TempDir,
    http: SocketAddr,
    /// What a reload will read.
    pub(crate) file: Arc<Mutex<Result<Config, String>>>,
}

impl Rig {
    /// Two workers; the second never answers.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut config = two_services();
        config.appliance.control_socket = directory.path().join("run/evenkeel/control.sock");
        config.appliance.http_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.appliance.workers = vec![1, 2];
        let listeners = Listeners::bind(&config.appliance).expect("the directory is ours");
        let http = listeners.http_address().expect("http is asked for");

        let capacities = Capacities { services: 16, backends: 64 };
        let counters: Vec<_> = (0..2).map(|_| Arc::new(WorkerCounters::new(capacities))).collect();
        let rings = CommandRings::new(2);
        let (snapshots, _readers) = channel(Snapshot::empty(), 2);
        thread::spawn({
            let (counters, rings) = (counters.clone(), rings.clone());
            move || work(&counters, &rings)
        });
        let file = Arc::new(Mutex::new(Ok(config.clone())));
        let source = Arc::clone(&file);
        let kernel = Some(SideTotals { tap_error: 2, ..SideTotals::default() });
        let reading = PortReading {
            link_up: true,
            rx_missed: 3,
            mbufs: 4095,
            mbufs_in_use: 1024,
            kernel,
            ..PortReading::default()
        };
        let start = move || ControlPlane {
            ports: Box::new(move || vec![reading.clone()]),
            config,
            load: Arc::new(move || source.lock().expect("no test panics with it").clone()),
            snapshots,
            counters,
            persistence: Arc::new(Persistence::new(1024, &IndexKey::new([1, 2, 3, 4]))),
            syn_proxies: Arc::new(SynProxies::new(16)),
            limits: Arc::new(Limits::new(capacities, 1024, &IndexKey::new([1, 2, 3, 4]))),
            rings,
            network: Box::new(NoNetwork),
            tasks: vec![],
            listeners,
            start_info: start_info(),
        };
        thread::spawn(move || start().run(ControlRuntime::install().expect("there are descriptors")));
        let rig = Self { directory, http, file };
        while rig.ask(&json!({"command": "status"}))["result"]["ready"] != json!(true) {}
        rig
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("run/evenkeel/control.sock")
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    pub(crate) fn ask(&self, request: &Value) -> Value {
        self.say(format!("{request}\n").as_bytes())
    }

    pub(crate) fn say(&self, request: &[u8]) -> Value {
        let mut stream = UnixStream::connect(self.socket()).expect("control listens");
        stream.write_all(request).expect("control reads");
        answer(&mut BufReader::new(stream))
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.http).expect("http listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: lb1\r\nConnection: close\r\n\r\n").expect("http reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("http answers");
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, body.to_owned())
    }
}

/// The next answer of control.
pub(crate) fn answer(stream: &mut impl BufRead) -> Value {
    let mut line = String::new();
    stream.read_line(&mut line).expect("control answers");
    serde_json::from_str(&line).expect("an answer is JSON")
}

fn two_services() -> Config {
    let mut config = config(vec![
        service("web", "203.0.113.80:80", &[("10.0.9.1:80", 1), ("10.0.9.2:80", 2)]),
        service("mail", "203.0.113.80:25", &[("10.0.9.1:25", 1)]),
    ]);
    config.services.iter_mut().for_each(|service| service.health.kind = ProbeKind::None);
    config
}

/// Both workers turn and count. The first answers, a page in two parts; the second has no flows, and keeps the page
/// of whoever asks for those of mail.
fn work(counters: &[Arc<WorkerCounters>], rings: &CommandRings) {
    let mut tally =
        Tally { rx_packets: 10, rx_octets: 640, flows_created: 7, flows_ended: 2, ..Tally::default() };
    tally.drops[DropReason::NoBackend as usize] = 3;
    loop {
        for worker in counters {
            worker.count_turn();
            worker.publish(&tally);
        }
        if let Some(Command::ListFlows(mut page)) = rings.commands[0].pop() {
            fill(&mut page);
            rings.events[0].push(Event::Flows(page)).expect("control takes pages away");
        }
        if let Some(Command::ListFlows(mut page)) = rings.commands[1].pop()
            && page.filter.service != Some(ServiceId(1))
        {
            page.done = true;
            rings.events[1].push(Event::Flows(page)).expect("control takes pages away");
        }
        thread::yield_now();
    }
}

/// Flows 0 to 4, three a page.
fn fill(page: &mut FlowPage) {
    let from = page.cursor;
    let filter = page.filter;
    page.records.extend((from..(from + 3).min(5)).map(flow).filter(|flow| filter.matches(flow)));
    page.cursor = from + 3;
    page.done = page.cursor >= 5;
}

fn flow(n: u64) -> FlowRecord {
    FlowRecord {
        protocol: Protocol::Tcp,
        client: endpoint(&format!("192.0.2.{n}:40000")),
        vip: endpoint("203.0.113.80:80"),
        local: endpoint("10.0.8.10:2000"),
        backend: endpoint("10.0.9.1:80"),
        backend_id: BackendId(0),
        service: ServiceId(0),
        state: FlowState::Established,
        displaced: false,
        idle_secs: 4,
        expires_secs: 896,
    }
}

fn start_info() -> StartInfo {
    let port = PortInfo {
        name: "front".to_owned(),
        device: "net_af_packet0,iface=veth-front,blocksz=65536".to_owned(),
        driver: "net_af_packet".to_owned(),
        mac: "02:00:00:00:00:01".to_owned(),
        mtu: 1500,
        rx_queues: 2,
        tx_queues: 2,
        kernel_interface: Some("ek0".to_owned()),
    };
    StartInfo {
        version: "1.2.3".to_owned(),
        memory: "ordinary pages".to_owned(),
        ports: vec![port],
        ..StartInfo::default()
    }
}
