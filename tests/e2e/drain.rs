//! Backends that an operator takes out of service and brings back, while clients are at work.

use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use crate::balancer::Balancer;
use crate::client;
use crate::configuration::Configuration;
use crate::configuration::HTTP_PROBE;
use crate::configuration::VIP4;
use crate::configuration::WEB4;
use crate::connection::Connection;
use crate::lab::Arms;
use crate::lab::Lab;
use crate::poller::Poller;

#[test]
fn a_drained_backend_finishes_its_download_and_a_weight_of_0_keeps_its_connections() {
    let Some(lab) = Lab::lay("draining", Arms::Two, 3) else { return };
    let balancer = Balancer::start(&lab, &configuration());
    let digest = client::digest_of_file(&lab);
    let mut poller = Poller::start(&lab, &[WEB4]);
    let mut download = begin_download(&lab, &balancer);
    order(&balancer, &["drain"], &[]);
    assert_eq!(b2(&balancer)["state"], "draining");
    assert_avoided(&mut poller, &balancer);
    let answer = download.receive().unwrap();
    assert_eq!((answer.server.as_str(), answer.octets, &answer.digest), ("b2", 3_000_000, &digest));
    assert_eq!(b2(&balancer)["state"], "draining", "the connection is still open");
    drop(download);
    let took = balancer.wait("its last flow is over", SOON, || b2(&balancer)["state"] == "maintenance");
    eprintln!("in maintenance {took:.2?} after the last connection was closed");
    bring_back(&mut poller, &balancer, &["enable"], &[]);

    let mut kept = Connection::open_to(&lab, VIP4, "b2");
    order(&balancer, &["weight"], &["0"]);
    assert_eq!(b2(&balancer)["weight"], 0);
    assert_avoided(&mut poller, &balancer);
    assert_eq!(kept.ask("/").unwrap().server, "b2", "{}", balancer.circumstances());
    bring_back(&mut poller, &balancer, &["weight"], &["100"]);
    let (requests, failed) = poller.stop();
    assert_eq!(failed, 0, "of {requests}");
}

#[test]
fn what_is_left_of_a_drained_backend_is_reset_at_the_deadline() {
    let Some(lab) = Lab::lay("deadline", Arms::Two, 6) else { return };
    let balancer = Balancer::start(&lab, &configuration());
    let mut poller = Poller::start(&lab, &[WEB4]);
    let mut download = begin_download(&lab, &balancer);
    let began = Instant::now();
    order(&balancer, &["drain"], &["--within", "1"]);
    assert_avoided(&mut poller, &balancer);
    let error = download.receive().unwrap_err();
    let took = began.elapsed();
    eprintln!("reset {took:.2?} after the order");
    assert_eq!(error, "ECONNRESET", "{}", balancer.circumstances());
    assert!(took >= DEADLINE && took < DEADLINE + LATE, "{took:?}\n{}", balancer.circumstances());
    assert_eq!(b2(&balancer)["state"], "maintenance");
    bring_back(&mut poller, &balancer, &["enable"], &[]);
    let (requests, failed) = poller.stop();
    assert_eq!(failed, 0, "of {requests}");
}

fn configuration() -> Configuration {
    Configuration {
        // No server fails here, however busy the machine is.
        probe: format!("{HTTP_PROBE}fall = 50\nrise = 1\n"),
        ..Configuration::new(Arms::Two)
    }
}

/// A download from b2 that takes longer than what is done meanwhile; some of it has arrived.
fn begin_download(lab: &Lab, balancer: &Balancer<'_>) -> Connection {
    let mut download = Connection::open_to(lab, VIP4, "b2");
    let octets = || b2(balancer)["bytes_out"].as_u64().unwrap();
    let before = octets();
    download.send("/slow").unwrap();
    balancer.wait("the download is under way", SOON, || octets() > before + 100_000);
    download
}

/// `evenkeel backend ORDER... web 10.0.9.2:8080 REST...`, and the workers know.
fn order(balancer: &Balancer<'_>, order: &[&str], rest: &[&str]) {
    let done = balancer.run(&[&["backend"], order, &["web", B2], rest].concat());
    assert!(done.success, "{order:?}: {}{}", done.out, done.err);
    balancer.wait_published();
}

fn b2(balancer: &Balancer<'_>) -> Value {
    let answer = balancer.ask("backends");
    let backends = answer["backends"].as_array().unwrap();
    let is_b2 = |backend: &&Value| backend["service"] == "web" && backend["address"] == "10.0.9.2";
    backends.iter().find(is_b2).unwrap().clone()
}

/// No request from now on is answered by b2.
fn assert_avoided(poller: &mut Poller, balancer: &Balancer<'_>) {
    let moment = poller.now();
    poller.wait_requests(moment, 40);
    let servers = poller.servers_since(moment).remove(0);
    assert_eq!(servers.into_iter().collect::<Vec<_>>(), ["b1", "b3"], "{}", balancer.circumstances());
}

fn bring_back(poller: &mut Poller, balancer: &Balancer<'_>, what: &[&str], rest: &[&str]) {
    let moment = poller.now();
    order(balancer, what, rest);
    assert_eq!(b2(balancer)["state"], "up");
    poller.wait_server("b2", moment, false);
}

const B2: &str = "10.0.9.2:8080";
const SOON: Duration = Duration::from_secs(5);
/// As ordered.
const DEADLINE: Duration = Duration::from_secs(1);
/// A publication, and a busy machine.
const LATE: Duration = Duration::from_millis(100 + 400);
