//! Which probes run when, and who hears of their results.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::Duration;

use evenkeel::config::ProbeKind;
use evenkeel::control::health::Asked;
use evenkeel::control::health::NotSent;
use evenkeel::control::health::ProbeFailure;
use evenkeel::control::health::ProbeNews;
use evenkeel::control::health::ProbeReport;
use evenkeel::control::health::ProbeSpec;
use evenkeel::control::health::Probes;
use evenkeel::control::health::Question;
use evenkeel::model::BackendId;
use tokio::sync::mpsc;

use super::closed;
use super::http;
use super::question;
use super::read_head;
use super::server;
use super::tcp;

fn spec(backend: u32, generation: u64, check: Question) -> ProbeSpec {
    ProbeSpec { backend: BackendId(backend), generation, check: check.into(), agent: None }
}

fn good(backend: u32, generation: u64) -> ProbeNews {
    let outcome = Ok(()).into();
    ProbeNews::Result(ProbeReport { backend: BackendId(backend), generation, asked: Asked::Check, outcome })
}

/// The next result.
async fn result(news: &mut mpsc::Receiver<ProbeNews>) -> ProbeReport {
    match news.recv().await {
        Some(ProbeNews::Result(report)) => report,
        other => panic!("a probe could not be sent: {other:?}"),
    }
}

/// A web server, and how many requests it has answered.
fn counting() -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let address = server(move |mut stream| {
        read_head(&stream);
        counter.fetch_add(1, Ordering::SeqCst);
        let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
    });
    (address, count)
}

/// So rarely that only the first probe happens within a test.
fn rarely(question: Question) -> Question {
    Question { interval: Duration::from_hours(1000), ..question }
}

#[tokio::test]
async fn backends_at_one_target_share_its_probes_and_each_hears_of_them() {
    let (address, count) = counting();
    let (reports, mut results) = mpsc::channel(16);
    let mut probes = Probes::new(reports);
    probes.start(spec(1, 1, rarely(http(address))));
    probes.start(spec(2, 2, rarely(http(address))));
    assert_eq!(probes.questions(), 1);
    assert_eq!(results.recv().await, Some(good(1, 1)));
    assert_eq!(results.recv().await, Some(good(2, 2)));

    // Whoever comes later is told at once; who goes takes nobody along.
    probes.start(spec(3, 3, rarely(http(address))));
    assert_eq!(results.recv().await, Some(good(3, 3)));
    probes.stop(BackendId(1));
    probes.start(spec(4, 4, rarely(http(address))));
    assert_eq!(results.recv().await, Some(good(4, 4)));
    assert_eq!((probes.questions(), count.load(Ordering::SeqCst)), (1, 1));

    probes.start(spec(2, 5, rarely(tcp(address))));
    assert_eq!(probes.questions(), 2, "another question is asked apart");
    for backend in [2, 3, 4] {
        probes.stop(BackendId(backend));
    }
    assert_eq!(probes.questions(), 0);
}

#[tokio::test]
async fn those_who_stay_are_probed_on_when_others_come_and_go() {
    let (address, _) = counting();
    let (reports, mut results) = mpsc::channel(16);
    let mut probes = Probes::new(reports);
    probes.start(spec(1, 1, tcp(address)));
    for other in 2..6 {
        probes.start(spec(other, 1, tcp(address)));
        while results.recv().await.unwrap() != good(other, 1) {}
        probes.stop(BackendId(other));
        while results.recv().await.unwrap() != good(1, 1) {}
    }
    assert_eq!(probes.questions(), 1);
}

#[tokio::test]
async fn an_agent_is_asked_beside_the_check_and_each_can_change_without_the_other() {
    let agent = server(|mut stream| {
        let _gone = stream.write_all(b"75%\n");
    });
    let (address, count) = counting();
    let (reports, mut results) = mpsc::channel(16);
    let mut probes = Probes::new(reports);
    let with_agent = |generation| ProbeSpec {
        agent: Some(rarely(question(agent, ProbeKind::Agent)).into()),
        ..spec(1, generation, rarely(http(address)))
    };
    probes.start(with_agent(1));
    let mut both = [result(&mut results).await, result(&mut results).await];
    both.sort_by_key(|report| report.asked == Asked::Agent);
    assert_eq!(ProbeNews::Result(both[0]), good(1, 1));
    assert_eq!(both[1].asked, Asked::Agent);
    assert_eq!(both[1].outcome.advice.unwrap().weight_percent, Some(75));

    probes.start(spec(1, 2, rarely(http(address))));
    assert_eq!(probes.questions(), 1);
    probes.start(with_agent(3));
    let report = result(&mut results).await;
    assert_eq!((report.asked, report.generation), (Asked::Agent, 3));
    assert_eq!(count.load(Ordering::SeqCst), 1, "the check stayed the same and was not repeated");
}

#[tokio::test]
async fn the_runner_keeps_probing_until_it_is_stopped_or_told_otherwise() {
    let (reports, mut results) = mpsc::channel(16);
    let mut probes = Probes::new(reports);
    probes.start(spec(1, 1, tcp(server(drop))));
    for _ in 0..3 {
        assert_eq!(results.recv().await, Some(good(1, 1)));
    }
    probes.start(spec(1, 2, tcp(closed())));
    let changed = loop {
        let report = result(&mut results).await;
        if report.generation == 2 {
            break report;
        }
    };
    assert_eq!(changed.outcome.result, Err(ProbeFailure::Refused));
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
    let check = Question { interval: Duration::from_millis(100), ..http(address) };
    probes.start(spec(1, 1, check));
    for _ in 0..6 {
        assert_eq!(result(&mut results).await.outcome.result, Ok(()));
    }
    // The first follows its phase; the others keep the interval, but for delays of a busy machine, which do not add up.
    let starts: Vec<_> = accepts.try_iter().take(6).collect();
    let four = starts[5] - starts[1];
    assert!(four >= Duration::from_millis(350), "{four:?}");
    assert!(starts[1] - starts[0] <= Duration::from_millis(1000));
}

#[tokio::test]
async fn a_probe_that_cannot_be_sent_is_told_with_its_reason_and_each_attempt_counts() {
    let (reports, mut results) = mpsc::channel(16);
    let mut probes = Probes::new(reports);
    let command = vec!["/nonexistent/check".to_owned()];
    let at = SocketAddr::from(([127, 0, 0, 1], 9));
    probes.start(spec(1, 1, question(at, ProbeKind::Script { command })));
    for _ in 0..3 {
        let Some(ProbeNews::NotSent(NotSent { backend, generation, asked, reason })) = results.recv().await
        else {
            panic!("a program that does not exist has a result");
        };
        assert_eq!((backend, generation, asked), (BackendId(1), 1, Asked::Check));
        assert!(reason.starts_with("/nonexistent/check: "), "{reason}");
    }
}

#[tokio::test]
async fn a_first_failure_is_repeated_before_it_counts() {
    let failures = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&failures);
    let address = server(move |mut stream| {
        read_head(&stream);
        let status = if seen.fetch_add(1, Ordering::SeqCst) == 0 { "503 Starting" } else { "200 OK" };
        let _gone = write!(stream, "HTTP/1.1 {status}\r\n\r\n");
    });
    let (reports, mut results) = mpsc::channel(16);
    let mut probes = Probes::new(reports);
    probes.start(spec(1, 1, rarely(http(address))));
    assert_eq!(results.recv().await, Some(good(1, 1)));
    assert_eq!(failures.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn questions_can_be_repeated_before_their_time() {
    let (address, count) = counting();
    let (reports, mut results) = mpsc::channel(16);
    let mut probes = Probes::new(reports);
    probes.start(spec(1, 1, rarely(http(address))));
    assert_eq!(results.recv().await, Some(good(1, 1)));
    probes.repeat();
    assert_eq!(results.recv().await, Some(good(1, 1)));
    assert_eq!(count.load(Ordering::SeqCst), 2);
}
