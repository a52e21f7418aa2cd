//! TCP and HTTP.

use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::Duration;

use evenkeel::config::HttpProbe;
use evenkeel::config::ProbeKind;
use evenkeel::control::health::ProbeFailure;
use evenkeel::control::health::Question;

use super::answering;
use super::ask;
use super::closed;
use super::get;
use super::http;
use super::impatient;
use super::question;
use super::read_head;
use super::server;
use super::tcp;

#[tokio::test]
async fn an_open_port_is_a_success_and_a_closed_one_refuses() {
    assert_eq!(ask(tcp(server(drop))).await, Ok(()));
    assert_eq!(ask(tcp(closed())).await, Err(ProbeFailure::Refused));
    assert_eq!(ask(http(closed())).await, Err(ProbeFailure::Refused));
}

/// As nginx's `listen ... proxy_protocol` reads it: what comes first must be the header.
#[tokio::test]
async fn a_header_that_names_no_client_goes_ahead_where_it_is_expected() {
    let at = server(|mut stream| {
        let mut header = [0; 16];
        stream.read_exact(&mut header).unwrap();
        assert_eq!(&header, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
        if read_head(&stream)[0].starts_with("GET /healthz") {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        }
    });
    assert_eq!(ask(Question { proxy_header: true, ..http(at) }).await, Ok(()));
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

    let get = HttpProbe { host: Some("www.example".to_owned()), status: vec![], ..get() };
    let answer = ask(question(address, ProbeKind::Http(get))).await;
    assert_eq!(answer, Err(ProbeFailure::Status(200)));
    assert!(requests.recv().unwrap().contains(&"Host: www.example".to_owned()));
}

/// Looks for "ready" in the body.
fn ready(target: SocketAddr) -> Question {
    question(target, ProbeKind::Http(HttpProbe { body: Some("ready".to_owned()), ..get() }))
}

#[tokio::test]
async fn a_text_must_occur_in_the_body_if_one_is_expected() {
    let far = |octets: usize| format!("HTTP/1.1 200 OK\r\n\r\n{}ready", "x".repeat(octets));
    for (description, answer, expected) in [
        ("by length", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nwe, ready".to_owned(), Ok(())),
        ("to the end", "HTTP/1.0 200\r\n\r\nready".to_owned(), Ok(())),
        (
            "over two chunks",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nre\r\n3\r\nady\r\n0\r\n\r\n"
                .to_owned(),
            Ok(()),
        ),
        ("another text", "HTTP/1.1 200 OK\r\n\r\nbusy".to_owned(), Err(ProbeFailure::Mismatch)),
        ("no body", "HTTP/1.1 204 No Content\r\n\r\n".to_owned(), Err(ProbeFailure::Mismatch)),
        (
            "in the head alone",
            "HTTP/1.1 200 OK\r\nX: ready\r\nContent-Length: 0\r\n\r\n".to_owned(),
            Err(ProbeFailure::Mismatch),
        ),
        ("another status", "HTTP/1.1 500 Oh\r\n\r\nready".to_owned(), Err(ProbeFailure::Status(500))),
        (
            "cut short",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nwe, r".to_owned(),
            Err(ProbeFailure::Closed),
        ),
        (
            "chunks that are none",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nready\r\n".to_owned(),
            Err(ProbeFailure::Malformed),
        ),
        (
            "a length that is none",
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nready".to_owned(),
            Err(ProbeFailure::Malformed),
        ),
        ("at the end of 64 KiB", far(64 * 1024 - 5), Ok(())),
        ("behind 64 KiB", far(64 * 1024 - 4), Err(ProbeFailure::Mismatch)),
    ] {
        assert_eq!(ask(ready(answering(answer))).await, expected, "{description}");
    }
}

#[tokio::test]
async fn a_text_that_has_come_counts_before_the_body_ends() {
    let open = server(|stream| {
        read_head(&stream);
        let _gone = (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nready");
        // Until the prober has had enough.
        read_head(&stream);
    });
    assert_eq!(ask(ready(open)).await, Ok(()));
}
