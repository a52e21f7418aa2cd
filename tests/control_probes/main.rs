//! Probes against real servers on this machine, well-behaved and not.
#![allow(clippy::unwrap_used, reason = "all of this runs inside tests")]

mod agent;
mod datagram;
mod http;
mod icmp;
#[path = "../kernel_support/mod.rs"]
mod kernel_support;
mod runner;
mod script;
mod slip;
mod source;
mod tls;

use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use evenkeel::config::HttpProbe;
use evenkeel::config::ProbeKind;
use evenkeel::control::health::ProbeResult;
use evenkeel::control::health::Prober;
use evenkeel::control::health::Question;

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

/// A TCP port that nobody listens on.
fn closed() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port").local_addr().expect("it is bound")
}

fn question(target: SocketAddr, kind: ProbeKind) -> Question {
    Question {
        target,
        kind,
        from: None,
        proxy_header: false,
        interval: Duration::from_millis(20),
        timeout: Duration::from_secs(10),
        service: None,
    }
}

fn tcp(target: SocketAddr) -> Question {
    question(target, ProbeKind::Tcp)
}

fn get() -> HttpProbe {
    HttpProbe { path: "/healthz?deep=1".to_owned(), host: None, status: vec![200..=299], body: None }
}

fn http(target: SocketAddr) -> Question {
    question(target, ProbeKind::Http(get()))
}

/// A timeout that is meant to pass.
fn impatient(question: Question) -> Question {
    Question { timeout: Duration::from_millis(100), ..question }
}

async fn ask(question: Question) -> ProbeResult {
    Prober::default().ask(&question).await.expect("this machine can probe").result
}
