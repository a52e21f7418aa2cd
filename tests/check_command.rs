//! `evenkeel check`: exit status and output for people and for programs.

use std::fs;
use std::process::Command;
use std::process::Output;

use serde_json::Value;

const FILE: &str = r#"
[appliance]
memory = "no-hugepages"
flows_per_worker = 1024

[[port]]
name = "front"
device = "net_null0"

[local_addresses]
default = ["10.0.8.10"]

[[service]]
name = "web"
vip = "203.0.113.80"
port = 80
"#;

fn check(text: &str, options: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fs::write(directory.path().join("lb.toml"), text).expect("the directory is ours");
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    let output =
        command.args(["check", "-c", "lb.toml"]).args(options).current_dir(directory.path()).output();
    output.expect("the program starts")
}

const WARNING: &str = "lb.toml:13:1: warning: service has no backends, so its clients are refused; add a [[service.backend]] with an address\n";

#[test]
fn file_with_warnings_is_valid_unless_the_check_is_strict() {
    let done = check(FILE, &[]);
    assert_eq!(done.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&done.stderr).contains(WARNING));
    assert!(
        String::from_utf8_lossy(&done.stdout)
            .starts_with("lb.toml: valid (1 warning): 1 port, 1 worker, 1 service, 0 backends\n")
    );
    let done = check(FILE, &["--strict"]);
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains(WARNING));
}

#[test]
fn check_prints_json_for_programs() {
    let done = check(FILE, &["--json"]);
    assert_eq!(done.status.code(), Some(0));
    let json: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!(
        (&json["valid"], &json["services"], &json["errors"]),
        (&true.into(), &1.into(), &Value::Array(vec![]))
    );
    let warning = &json["warnings"][0];
    assert_eq!(
        (&warning["file"], &warning["line"], &warning["column"]),
        (&"lb.toml".into(), &13.into(), &1.into())
    );
    assert!(done.stderr.is_empty());

    let done = check(&FILE.replace("port = 80", "port = 0"), &["--json"]);
    assert_eq!(done.status.code(), Some(2));
    let json: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!((&json["valid"], &json["errors"][0]["line"]), (&false.into(), &16.into()));
}
