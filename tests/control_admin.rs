//! The control socket and HTTP of a control plane that runs, with made-up workers.

mod control_support;

use std::collections::BTreeMap;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use std::time::Instant;

use control_support::config;
use control_support::rig::Rig;
use control_support::rig::answer;
use evenkeel::control::admin::ListenError;
use evenkeel::control::admin::Listeners;
use evenkeel::shared::DropReason;
use serde_json::Value;
use serde_json::json;

#[test]
fn status_services_backends_and_counters_say_what_there_is() {
    let rig = Rig::start();
    let status = &rig.ask(&json!({"command": "status"}))["result"];
    for (key, expected) in [
        ("name", json!("lb1")),
        ("version", json!("1.2.3")),
        ("memory", json!("ordinary pages")),
        ("draining", json!(false)),
        ("vips_announced", json!(1)),
    ] {
        assert_eq!(status[key], expected, "{key}");
    }
    let worker = &status["workers"][1];
    assert_eq!((&worker["id"], &worker["core"]), (&json!(1), &json!(2)));
    assert_eq!(
        (&worker["rx_packets"], &worker["rx_bytes"], &worker["flows"]),
        (&json!(10), &json!(640), &json!(5))
    );
    assert_eq!(worker["drops"], json!({"no_backend": 3}));
    assert_eq!(status["total"]["drops"], json!({"no_backend": 6}));

    let services = &rig.ask(&json!({"command": "services"}))["result"]["services"];
    assert_eq!(services[0]["name"], json!("web"));
    assert_eq!((&services[0]["backends_up"], &services[0]["backends_total"]), (&json!(2), &json!(2)));

    let backends = &rig.ask(&json!({"command": "backends", "service": "web"}))["result"]["backends"];
    assert_eq!(backends.as_array().unwrap().len(), 2);
    assert_eq!((&backends[1]["address"], &backends[1]["weight"]), (&json!("10.0.9.2"), &json!(2)));
    assert_eq!(backends[1]["state"], json!("up"));

    let counters = &rig.ask(&json!({"command": "counters"}))["result"]["counters"];
    assert_eq!(counters.as_array().unwrap().len(), DropReason::COUNT);
    let no_backend = &counters[DropReason::NoBackend as usize];
    assert_eq!((&no_backend["workers"], &no_backend["total"]), (&json!([3, 3]), &json!(6)));
}

#[test]
fn flows_are_collected_page_by_page_and_a_silent_worker_is_named() {
    let rig = Rig::start();
    let all = &rig.ask(&json!({"command": "flows", "service": "web"}))["result"];
    assert_eq!(all["flows"].as_array().unwrap().len(), 5);
    assert_eq!(all["silent_workers"], json!([]));
    assert_eq!(all["flows"][4]["client"], json!("192.0.2.4:40000"));
    assert_eq!(all["flows"][0]["service"], json!("web"));

    let one = json!({"command": "flows", "client": "192.0.2.3", "backend": "10.0.9.1:80"});
    assert_eq!(rig.ask(&one)["result"]["flows"].as_array().unwrap().len(), 1);
    let displaced = json!({"command": "flows", "service": "web", "displaced": true});
    assert_eq!(rig.ask(&displaced)["result"]["flows"], json!([]));
    let some = rig.ask(&json!({"command": "flows", "limit": 2}));
    assert_eq!(some["result"]["flows"].as_array().unwrap().len(), 2);
    assert_eq!(some["result"]["truncated"], json!(true));
    let silent = rig.ask(&json!({"command": "flows", "service": "mail"}));
    assert_eq!(silent["result"], json!({"flows": [], "truncated": false, "silent_workers": [1]}));
}

#[test]
fn wrong_requests_get_an_error_each_and_the_connection_goes_on() {
    let rig = Rig::start();
    let stream = UnixStream::connect(rig.socket()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for (request, kind) in [
        ("nonsense", "malformed"),
        ("{\"command\":\"explode\"}", "malformed"),
        ("{\"command\":\"status\",\"x\":1}", "malformed"),
        ("{\"command\":\"flows\",\"colour\":1}", "malformed"),
        ("{\"command\":\"status\",\"colour\":1}", "malformed"),
        ("{\"command\":\"flows\",\"client\":\"192.0.2.0/99\"}", "malformed"),
        ("{\"command\":\"flows\",\"backend\":\"10.0.9.1\"}", "malformed"),
        ("{\"command\":\"flows\",\"backend\":\"10.0.9.99:80\"}", "not_found"),
        ("{\"command\":\"backends\",\"service\":\"nope\"}", "not_found"),
    ] {
        writeln!(&stream, "{request}").unwrap();
        assert_eq!(answer(&mut reader)["error"]["kind"], json!(kind), "{request}");
    }
    writeln!(&stream, "{{\"command\":\"status\"}}").unwrap();
    assert_eq!(answer(&mut reader)["result"]["name"], json!("lb1"));
}

#[test]
fn a_request_that_is_too_long_and_a_client_too_many_are_told_so() {
    let rig = Rig::start();
    // One octet more than allowed, and no end of line.
    assert_eq!(rig.say(&vec![b' '; 64 * 1024 + 1])["error"]["kind"], json!("too_large"));

    let crowd: Vec<_> = (0..64).map(|_| UnixStream::connect(rig.socket()).unwrap()).collect();
    let mut last = BufReader::new(crowd.last().unwrap());
    assert_eq!(answer(&mut last)["error"]["kind"], json!("busy"));
}

#[test]
fn a_client_that_asks_and_never_listens_holds_nobody_up() {
    let rig = Rig::start();
    let deaf = UnixStream::connect(rig.socket()).unwrap();
    (0..500).for_each(|_| writeln!(&deaf, "{{\"command\":\"counters\"}}").unwrap());
    for _ in 0..10 {
        assert_eq!(rig.ask(&json!({"command": "status"}))["result"]["name"], json!("lb1"));
    }
}

#[test]
fn a_reload_prints_the_difference_and_a_bad_file_changes_nothing() {
    let rig = Rig::start();
    let mut changed = rig.file.lock().unwrap().clone().unwrap();
    changed.services.truncate(1);
    changed.services[0].backends[0].weight = 50;
    *rig.file.lock().unwrap() = Ok(changed.clone());

    let dry = &rig.ask(&json!({"command": "reload", "dry_run": true}))["result"];
    assert_eq!(dry["applied"], json!(false));
    assert_eq!(dry["difference"]["services"]["removed"], json!(["mail"]));
    assert_eq!(dry["difference"]["backends"]["changed"], json!(["web 10.0.9.1:80: weight 1 -> 50"]));
    let services =
        || rig.ask(&json!({"command": "services"}))["result"]["services"].as_array().unwrap().len();
    assert_eq!(services(), 2);

    *rig.file.lock().unwrap() = Err("lb.toml:1:1: wrong; make it right".to_owned());
    let bad = rig.ask(&json!({"command": "reload"}));
    assert_eq!(bad["error"], json!({"kind": "refused", "message": "lb.toml:1:1: wrong; make it right"}));
    let mut restart = changed.clone();
    restart.appliance.workers = vec![7];
    *rig.file.lock().unwrap() = Ok(restart);
    let refused = rig.ask(&json!({"command": "reload"}));
    assert!(refused["error"]["message"].as_str().unwrap().contains("appliance.workers"), "{refused}");
    assert_eq!(services(), 2);

    *rig.file.lock().unwrap() = Ok(changed);
    assert_eq!(rig.ask(&json!({"command": "reload"}))["result"]["applied"], json!(true));
    assert_eq!(services(), 1);
}

#[test]
fn http_serves_metrics_the_same_json_and_a_health_check() {
    let rig = Rig::start();
    let (status, text) = rig.get("/metrics");
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n"), "{text}");
    let samples: BTreeMap<&str, &str> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' ')).collect();
    assert!(samples.keys().all(|name| name.starts_with("evenkeel_")), "{text}");
    for (sample, expected) in [
        ("evenkeel_ready", "1"),
        ("evenkeel_port_up{port=\"front\"}", "1"),
        ("evenkeel_port_rx_missed_total{port=\"front\"}", "3"),
        ("evenkeel_port_mbufs_in_use{port=\"front\"}", "1024"),
        ("evenkeel_kernel_port_tap_errors_total{port=\"front\"}", "2"),
        ("evenkeel_worker_rx_packets_total{worker=\"1\"}", "10"),
        ("evenkeel_worker_drops_total{worker=\"0\",reason=\"no_backend\"}", "3"),
        ("evenkeel_worker_drops_total{worker=\"0\",reason=\"martian\"}", "0"),
        ("evenkeel_flow_table_used{worker=\"0\"}", "5"),
        ("evenkeel_flow_table_capacity{worker=\"0\"}", "1000"),
        ("evenkeel_service_backends_up{service=\"web\"}", "2"),
        ("evenkeel_service_connections_total{service=\"mail\"}", "0"),
        ("evenkeel_backend_up{service=\"web\",backend=\"10.0.9.2:80\"}", "1"),
        ("evenkeel_control_step_seconds_count{step=\"load\"}", "0"),
    ] {
        assert_eq!(samples.get(sample), Some(&expected), "{sample}\n{text}");
    }

    assert_eq!(rig.get("/healthz"), (200, "ok\n".to_owned()));
    for (path, key) in [
        ("/api/v1/status", "workers"),
        ("/api/v1/services", "services"),
        ("/api/v1/backends?service=web", "backends"),
        ("/api/v1/flows?service=web&displaced=false&limit=2", "flows"),
        ("/api/v1/flows?service=web&displaced=true", "flows"),
        ("/api/v1/counters", "counters"),
    ] {
        let (status, body) = rig.get(path);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, body[key].is_array()), (200, true), "{path}");
    }
    assert_eq!(rig.get("/api/v1/backends?service=nope").0, 404);
    assert_eq!(rig.get("/nope").0, 404);
}

#[test]
fn half_written_requests_hold_up_no_health_check_and_end_within_seconds() {
    let rig = Rig::start();
    let crowd: Vec<_> = (0..72).map(|_| TcpStream::connect(rig.http()).unwrap()).collect();
    for mut stream in &crowd {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nX").unwrap();
    }
    let begun = Instant::now();
    assert_eq!(rig.get("/healthz"), (200, "ok\n".to_owned()));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(rig.get("/metrics"), (503, "too many connections\n".to_owned()));
    for mut stream in &crowd {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut rest = Vec::new();
        // Closed or reset, with or without a word.
        let _ended = stream.read_to_end(&mut rest);
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(rig.get("/metrics").0, 200);
}

#[test]
fn a_configuration_file_that_hangs_holds_nobody_up() {
    let rig = Rig::start();
    let hung = rig.file.lock().unwrap();
    let reload = UnixStream::connect(rig.socket()).unwrap();
    writeln!(&reload, "{{\"command\":\"reload\"}}").unwrap();
    for _ in 0..10 {
        assert_eq!(rig.ask(&json!({"command": "status"}))["result"]["ready"], json!(true));
    }
    drop(hung);
    let mut reload = BufReader::new(reload);
    assert_eq!(answer(&mut reload)["result"]["applied"], json!(true));
}

#[test]
fn the_socket_is_for_owner_and_group_and_takes_the_place_of_a_dead_one_only() {
    let directory = tempfile::tempdir().unwrap();
    let mut appliance = config(vec![]).appliance;
    let path = directory.path().join("deep/control.sock");
    appliance.control_socket = path.clone();

    let first = Listeners::bind(&appliance).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let second = Listeners::bind(&appliance).unwrap_err();
    assert!(matches!(second, ListenError::InUse(_)), "{second}");
    drop(first);
    assert!(!path.exists(), "the socket is removed at the end");

    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a process that died leaves its socket");
    drop(Listeners::bind(&appliance).unwrap());

    std::fs::write(&path, "mine").unwrap();
    let in_the_way = Listeners::bind(&appliance).unwrap_err();
    assert!(matches!(in_the_way, ListenError::NotASocket(_)), "{in_the_way}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn an_http_address_in_use_is_said_so() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut appliance = config(vec![]).appliance;
    appliance.control_socket = directory.path().join("control.sock");
    appliance.http_listen = Some(taken.local_addr().unwrap());
    let error = Listeners::bind(&appliance).unwrap_err().to_string();
    assert!(
        error.contains(&taken.local_addr().unwrap().to_string()) && error.contains("http_listen"),
        "{error}"
    );
    assert!(!appliance.control_socket.exists());
}
