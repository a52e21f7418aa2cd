//! Whether thousands of probes start in time. Run it alone, on an idle machine:
//!
//!     cargo test --test control_probes -- --ignored --nocapture slip

use std::collections::HashMap;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use evenkeel::control::health::ProbeNews;
use evenkeel::control::health::ProbeSpec;
use evenkeel::control::health::Probes;
use evenkeel::control::health::Question;
use evenkeel::model::BackendId;
use rustix::process::Resource;
use rustix::process::getrlimit;
use rustix::process::setrlimit;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;

use super::tcp;

const BACKENDS: u32 = 5000;
const INTERVAL: Duration = Duration::from_secs(2);
const ROUNDS: u32 = 10;

/// When which address was connected to.
type Accepted = (IpAddr, Instant);

/// A port on every address of 127.0.0.0/8: as many targets as one likes, over one listener.
fn listen() -> (u16, std_mpsc::Receiver<Accepted>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
    let listener = socket.listen(8192).unwrap().into_std().unwrap();
    listener.set_nonblocking(false).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, accepted) = std_mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let at = Instant::now();
            if seen.send((stream.local_addr().unwrap().ip(), at)).is_err() {
                return;
            }
        }
    });
    (port, accepted)
}

/// The slip is measured from outside, by when connections arrive: how much later than the earliest that its place in
/// the row allows. The first probe of each backend, which is due at once for all, is counted apart.
#[tokio::test]
#[ignore = "measures for 24 seconds and needs an idle machine"]
async fn probes_of_5000_backends_slip_by_less_than_100_ms() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let (port, accepted) = listen();
    let (reports, mut results) = mpsc::channel(256);
    let mut probes = Probes::new(reports);
    let begin = Instant::now();
    for backend in 0..BACKENDS {
        let target = SocketAddr::from((Ipv4Addr::from_bits(0x7f01_0000 + backend), port));
        let check = Question { interval: INTERVAL, timeout: Duration::from_secs(1), ..tcp(target) };
        probes.start(ProbeSpec {
            backend: BackendId(backend),
            generation: 1,
            check: check.into(),
            agent: None,
        });
    }
    let mut failed = 0_u32;
    let end = tokio::time::sleep(INTERVAL * (ROUNDS + 1));
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            Some(news) = results.recv() => {
                let good = matches!(news, ProbeNews::Result(report) if report.outcome.result.is_ok());
                failed += u32::from(!good);
            }
        }
    }
    drop(probes);

    let mut arrivals: HashMap<IpAddr, Vec<Instant>> = HashMap::new();
    for (target, at) in accepted.try_iter() {
        arrivals.entry(target).or_default().push(at);
    }
    assert_eq!(arrivals.len(), BACKENDS as usize);
    let mut first = Vec::new();
    let mut slips = Vec::new();
    for times in arrivals.values() {
        first.push(times[0] - begin);
        let due: Vec<_> = times[1..].iter().zip(0..).map(|(at, round)| *at - INTERVAL * round).collect();
        let earliest = due.iter().min().unwrap();
        slips.extend(due.iter().map(|due| *due - *earliest));
        assert!(due.len() >= ROUNDS as usize - 1, "{} probes", times.len());
    }
    let quantiles = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        let at = |part: usize| times[(times.len() - 1) * part / 1000];
        (at(500), at(990), at(999), at(1000))
    };
    println!("first probes after the start: p50, p99, p99.9, max {:?}", quantiles(&mut first));
    println!(
        "slip of {} probes: p50, p99, p99.9, max {:?}; failed {failed}",
        slips.len(),
        quantiles(&mut slips)
    );
    let (_, p99, ..) = quantiles(&mut slips);
    assert!(p99 < Duration::from_millis(100), "{p99:?}");
    assert_eq!(failed, 0);
}
