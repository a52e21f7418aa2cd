//! The program's commands, run as a user runs them, against a control plane that runs.

mod control_support;

use std::path::Path;
use std::process::Command;
use std::process::Output;

use control_support::rig::Rig;
use serde_json::Value;

fn evenkeel(socket: &Path, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(arguments.split_whitespace())
        .arg("--socket")
        .arg(socket)
        .output()
        .expect("the program was built for this test")
}

fn text(rig: &Rig, arguments: &str) -> String {
    let output = evenkeel(&rig.socket(), arguments);
    let text = String::from_utf8(output.stdout).expect("output is text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments}: {text}{errors}");
    let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    assert!(widest <= 100, "{arguments}: {widest} columns\n{text}");
    text
}

/// Runs of blanks made one: what is said, not how it is laid out.
fn squeezed(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn listings_are_tables_for_people() {
    let rig = Rig::start();
    let status = squeezed(&text(&rig, "status"));
    assert!(status[0].starts_with("lb1: evenkeel 1.2.3, ready, up "), "{status:?}");
    assert!(status.iter().any(|line| line.starts_with("front net_af_packet0,iface=")), "{status:?}");
    let front = status.iter().find(|line| line.starts_with("front ")).unwrap();
    assert!(front.ends_with(" up 3 25%"), "the link, what the card lost, packet buffers in use: {front}");
    assert!(status.contains(&"no_backend 6".to_owned()), "{status:?}");

    let services = squeezed(&text(&rig, "services"));
    assert_eq!(
        services[0],
        "SERVICE VIP PORT PROTOCOL SCHEDULER TIER UP CONNECTIONS LIMIT REFUSED SYN PROXY"
    );
    assert_eq!(services[1], "web 203.0.113.80 80 tcp maglev 0 2/2 0 - 0 off");

    let backends = squeezed(&text(&rig, "backends --service web"));
    assert_eq!(backends.len(), 3);
    assert!(backends[2].starts_with("web 10.0.9.2:80 0 2 up "), "{backends:?}");

    let flows = squeezed(&text(&rig, "flows --client 192.0.2.3"));
    assert_eq!(flows[1], "tcp 192.0.2.3:40000 203.0.113.80:80 10.0.8.10:2000 10.0.9.1:80 established 4s");
    assert_eq!(squeezed(&text(&rig, "flows --limit 2")).last().unwrap(), "There are more; see --limit.");

    let counters = squeezed(&text(&rig, "counters"));
    assert_eq!(counters[1], "no_backend 6 no backend of the service is in service");
    text(&rig, "counters --all");
}

#[test]
fn listings_are_json_for_programs() {
    let rig = Rig::start();
    for (arguments, key) in [
        ("status", "workers"),
        ("services", "services"),
        ("backends", "backends"),
        ("flows", "flows"),
        ("counters", "counters"),
        ("reload --dry-run", "difference"),
    ] {
        let output = evenkeel(&rig.socket(), &format!("{arguments} --json"));
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(!json[key].is_null(), "{arguments}: {json}");
    }
}

#[test]
fn a_reload_shows_what_it_does_and_says_no_with_status_2() {
    let rig = Rig::start();
    assert_eq!(text(&rig, "reload"), "Nothing changes.\n");
    let mut changed = rig.file.lock().unwrap().clone().unwrap();
    changed.services.pop();
    *rig.file.lock().unwrap() = Ok(changed);
    let difference = "- service mail\n- backend mail 10.0.9.1:25\n";
    assert_eq!(text(&rig, "reload --dry-run"), format!("{difference}Not loaded: dry run.\n"));
    assert_eq!(text(&rig, "reload"), format!("{difference}Loaded.\n"));

    *rig.file.lock().unwrap() = Err("lb.toml:1:1: wrong; make it right".to_owned());
    let refused = evenkeel(&rig.socket(), "reload");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("lb.toml:1:1"));
}

#[test]
fn without_a_balancer_the_socket_is_named_with_status_1() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("nobody.sock");
    let output = evenkeel(&socket, "status");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains(socket.to_str().unwrap()) && errors.contains("may not be running"), "{errors}");
    assert_eq!(evenkeel(&socket, "explode").status.code(), Some(2));
    assert_eq!(evenkeel(&socket, "backends --colour").status.code(), Some(2));
}

#[test]
fn a_backend_is_drained_and_brought_back_by_hand() {
    let rig = Rig::start();
    for (order, row) in [
        ("drain web 10.0.9.1:80 --within 60", "web 10.0.9.1:80 0 1 draining "),
        ("disable web 10.0.9.1:80", "web 10.0.9.1:80 0 1 maintenance "),
        ("enable web 10.0.9.1:80", "web 10.0.9.1:80 0 1 up "),
        ("weight web 10.0.9.1:80 7", "web 10.0.9.1:80 0 7 up "),
    ] {
        let answer = squeezed(&text(&rig, &format!("backend {order}")));
        assert!(answer[1].starts_with(row), "{order}: {answer:?}");
    }
    let output = evenkeel(&rig.socket(), "backend drain web 10.0.9.77:80");
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("no backend 10.0.9.77:80; `evenkeel backends` lists them"), "{message}");
}
