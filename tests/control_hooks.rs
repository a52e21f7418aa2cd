//! Programs and addresses that are told of changes.

mod control_support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use control_support::endpoint;
use evenkeel::config::HooksConfig;
use evenkeel::control::change::Change;
use evenkeel::control::health::ProbeFailure;
use evenkeel::control::hooks::Hooks;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

fn down(after: u32) -> Change {
    let (backend, reason) = (endpoint("10.0.9.1:80"), ProbeFailure::Timeout);
    Change::BackendDown { service: "web".into(), backend, reason, after }
}

fn script(text: &str) -> Arc<HooksConfig> {
    let script = Some(["sh", "-c", text].map(str::to_owned).to_vec());
    Arc::new(HooksConfig { script, webhook: None, timeout: Duration::from_secs(5) })
}

/// Runs `test` on a runtime, for ten seconds at most.
fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(async {
        tokio::time::timeout(Duration::from_secs(10), test).await.expect("it takes its time")
    });
}

/// The lines of `file`, once there are so many.
async fn lines(file: &Path, count: usize) -> Vec<String> {
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if text.lines().count() >= count {
            return text.lines().map(str::to_owned).collect();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_script_gets_each_change_as_json_in_order() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("told");
        let hooks = Hooks::start();
        let config = script(&format!("echo \"$EVENKEEL_EVENT $(cat)\" >> {}", file.display()));
        for after in 1..=3 {
            hooks.tell("lb1", &config, &down(after));
        }
        hooks.tell("lb1", &config, &Change::ServiceDown { service: "web".into() });
        let told = lines(&file, 4).await;
        for (line, after) in told.iter().zip(1..=3) {
            let json: Value = serde_json::from_str(line.strip_prefix("backend_down ").unwrap()).unwrap();
            assert_eq!(json["after"], after);
            assert_eq!((&json["service"], &json["backend"]), (&"web".into(), &"10.0.9.1:80".into()));
            assert_eq!((&json["reason"], &json["appliance"]), (&"timeout".into(), &"lb1".into()));
        }
        assert!(told[3].starts_with("service_down {"), "{told:?}");
    });
}

#[test]
fn a_script_that_does_not_end_is_ended_with_its_children_and_the_next_change_is_told() {
    block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let (file, children) = (directory.path().join("told"), directory.path().join("children"));
        let text = format!(
            "grep -q '\"after\":1' && {{ sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait; }}; echo told >> {1}",
            children.display(),
            file.display()
        );
        let config = HooksConfig { timeout: Duration::from_millis(300), ..(*script(&text)).clone() };
        let config = Arc::new(config);
        let hooks = Hooks::start();
        hooks.tell("lb1", &config, &down(1));
        hooks.tell("lb1", &config, &down(2));
        assert_eq!(lines(&file, 1).await, ["told"], "the first was ended before it could tell");
        let child = lines(&children, 1).await[0].clone();
        let is_alive = || {
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            stat.contains(") ") && !stat.contains(") Z")
        };
        while is_alive() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn a_webhook_gets_a_post_and_a_dead_one_holds_nothing_up() {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = |port: u16| {
            let webhook = Some(format!("http://127.0.0.1:{port}/changes?x=1").parse().unwrap());
            Arc::new(HooksConfig { script: None, webhook, timeout: Duration::from_millis(500) })
        };
        let hooks = Hooks::start();
        // Nobody listens on the discard port.
        hooks.tell("lb1", &config(9), &down(1));
        hooks.tell("lb1", &config(address.port()), &down(2));
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            assert_ne!(
                stream.read_buf(&mut request).await.unwrap(),
                0,
                "{}",
                String::from_utf8_lossy(&request)
            );
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        let text = String::from_utf8(request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /changes?x=1 HTTP/1.1\r\n"), "{head}");
        assert!(head.to_lowercase().contains(&format!("host: {address}")), "{head}");
        let json: Value = serde_json::from_str(body).unwrap();
        assert_eq!((&json["event"], &json["after"]), (&"backend_down".into(), &2.into()));
    });
}
