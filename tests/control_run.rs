//! The life of the control loop as the service manager and the operator see it: ready, reloaded, drained, gone. One
//! test, since signals go to the whole process.

mod control_support;

use std::net::IpAddr;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use control_support::address;
use control_support::config;
use control_support::service;
use evenkeel::config::ProbeKind;
use evenkeel::control::admin::Listeners;
use evenkeel::control::admin::StartInfo;
use evenkeel::control::drain::DrainEnd;
use evenkeel::control::network::Network;
use evenkeel::control::network::NetworkError;
use evenkeel::control::network::Wanted;
use evenkeel::control::run::ControlPlane;
use evenkeel::control::signals::ControlRuntime;
use evenkeel::hash::IndexKey;
use evenkeel::shared::Capacities;
use evenkeel::shared::Command;
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
use futures::future::BoxFuture;
use rustix::process::Signal;
use rustix::process::getpid;
use rustix::process::kill_process;

/// Fails once, then tells what it is asked to hold.
struct Told {
    calls: u32,
    vips: mpsc::Sender<Vec<IpAddr>>,
}

impl Network for Told {
    fn hold<'a>(&'a mut self, wanted: &'a Wanted) -> BoxFuture<'a, Result<(), NetworkError>> {
        self.calls += 1;
        let result = if self.calls == 1 {
            Err(NetworkError("not yet".to_owned()))
        } else {
            self.vips.send(wanted.vips.clone()).map_err(|error| NetworkError(error.to_string()))
        };
        Box::pin(std::future::ready(result))
    }
}

/// A worker with one flow, established until `open` says otherwise, then in TIME_WAIT.
fn work(counters: &WorkerCounters, rings: &CommandRings, open: &Mutex<bool>) {
    let tally = Tally { flows_created: 1, ..Tally::default() };
    counters.publish(&tally);
    loop {
        counters.count_turn();
        if let Some(Command::ListFlows(mut page)) = rings.commands[0].pop() {
            let open = *open.lock().expect("no test panics with it");
            fill(&mut page, if open { FlowState::Established } else { FlowState::TimeWait });
            rings.events[0].push(Event::Flows(page)).expect("control takes pages away");
        }
        thread::yield_now();
    }
}

fn fill(page: &mut FlowPage, state: FlowState) {
    page.records.push(FlowRecord {
        protocol: evenkeel::model::Protocol::Tcp,
        client: control_support::endpoint("192.0.2.1:40000"),
        vip: control_support::endpoint("203.0.113.80:80"),
        local: control_support::endpoint("10.0.8.10:2000"),
        backend: control_support::endpoint("10.0.9.1:80"),
        backend_id: evenkeel::model::BackendId(0),
        service: evenkeel::model::ServiceId(0),
        state,
        displaced: false,
        idle_secs: 0,
        expires_secs: 900,
    });
    page.done = true;
}

/// Messages to the service manager; each datagram may carry several lines.
fn expect(manager: &UnixDatagram, wanted: &str) {
    let mut buffer = [0; 4096];
    loop {
        let octets = manager.recv(&mut buffer).expect("the service manager hears of it");
        if String::from_utf8_lossy(&buffer[..octets]).lines().any(|line| line == wanted) {
            return;
        }
    }
}

#[test]
fn the_loop_becomes_ready_reloads_on_sighup_and_drains_on_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    let notify = directory.path().join("notify.sock");
    let manager = UnixDatagram::bind(&notify).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    set_environment("NOTIFY_SOCKET", notify.to_str().unwrap());

    let mut first = config(vec![service("web", "203.0.113.80:80", &[("10.0.9.1:80", 1)])]);
    first.services[0].health.kind = ProbeKind::None;
    first.appliance.control_socket = directory.path().join("control.sock");
    first.appliance.drain_timeout = Duration::from_secs(3600);
    let mut second = first.clone();
    second.services.push(service("dns", "203.0.113.53:53", &[]));

    let original = first.clone();
    let loads_second = Arc::new(AtomicBool::new(true));
    let for_load = Arc::clone(&loads_second);

    let capacities = Capacities { services: 16, backends: 64 };
    let counters = Arc::new(WorkerCounters::new(capacities));
    let rings = CommandRings::new(1);
    let open = Arc::new(Mutex::new(true));
    thread::spawn({
        let (counters, rings, open) = (Arc::clone(&counters), rings.clone(), Arc::clone(&open));
        move || work(&counters, &rings, &open)
    });
    let (vips, announced) = mpsc::channel();
    let (snapshots, _readers) = channel(Snapshot::empty(), 1);
    let listeners = Listeners::bind(&first.appliance).unwrap();
    let socket = first.appliance.control_socket.clone();
    let runtime = ControlRuntime::install().unwrap();
    // Sent before the loop exists.
    kill_process(getpid(), Signal::HUP).unwrap();
    for harmless in [Signal::USR1, Signal::USR2, Signal::ALARM] {
        kill_process(getpid(), harmless).unwrap();
    }
    let control = thread::spawn(move || {
        let plane = ControlPlane {
            ports: Box::new(Vec::new),
            config: first,
            load: Arc::new(move || {
                Ok(if for_load.load(Ordering::Relaxed) { second.clone() } else { original.clone() })
            }),
            snapshots,
            counters: vec![counters],
            persistence: Arc::new(Persistence::new(1024, &IndexKey::new([1, 2, 3, 4]))),
            syn_proxies: Arc::new(SynProxies::new(16)),
            limits: Arc::new(Limits::new(capacities, 1024, &IndexKey::new([1, 2, 3, 4]))),
            rings,
            network: Box::new(Told { calls: 0, vips }),
            tasks: vec![Box::pin(async { Ok(()) })],
            listeners,
            start_info: StartInfo::default(),
        };
        plane.run(runtime)
    });
    let next = || announced.recv_timeout(Duration::from_secs(60)).unwrap();
    let until = |wanted: &[IpAddr]| while next() != wanted {};

    expect(&manager, "READY=1");
    until(&[address("203.0.113.80")]);
    until(&[address("203.0.113.53"), address("203.0.113.80")]);
    loads_second.store(false, Ordering::Relaxed);
    kill_process(getpid(), Signal::HUP).unwrap();
    until(&[address("203.0.113.80")]);

    kill_process(getpid(), Signal::TERM).unwrap();
    expect(&manager, "STOPPING=1");
    until(&[]);
    assert!(!control.is_finished(), "a connection is open");
    assert!(socket.exists());
    *open.lock().unwrap() = false;
    assert_eq!(control.join().unwrap().unwrap(), DrainEnd::Idle);
    assert!(!socket.exists());
}

fn set_environment(key: &str, value: &str) {
    // SAFETY: the test has not started another thread yet, and it is the only test of this process.
    unsafe { std::env::set_var(key, value) };
}
