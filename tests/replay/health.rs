//! Backends that fail, recover, come and go at times of the capture.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::{Bench, CONFIGURATION, Outcome, configuration};
use crate::files::Captured;
use crate::packet::{ACK, Build, RST, decode};

const START: Duration = Duration::new(1_700_000_000, 0);
const FIRST: &str = "10.0.9.1:8080";

fn at(milliseconds: u64, bytes: Vec<u8>) -> Captured {
    Captured::new(START + Duration::from_millis(milliseconds), bytes)
}

fn client(port: u16) -> Build {
    Build::new(&format!("198.51.100.7:{port}"), "203.0.113.80:80")
}

fn datagram(port: u16) -> Vec<u8> {
    Build::new(&format!("198.51.100.7:{port}"), "203.0.113.80:53").payload(b"q").udp()
}

/// Thirty connections, opened at this time. None is opened twice.
fn opened(milliseconds: u64, batch: u16) -> Vec<Captured> {
    (0..30).map(|n| at(milliseconds, client(10_000 + batch * 100 + n).tcp())).collect()
}

/// The same connections, going on.
fn going_on(milliseconds: u64, batch: u16) -> Vec<Captured> {
    (0..30).map(|n| at(milliseconds, client(10_000 + batch * 100 + n).flags(ACK).tcp())).collect()
}

/// Where each frame went; everything was forwarded.
#[track_caller]
fn targets(outcome: &Outcome) -> Vec<SocketAddr> {
    let report = outcome.report();
    assert_eq!(report["sent"], report["received"], "{report}");
    outcome.sent.iter().map(|sent| decode(&sent.bytes).to).collect()
}

fn decision(at: &str, state: &str) -> String {
    happening(at, &format!("state = \"{state}\""))
}

fn probe(at: &str, result: &str) -> String {
    happening(at, &format!("probe = \"{result}\""))
}

/// Something about the first backend of `web`.
fn happening(at: &str, what: &str) -> String {
    format!("[[event]]\nat = \"{at}\"\nservice = \"web\"\nbackend = \"{FIRST}\"\n{what}\n")
}

fn reload(at: &str, file: &str) -> String {
    format!("[[event]]\nat = \"{at}\"\nconfig = \"{file}\"\n")
}

/// `web` is probed, with these thresholds.
fn probed(fall: u32, rise: u32) -> String {
    let health = format!("kind = \"tcp\"\nfall = {fall}\nrise = {rise}");
    configuration(CONFIGURATION).replacen("kind = \"none\"", &health, 1)
}

/// The state of the first backend of `web` in the end.
#[track_caller]
fn end_state(outcome: &Outcome) -> Value {
    let report = outcome.report();
    let backend = &report["backends"][0];
    assert_eq!((&backend["service"], &backend["backend"]), (&json!("web"), &json!(FIRST)));
    backend["state"].clone()
}

fn first() -> SocketAddr {
    FIRST.parse().unwrap()
}

#[test]
fn a_backend_that_goes_down_keeps_its_flows_and_gets_no_new_ones_until_it_is_up_again() {
    let bench = Bench::new();
    let frames: Vec<_> =
        [opened(0, 0), going_on(1500, 0), opened(2000, 1), opened(4000, 2), going_on(4500, 0)].concat();
    let usual = targets(&bench.replay(&frames));
    let outcome = bench.replay_events(&frames, &(decision("1s", "down") + &decision("3s", "up")));
    let sent = targets(&outcome);
    let batch = |n: usize| n * 30..(n + 1) * 30;

    assert!(sent[batch(0)].contains(&first()));
    assert_eq!(sent[batch(0)], usual[batch(0)]);
    assert_eq!(sent[batch(1)], sent[batch(0)], "what was open stays where it is");
    assert!(usual[batch(2)].contains(&first()));
    assert!(!sent[batch(2)].contains(&first()));
    let others = std::iter::zip(&usual[batch(2)], &sent[batch(2)]).filter(|(usual, _)| **usual != first());
    let moved = others.filter(|(usual, sent)| usual != sent).count();
    assert!(moved <= 2, "who was not there moves hardly ever: {moved}");
    assert_eq!(sent[batch(3)], usual[batch(3)], "up again it gets the same ones as ever");
    assert_eq!(sent[batch(4)], sent[batch(0)]);
    let report = outcome.report();
    assert_eq!((&report["events_applied"], &report["events_left"]), (&json!(2), &json!(0)));
    assert_eq!(report["snapshots_published"], 2);
    assert_eq!(end_state(&outcome), "up");
    bench.assert_sound(0);
}

/// The addresses that the forwarded packets among those sent go to; what is made here is left out.
fn forwarded(outcome: &Outcome) -> Vec<SocketAddr> {
    let sent = outcome.sent.iter().map(|sent| decode(&sent.bytes));
    sent.filter(|packet| packet.flags & RST == 0).map(|packet| packet.to).collect()
}

#[test]
fn both_sides_of_connections_on_a_dead_backend_get_a_reset_and_those_on_others_go_on() {
    let bench = Bench::new();
    let frames = [opened(0, 0), going_on(1500, 0), going_on(2000, 0)].concat();
    let dead = bench.replay_events(&frames, &decision("1s", "dead"));
    let usual = targets(&bench.replay(&frames));
    let killed = usual[..30].iter().filter(|to| **to == first()).count() as u64;
    assert!(killed > 0);
    let report = dead.report();
    assert_eq!(report["drops"]["backend_dead"], killed);
    // Two for each, and one for each packet that comes after that.
    assert_eq!(report["originated"], 3 * killed);
    let others = usual[30..].iter().filter(|to| **to != first()).count();
    assert_eq!(forwarded(&dead).len(), 30 + others);
}

#[test]
fn what_the_operator_orders_can_be_replayed() {
    let bench = Bench::new();
    let frames = [opened(0, 0), going_on(1500, 0), opened(2000, 1), opened(5000, 2)].concat();
    let usual = targets(&bench.replay(&frames));
    for (what, back) in [("order = \"drain\"", "order = \"enable\""), ("weight = 0", "weight = 100")] {
        let outcome = bench.replay_events(&frames, &(happening("1s", what) + &happening("4s", back)));
        let sent = targets(&outcome);
        assert_eq!(sent[30..60], sent[..30], "{what}: what was open goes on");
        assert!(!sent[60..90].contains(&first()), "{what}");
        assert!(sent[90..].contains(&first()), "{back}");
        if what.starts_with("order") {
            assert_eq!(sent[90..], usual[90..], "the same ones as ever");
        }
    }
    let deadline = "order = \"drain\"\nwithin = \"500ms\"";
    let outcome = bench.replay_events(&frames[..60], &happening("900ms", deadline));
    let killed = usual[..30].iter().filter(|to| **to == first()).count();
    assert_eq!(outcome.report()["drops"]["backend_dead"], killed, "those that had not ended by the deadline");
    let outcome = bench.replay_events(&frames[..60], &happening("900ms", "order = \"disable\""));
    assert_eq!(outcome.report()["drops"]["backend_dead"], killed);
}

#[test]
fn a_frame_at_the_time_of_an_event_comes_after_it_and_one_a_nanosecond_before_does_not() {
    let bench = Bench::new();
    let port = (10_000..).find(|port| targets(&bench.replay(&[at(0, client(*port).tcp())])) == [first()]);
    let port = port.unwrap();
    let frames = |time| [at(0, datagram(1)), Captured::new(START + time, client(port).tcp())];
    let events = decision("1s", "down");
    let sharp = targets(&bench.replay_events(&frames(Duration::from_secs(1)), &events));
    let before = targets(&bench.replay_events(&frames(Duration::new(0, 999_999_999)), &events));
    assert_ne!(sharp[1], first());
    assert_eq!(before[1], first());
}

#[test]
fn times_may_be_fractions_and_dates_and_stand_in_any_order() {
    let bench = Bench::new();
    let frames = [opened(0, 0), opened(1500, 1), opened(2500, 2)].concat();
    let expected = bench.replay_events(&frames, &(decision("1s", "down") + &decision("2s", "up")));
    for (down, up) in [
        ("\"1s\"", "\"2.000s\""),
        ("\"1000.0ms\"", "2023-11-14T22:13:22Z"),
        ("2023-11-14T22:13:21.000Z", "\"2s\""),
        ("\"2023-11-15T00:13:21+02:00\"", "\"0.0005555555h\""),
    ] {
        let [down, up] = [(down, "down"), (up, "up")]
            .map(|(at, state)| decision("", state).replace("at = \"\"", &format!("at = {at}")));
        let outcome = bench.replay_events(&frames, &(up.clone() + &down));
        assert_eq!(outcome.sent, expected.sent, "{down}{up}");
        assert_eq!(outcome.stdout, expected.stdout, "{down}{up}");
    }
    assert_ne!(targets(&expected), targets(&bench.replay(&frames)));
}

#[test]
fn events_of_one_time_happen_in_the_order_of_the_file() {
    let bench = Bench::new();
    let frames = [opened(0, 0), opened(1500, 1)].concat();
    for (events, state) in [(["down", "up"], "up"), (["up", "down"], "down"), (["down", "down"], "down")] {
        let events: String = events.iter().map(|state| decision("1s", state)).collect();
        assert_eq!(end_state(&bench.replay_events(&frames, &events)), state, "{events}");
    }
}

#[test]
fn only_as_many_failures_in_a_row_as_fall_take_a_backend_out() {
    let bench = Bench::with(&probed(3, 2));
    let frames = [opened(0, 0), opened(9000, 1)].concat();
    for (results, state) in [
        (&["timeout", "refused"][..], "up"),
        (&["timeout", "refused", "unreachable"], "down"),
        (&["timeout", "refused", "ok", "timeout", "closed"], "up"),
        (&["timeout", "ok", "malformed", "status=503", "timeout"], "down"),
        (&["timeout", "timeout", "timeout", "ok"], "down"),
        (&["timeout", "timeout", "timeout", "ok", "timeout", "ok"], "down"),
        (&["timeout", "timeout", "timeout", "ok", "ok"], "up"),
    ] {
        let events: String = (1..).zip(results).map(|(n, result)| probe(&format!("{n}s"), result)).collect();
        let outcome = bench.replay_events(&frames, &events);
        assert_eq!(end_state(&outcome), state, "{results:?}");
        assert_eq!(targets(&outcome)[30..].contains(&first()), state == "up", "{results:?}");
    }
}

#[test]
fn a_decision_stands_beside_probes_and_their_thresholds_lead_out_of_it() {
    let bench = Bench::with(&probed(2, 2));
    let frames = [opened(0, 0), opened(9000, 1)].concat();
    let down = decision("1s", "down");
    for (events, state) in [
        (probe("2s", "ok"), "down"),
        (probe("2s", "ok") + &probe("3s", "ok"), "up"),
        (decision("2s", "up") + &probe("3s", "timeout"), "up"),
        (decision("2s", "up") + &probe("3s", "timeout") + &probe("4s", "timeout"), "down"),
    ] {
        assert_eq!(end_state(&bench.replay_events(&frames, &(down.clone() + &events))), state, "{events}");
    }
}

#[test]
fn a_backend_that_a_reload_adds_takes_its_share_and_disturbs_no_flow() {
    for (configuration, file) in
        [(configuration(CONFIGURATION), "four.toml"), (probed(3, 2), "sub/four.toml")]
    {
        let bench = Bench::with(&configuration);
        let fourth = "[[service.backend]]\naddress = \"10.0.9.4\"\nport = 8080\n";
        let more =
            configuration.replacen("\n[[service.backend]]", &format!("\n{fourth}[[service.backend]]"), 1);
        std::fs::create_dir(bench.path("sub")).unwrap();
        bench.file(file, more.as_bytes());
        let frames = [opened(0, 0), going_on(2000, 0), opened(2100, 1)].concat();
        let usual = targets(&bench.replay(&frames));
        let sent = targets(&bench.replay_events(&frames, &reload("1.5s", file)));

        assert_eq!(sent[..60], usual[..60], "what was open stays where it is");
        let fourth: SocketAddr = "10.0.9.4:8080".parse().unwrap();
        let taken = sent[60..].iter().filter(|to| **to == fourth).count();
        assert!((2..=15).contains(&taken), "{taken} of 30");
        let moved = std::iter::zip(&sent[60..], &usual[60..]).filter(|(new, old)| new != old);
        assert!(moved.filter(|(new, _)| **new != fourth).count() <= 2, "others move hardly ever");
    }
}

#[test]
fn a_reload_changes_weights_for_new_flows_alone() {
    let configuration = configuration(CONFIGURATION);
    let bench = Bench::with(&configuration);
    bench.file(
        "idle.toml",
        configuration.replacen("port = 8080\n", "port = 8080\nweight = 0\n", 1).as_bytes(),
    );
    let frames = [opened(0, 0), going_on(2000, 0), opened(2100, 1)].concat();
    let outcome = bench.replay_events(&frames, &reload("1s", "idle.toml"));
    let sent = targets(&outcome);
    assert_eq!(sent[30..60], sent[..30]);
    assert!(sent[..30].contains(&first()) && !sent[60..].contains(&first()));
    assert_eq!(outcome.report()["backends"][0]["weight"], 0);
    assert_eq!(end_state(&outcome), "up");
}

#[test]
fn a_reload_keeps_decisions_and_counted_failures() {
    for (configuration, before, after, state) in [
        (configuration(CONFIGURATION), decision("1s", "down"), String::new(), "down"),
        (probed(3, 2), decision("1s", "down"), String::new(), "down"),
        (probed(2, 2), probe("1s", "timeout"), probe("3s", "timeout"), "down"),
        (probed(2, 2), probe("1s", "timeout"), String::new(), "up"),
    ] {
        let bench = Bench::with(&configuration);
        bench.file("same.toml", configuration.as_bytes());
        let events = before + &reload("2s", "same.toml") + &after;
        let frames = [opened(0, 0), opened(9000, 1)].concat();
        assert_eq!(end_state(&bench.replay_events(&frames, &events)), state, "{events}");
    }
}

#[test]
fn a_backend_that_is_removed_and_put_back_is_up() {
    let configuration = configuration(CONFIGURATION);
    let bench = Bench::with(&configuration);
    bench.file("all.toml", configuration.as_bytes());
    let less = configuration.replacen("[[service.backend]]\naddress = \"10.0.9.1\"\nport = 8080\n", "", 1);
    bench.file("less.toml", less.as_bytes());
    let frames = [opened(0, 0), opened(2500, 1), opened(60_000, 2)].concat();
    let events = decision("1s", "down") + &reload("2s", "less.toml") + &reload("40s", "all.toml");
    let outcome = bench.replay_events(&frames, &events);
    let sent = targets(&outcome);
    assert!(!sent[30..60].contains(&first()) && sent[60..].contains(&first()));
    assert_eq!(end_state(&outcome), "up");
}

#[test]
fn a_reload_that_needs_the_ids_of_flows_still_open_is_refused_when_its_time_comes() {
    let all = configuration(&format!("{CONFIGURATION}[appliance]\nmax_backends = 12\n"));
    let bench = Bench::with(&all);
    // As many backends may leave as may be configured: three times the three that have flows is all that fits.
    for (name, address) in [
        ("one.toml", "10.0.9.1"),
        ("two.toml", "10.0.9.2"),
        ("three.toml", "10.0.9.3"),
        ("four.toml", "10.0.9.4"),
    ] {
        bench.file(name, all.replace("address = \"10.0.9.", &format!("address = \"{address}")).as_bytes());
    }
    // Half-open flows last 30 s; the ids of removed backends are kept for as long.
    let replaced = reload("1s", "one.toml") + &reload("5s", "two.toml") + &reload("9s", "three.toml");
    let events = |again: &str| replaced.clone() + &reload(again, "four.toml");
    let frames = [opened(0, 0), opened(2_000, 1), opened(6_000, 2), opened(60_000, 3)].concat();
    let late = targets(&bench.replay_events(&frames, &events("50s")));
    assert!(late[90..].contains(&"10.0.9.42:8080".parse().unwrap()));

    let early = bench.replay_events(&frames, &events("20s"));
    early.assert_failed(
        1,
        &["events.toml:10: config is refused at this time: no room for more backends: 24 are"],
    );
    assert_eq!(early.sent.len(), 90, "up to there it was replayed");
    assert!(early.stdout.contains("\"events_applied\": 3,"), "{}", early.stdout);
}

#[test]
fn what_happens_before_the_first_frame_has_happened_by_then() {
    let bench = Bench::new();
    let events = decision("", "down").replace("at = \"\"", "at = 2023-11-14T21:00:00Z");
    let outcome = bench.replay_events(&opened(0, 0), &events);
    assert!(!targets(&outcome).contains(&first()));
    let early = bench.replay_events(&opened(0, 0), &decision("0s", "down"));
    assert_eq!(early.sent, outcome.sent);
}

#[test]
fn a_reload_gives_open_flows_their_new_next_hop() {
    let configuration = configuration(CONFIGURATION);
    let bench = Bench::with(&configuration);
    let hop = "[[next_hop]]\nprefix = \"10.0.9.0/24\"\nport = \"back\"\nmac = \"02:00:00:00:00:99\"\n";
    bench.file("hop.toml", format!("{configuration}\n{hop}").as_bytes());
    bench.file("none.toml", configuration.as_bytes());
    let frames = [opened(0, 0), going_on(2000, 0), going_on(4000, 0)].concat();
    let events = reload("1s", "hop.toml") + &reload("3s", "none.toml");
    let outcome = bench.replay_events(&frames, &events);
    let macs: Vec<_> = outcome.decoded().iter().map(|sent| sent.destination_mac.0).collect();
    assert_eq!(macs[30..60], [[2, 0, 0, 0, 0, 0x99]; 30]);
    assert_ne!(macs[0], macs[30]);
    assert_eq!(macs[60..], macs[..30]);
}

#[test]
fn a_datagram_of_a_flow_whose_backend_is_down_goes_to_another() {
    let bench = Bench::new();
    let frames: Vec<_> = [0, 2000, 4000]
        .into_iter()
        .flat_map(|time| (0..30).map(move |n| at(time, datagram(n + 1))))
        .collect();
    let events = decision("1s", "down").replace("web", "dns") + &decision("3s", "up").replace("web", "dns");
    let outcome = bench.replay_events(&frames, &events);
    let sent = targets(&outcome);
    assert!(sent[..30].contains(&first()) && !sent[30..60].contains(&first()));
    for (old, new) in std::iter::zip(&sent[..30], &sent[30..60]) {
        assert!(new == old || *old == first(), "only those of the backend that is down move: {old} to {new}");
    }
    assert_eq!(sent[60..], sent[30..60], "who has moved stays there");
}

#[test]
fn a_service_whose_backends_are_all_down_refuses() {
    let bench = Bench::new();
    let events: String =
        (1..=3).map(|n| decision("1s", "down").replace("10.0.9.1:8080", &format!("10.0.9.{n}"))).collect();
    let outcome = bench.replay_events(&[opened(0, 0), opened(2000, 1)].concat(), &events);
    assert_eq!(outcome.drops(), json!({ "no_backend": 30 }));
    assert_eq!(outcome.report()["originated"], 30);
}

#[test]
fn a_storm_of_changes_is_published_ten_times_a_second() {
    let events: String = (0..500)
        .map(|n| decision(&format!("{}ms", 1000 + 2 * n), if n % 2 == 0 { "down" } else { "up" }))
        .collect();
    let outcome = Bench::new().replay_events(&[opened(0, 0), opened(9000, 1)].concat(), &events);
    let report = outcome.report();
    assert_eq!(report["events_applied"], 500);
    let published = report["snapshots_published"].as_u64().unwrap();
    assert!((10..=15).contains(&published), "{published} in a second");
    assert!(targets(&outcome)[30..].contains(&first()), "the last word is published too");
}

#[test]
fn what_comes_after_the_last_frame_is_left_and_said_so() {
    let bench = Bench::new();
    let events = decision("1s", "down") + &decision("3s", "up");
    let frames = [opened(0, 0), opened(2000, 1)].concat();
    let outcome = bench.replay_events(&frames, &events);
    let report = outcome.report();
    assert_eq!((&report["events_applied"], &report["events_left"]), (&json!(1), &json!(1)));
    assert_eq!(end_state(&outcome), "down");
    let backends = report["backends"].as_array().unwrap();
    assert_eq!(backends.len(), 12);
    let flows: u64 = backends.iter().map(|backend| backend["flows"].as_u64().unwrap()).sum();
    assert_eq!(json!(flows), report["flows"]);

    let text = bench.evenkeel(&[
        "replay",
        "-c",
        "c.toml",
        "--in",
        "in.pcap",
        "--out",
        "o",
        "--health",
        "events.toml",
    ]);
    let line = "events applied 1, left 1; snapshots published 1; backends up 11 of 12\n";
    assert!(text.stdout.ends_with(line), "{}", text.stdout);
}

#[test]
fn the_same_events_give_the_same_octets() {
    let configuration = probed(2, 2);
    let bench = Bench::with(&configuration);
    bench.file(
        "idle.toml",
        configuration.replacen("port = 8080\n", "port = 8080\nweight = 0\n", 1).as_bytes(),
    );
    let frames = [opened(0, 0), opened(500, 1), opened(1000, 2), opened(1500, 3), opened(2500, 4)].concat();
    let events = decision("0.3s", "down")
        + &decision("0.7s", "up")
        + &probe("0.8s", "timeout")
        + &probe("0.9s", "timeout")
        + &reload("2s", "idle.toml");
    let runs: BTreeSet<_> = (0..3)
        .map(|_| {
            (bench.replay_events(&frames, &events).stdout, std::fs::read(bench.path("out.pcap")).unwrap())
        })
        .collect();
    assert_eq!(runs.len(), 1);
}

#[test]
fn the_readmes_example_is_one() {
    let readme = include_str!("../../README.md");
    let block = |fence: &str| readme.split(fence).nth(1).unwrap().split("```").next().unwrap();
    let configuration = block("```toml\n");
    let bench = Bench::with(configuration);
    bench.file("other.toml", configuration.as_bytes());
    let outcome = bench.replay_events(&[opened(0, 0), opened(9000, 1)].concat(), block("```events.toml\n"));
    let report = outcome.report();
    assert_eq!((&report["events_applied"], &report["events_left"]), (&json!(4), &json!(0)));
    assert_eq!(report["backends"][0]["state"], "down");
}

#[test]
fn without_events_every_backend_is_up_and_the_report_is_about_frames_alone() {
    let bench = Bench::with(&probed(3, 2));
    let frames = [opened(0, 0), opened(2000, 1)].concat();
    let plain = bench.replay(&frames);
    let octets = std::fs::read(bench.path("out.pcap")).unwrap();
    for key in ["events_applied", "events_left", "snapshots_published", "backends"] {
        assert!(plain.report().get(key).is_none(), "{key}");
    }
    let none = bench.replay_events(&frames, "");
    assert!(octets == std::fs::read(bench.path("out.pcap")).unwrap(), "no events, no difference");
    assert_eq!(none.report()["snapshots_published"], 0);

    // Whoever keeps outputs to compare with relies on it: a change of these is told in the changelog.
    let seen: Vec<_> =
        plain.decoded()[..6].iter().map(|sent| format!("{} to {}", sent.from, sent.to)).collect();
    let expected = [
        "10.0.8.10:64423 to 10.0.9.1:8080",
        "10.0.8.10:64424 to 10.0.9.1:8080",
        "10.0.8.10:23002 to 10.0.9.3:8080",
        "10.0.8.10:23003 to 10.0.9.3:8080",
        "10.0.8.10:23004 to 10.0.9.3:8080",
        "10.0.8.10:23005 to 10.0.9.3:8080",
    ];
    assert_eq!(seen, expected);
}
