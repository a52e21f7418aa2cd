//! Servers that fail and come back.

use std::time::Duration;

use crate::balancer::Balancer;
use crate::client;
use crate::client::Stream;
use crate::configuration::Configuration;
use crate::configuration::SERVERS;
use crate::configuration::WEB4;
use crate::configuration::WEB6;
use crate::lab::Arms;
use crate::lab::Lab;

#[test]
fn a_killed_server_leaves_within_the_bound_fails_no_request_after_that_and_comes_back() {
    let Some(lab) = Lab::lay("killed", Arms::Two, 1) else { return };
    let balancer = Balancer::start(&lab, &Configuration::new(Arms::Two));
    let log = balancer.log();
    assert!(!log.contains("backend_down"), "servers that answer were called down at the start:\n{log}");
    lab.kill_servers("b2");
    let took = balancer.wait_state("b2", "down", OUT);
    eprintln!("out of service after {took:.2?}");
    let answers = [client::requests(&lab, WEB4, 100), client::requests(&lab, WEB6, 100)];
    for answers in answers {
        answers.assert_complete(100);
        assert_eq!(answers.by_server.get("b2"), None, "{answers:?}");
    }
    lab.start_servers("b2");
    let took = balancer.wait_state("b2", "up", BACK);
    eprintln!("back in service after {took:.2?}");
    let answers = client::requests(&lab, WEB4, 60);
    answers.assert_complete(60);
    assert!(answers.by_server.contains_key("b2"), "{answers:?}");
}

#[test]
fn a_server_that_falls_silent_leaves_within_the_bound() {
    let Some(lab) = Lab::lay("silent", Arms::Two, 1) else { return };
    let balancer = Balancer::start(&lab, &Configuration::new(Arms::Two));
    lab.must("b3", &["ip", "link", "set", "eth0", "down"]);
    balancer.wait_state("b3", "down", OUT);
    client::requests(&lab, WEB4, 60).assert_complete(60);
}

#[test]
fn without_any_server_clients_are_refused_at_once_and_served_again_after() {
    let Some(lab) = Lab::lay("none", Arms::Two, 1) else { return };
    let balancer = Balancer::start(&lab, &Configuration::new(Arms::Two));
    for server in SERVERS {
        lab.kill_servers(server);
    }
    for server in SERVERS {
        balancer.wait_state(server, "down", OUT);
    }
    for url in [WEB4, WEB6] {
        let done = lab.on("client", &["curl", "-sS", "-m", "3", url]);
        // 7: refused; 28 would be silence.
        assert_eq!(done.code, Some(7), "{}\n{}", done.err, balancer.circumstances());
    }
    lab.start_servers("b1");
    balancer.wait_state("b1", "up", BACK);
    client::requests(&lab, WEB4, 10).assert_complete(10);
}

#[test]
fn without_any_server_clients_are_shown_a_page_and_served_again_after() {
    let Some(lab) = Lab::lay("page", Arms::Two, 1) else { return };
    let configuration = Configuration { on_no_backend: "http-503", ..Configuration::new(Arms::Two) };
    let balancer = Balancer::start(&lab, &configuration);
    for server in SERVERS {
        lab.kill_servers(server);
    }
    for server in SERVERS {
        balancer.wait_state(server, "down", OUT);
    }
    let ask = |line: &[&str], url| {
        let done = lab.on("client", &[&["curl", "-sS", "-m", "5"], line, &[url]].concat());
        assert_eq!(done.code, Some(0), "{line:?} {url}: {}\n{}", done.err, balancer.circumstances());
        assert!(done.out.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{line:?} {url}: {}", done.out);
        assert!(done.out.contains("\r\nConnection: close\r\n"), "{line:?} {url}: {}", done.out);
        done.out.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    };
    let long = "x".repeat(50_000);
    for url in [WEB4, WEB6] {
        let body = ask(&["-i"], url).unwrap();
        assert!(body.starts_with("No server is available"), "{body}");
        assert_eq!(ask(&["-I"], url).unwrap(), "", "HEAD has no body");
        // More than one segment, and more than the window.
        assert_eq!(ask(&["-i", "-d", &long], url).unwrap(), body);
        assert_eq!(ask(&["-i", "-d", &[long.as_str(), &long].concat()], url).unwrap(), body);
    }
    let status = balancer.ask("status");
    assert_eq!(status["total"]["flows"], 0, "no flow was made: {status}");
    let is_over = |line: &str| line.starts_with("TIME-WAIT");
    let are_over = || lab.must("client", &["ss", "-Htan", "dport = 80"]).lines().all(is_over);
    balancer.wait("all that the clients have said is acknowledged", BACK, are_over);
    lab.start_servers("b1");
    balancer.wait_state("b1", "up", BACK);
    client::requests(&lab, WEB4, 10).assert_complete(10);
}

#[test]
fn servers_that_others_lose_and_regain_disturb_no_request() {
    let Some(lab) = Lab::lay("others", Arms::Two, 1) else { return };
    let mut configuration = Configuration::new(Arms::Two);
    configuration.weights[1] = None;
    let balancer = Balancer::start(&lab, &configuration);
    let stream = Stream::start(&lab, &[WEB4, WEB6]);
    // Probed but with weight 0: its failures rebuild tables, and move nobody.
    configuration.weights[1] = Some(0);
    assert!(balancer.reload(&configuration).success);
    balancer.wait_state("b2", "up", BACK);
    lab.kill_servers("b2");
    balancer.wait_state("b2", "down", OUT);
    lab.start_servers("b2");
    balancer.wait_state("b2", "up", BACK);
    let answers = stream.stop();
    assert!(answers.errors.is_empty() && answers.count() > 10, "{answers:?}\n{}", balancer.circumstances());
}

/// Two failed probes of 200 ms, each within its 150 ms; the rest is a busy machine's.
const OUT: Duration = Duration::from_secs(3);
/// Two good probes likewise, and neighbours found again.
const BACK: Duration = Duration::from_secs(5);

#[test]
fn service_without_backends_refuses_its_clients_until_a_reload_adds_some() {
    let Some(lab) = Lab::lay("empty", Arms::Two, 1) else { return };
    let empty = Configuration { weights: [None; 3], ..Configuration::new(Arms::Two) };
    let balancer = Balancer::start(&lab, &empty);
    assert!(balancer.log().contains("configuration_warning"), "{}", balancer.log());
    for url in [WEB4, WEB6] {
        let done = lab.on("client", &["curl", "-sS", "-m", "3", url]);
        assert_eq!(done.code, Some(7), "refused: {}{}\n{}", done.out, done.err, balancer.circumstances());
    }
    let page = balancer.reload(&Configuration { on_no_backend: "http-503", ..empty.clone() });
    assert!(
        page.success && page.out.contains("warning: service has no backends"),
        "{}{}",
        page.out,
        page.err
    );
    balancer.wait_published();
    let done = lab.on("client", &["curl", "-sS", "-m", "3", "-w", "%{http_code}", "-o", "/dev/null", WEB4]);
    assert_eq!(done.out, "503", "{}\n{}", done.err, balancer.circumstances());
    assert!(balancer.reload(&Configuration::new(Arms::Two)).success);
    balancer.wait_state("b1", "up", Duration::from_secs(10));
    client::requests(&lab, WEB4, 20).assert_complete(20);
    assert!(balancer.reload(&empty).success);
    balancer.wait("b1 is removed", Duration::from_secs(10), || {
        !balancer.states("b1", "web").iter().any(|state| state == "up")
    });
}
