//! Probes against real listeners on this machine, well-behaved and not.

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::Duration;

use evenkeel::config::ProbeKind;
use evenkeel::control::health::ProbeFailure;
use evenkeel::control::health::ProbeReport;
use evenkeel::control::health::ProbeResult;
use evenkeel::control::health::ProbeSpec;
use evenkeel::control::health::Probes;
use evenkeel::control::health::probe;
use evenkeel::model::BackendId;
use tokio::sync::mpsc;

/// A server that treats every connection with `serve`, for the rest of the process.
fn server(serve: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    thread::spawn(move || listener.incoming().flatten().for_each(serve));
    address
}

/// Reads a request's head, then writes `answer` and closes.
fn answering(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let answer = answer.into();
    server(move |stream| {
        read_head(&stream);
        // The prober may have seen enough and gone.
        let _gone = (&stream).write_all(&answer);
    })
}

fn read_head(stream: &TcpStream) -> Vec<String> {
    BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect()
}

fn tcp(target: SocketAddr) -> ProbeSpec {
    ProbeSpec {
        backend: BackendId(1),
        generation: 1,
        target,
        kind: ProbeKind::Tcp,
        interval: Duration::from_millis(20),
        timeout: Duration::from_secs(10),
    }
}

fn http(target: SocketAddr) -> ProbeSpec {
    let kind = ProbeKind::Http { path: "/healthz?deep=1".to_owned(), host: None, status: vec![200..=299] };
    ProbeSpec { kind, ..tcp(target) }
}

/// A timeout that is meant to pass.
fn impatient(spec: ProbeSpec) -> ProbeSpec {
    ProbeSpec { timeout: Duration::from_millis(100), ..spec }
}

async fn ask(spec: ProbeSpec) -> ProbeResult {
    probe(&spec).await.expect("this machine can probe")
}

#[tokio::test]
async fn an_open_port_is_a_success_and_a_closed_one_refuses() {
    assert_eq!(ask(tcp(server(drop))).await, Ok(()));
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    assert_eq!(ask(tcp(closed)).await, Err(ProbeFailure::Refused));
    assert_eq!(ask(http(closed)).await, Err(ProbeFailure::Refused));
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_times_out() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(ask(impatient(http(address))).await, Err(ProbeFailure::Timeout));
    assert_eq!(ask(tcp(address)).await, Ok(()));
}

#[tokio::test]
async fn answers_are_judged_by_their_status() {
    for (description, answer, expected) in [
        ("expected status", "HTTP/1.1 204 No Content\r\n\r\n", Ok(())),
        ("HTTP/1.0, no reason, with a body", "HTTP/1.0 200\r\nContent-Length: 2\r\n\r\nok", Ok(())),
        ("other status", "HTTP/1.1 503 Busy\r\n\r\n", Err(ProbeFailure::Status(503))),
        ("an interim answer first", "HTTP/1.1 103 Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Ok(())),
        ("garbage", "SSH-2.0-OpenSSH_9.2\r\n", Err(ProbeFailure::Malformed)),
        ("binary", "\u{0}\u{1}\u{2}\u{3}", Err(ProbeFailure::Malformed)),
        ("nothing", "", Err(ProbeFailure::Closed)),
        ("half a head", "HTTP/1.1 200 OK\r\nServer:", Err(ProbeFailure::Closed)),
    ] {
        assert_eq!(ask(http(answering(answer))).await, expected, "{description}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let endless = server(|stream| {
        read_head(&stream);
        let mut stream = stream;
        let _started = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ");
        while stream.write_all(&[b'x'; 1024]).is_ok() {}
    });
    assert_eq!(ask(http(endless)).await, Err(ProbeFailure::Malformed));
}

#[tokio::test]
async fn an_answer_byte_by_byte_counts_if_it_is_complete_in_time() {
    let trickling = |pause: Duration| {
        server(move |stream| {
            stream.set_nodelay(true).expect("an open socket takes options");
            read_head(&stream);
            for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" {
                if (&stream).write_all(&[*byte]).is_err() {
                    return;
                }
                thread::sleep(pause);
            }
        })
    };
    assert_eq!(ask(http(trickling(Duration::from_millis(1)))).await, Ok(()));
    let too_slow = trickling(Duration::from_secs(1));
    assert_eq!(ask(impatient(http(too_slow))).await, Err(ProbeFailure::Timeout));
}

#[tokio::test]
async fn the_request_names_path_and_host_and_asks_for_no_more() {
    let (seen, requests) = std_mpsc::channel();
    let address = server(move |mut stream| {
        let _test_over = seen.send(read_head(&stream));
        let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
    });
    ask(http(address)).await.unwrap();
    let head = requests.recv().unwrap();
    assert_eq!(head[0], "GET /healthz?deep=1 HTTP/1.1");
    assert!(head.contains(&format!("Host: {address}")), "{head:?}");
    assert!(head.contains(&"Connection: close".to_owned()), "{head:?}");

    let kind = ProbeKind::Http { path: "/".to_owned(), host: Some("www.example".to_owned()), status: vec![] };
    let answer = ask(ProbeSpec { kind, ..http(address) }).await;
    assert_eq!(answer, Err(ProbeFailure::Status(200)));
    assert!(requests.recv().unwrap().contains(&"Host: www.example".to_owned()));
}

#[tokio::test]
async fn the_runner_keeps_probing_until_it_is_stopped_or_told_otherwise() {
    let (reports, mut results) = mpsc::channel(16);
    let mut probes = Probes::new(reports);
    probes.start(tcp(server(drop)));
    for _ in 0..3 {
        let report = results.recv().await.unwrap();
        assert_eq!(report, ProbeReport { backend: BackendId(1), generation: 1, result: Ok(()) });
    }
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    probes.start(ProbeSpec { generation: 2, ..tcp(closed) });
    let changed = loop {
        let report = results.recv().await.unwrap();
        if report.generation == 2 {
            break report;
        }
    };
    assert_eq!(changed.result, Err(ProbeFailure::Refused));
    probes.stop(BackendId(1));
    drop(probes);
    // Every sender is gone: no task is left that probes.
    while results.recv().await.is_some() {}
}

#[tokio::test]
async fn probes_start_an_interval_apart_however_long_each_takes() {
    let (accepted, accepts) = std_mpsc::channel();
    let address = server(move |stream| {
        let _test_over = accepted.send(std::time::Instant::now());
        read_head(&stream);
        thread::sleep(Duration::from_millis(30));
        let _gone = (&stream).write_all(b"HTTP/1.1 200 OK\r\n\r\n");
    });
    let (reports, mut results) = mpsc::channel(16);
    let mut probes = Probes::new(reports);
    probes.start(ProbeSpec { interval: Duration::from_millis(100), ..http(address) });
    for _ in 0..6 {
        assert_eq!(results.recv().await.unwrap().result, Ok(()));
    }
    // The first follows its phase; the others keep the interval, but for delays of a busy machine, which do not add up.
    let starts: Vec<_> = accepts.try_iter().take(6).collect();
    let four = starts[5] - starts[1];
    assert!(four >= Duration::from_millis(350), "{four:?}");
    assert!(starts[1] - starts[0] <= Duration::from_millis(1000));
}
