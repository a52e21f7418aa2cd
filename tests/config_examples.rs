//! The files in `conf/` are right, and the reference among them is complete and tells the truth.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use evenkeel::config::Config;
use evenkeel::config::ConfigErrors;
use evenkeel::config::load;
use evenkeel::config::parse;

/// The example of the operator's manual: every table and key that a file commonly has.
const MANUAL: &str = include_str!("data/manual.toml");

const REFERENCE: &str = include_str!("../conf/evenkeel.toml");

fn accepted(text: &str) -> Config {
    parse("conf", text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn refused(text: &str) -> ConfigErrors {
    parse("conf", text).expect_err("a wrong file passes")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("conf/ can be listed") {
        let path = entry.expect("conf/ can be listed").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_file_in_conf_passes() {
    let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("conf"));
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        if let Err(errors) = load(&file) {
            panic!("{errors}");
        }
    }
}

#[test]
fn the_example_of_the_manual_passes() {
    let config = accepted(MANUAL);
    assert_eq!(config.appliance.workers, [1, 2, 3]);
    assert_eq!(config.local_addresses.len(), 3);
    let service = config.service("web").unwrap();
    assert_eq!(service.local_addresses.len(), 2, "those of the VIP's family");
    assert_eq!(service.backends[0].endpoint.to_string(), "10.0.9.1:8080");
    assert_eq!(config.next_hops[0].port, config.port("front").unwrap());
}

/// Unless the file says otherwise, or another server answers the probes.
#[test]
fn probes_begin_with_a_header_where_clients_packets_do() {
    let probed = |keys: &str, health: &str| {
        let service = format!("vip = \"203.0.113.80\"\n{keys}\n");
        let text = MANUAL.replacen("vip = \"203.0.113.80\"\n", &service, 1);
        let text = text.replacen("client_address = \"none\"", "# client_address = \"none\"", 1);
        let text = text.replacen("[service.health]\n", &format!("[service.health]\n{health}\n"), 1);
        accepted(&text).service("web").unwrap().health.proxy_header
    };
    let proxy = "client_address = \"proxy-v2\"";
    assert!(probed(proxy, ""));
    assert!(!probed(proxy, "port = 9000"));
    assert!(!probed(proxy, "proxy_header = false"));
    assert!(probed(proxy, "port = 9000\nproxy_header = true"));
    assert!(!probed("client_address = \"toa\"", ""));
    assert!(!probed("", ""));
}

/// What hooks are told is listed where they are configured.
#[test]
fn the_reference_names_every_event() {
    let change = include_str!("../src/control/change.rs");
    let last_text = |line: &str| line.rsplit('"').nth(1).map(str::to_owned);
    let events: BTreeSet<String> =
        change.lines().filter(|line| line.contains("tracing::")).filter_map(last_text).collect();
    assert!(events.len() > 15, "{events:?}");
    let named =
        |event: &str| REFERENCE.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == event);
    let missing: Vec<_> = events.iter().filter(|event| !named(event)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Line by line: a value marked as the default can be left out.
#[test]
fn every_default_in_the_reference_is_the_codes() {
    // Warnings name lines, which move.
    let accepted = |text: &str| Config { warnings: Vec::new(), ..accepted(text) };
    let config = accepted(REFERENCE);
    let lines: Vec<_> = REFERENCE.lines().collect();
    let mut seen = 0;
    for (index, line) in lines.iter().enumerate() {
        if !line.contains("# default") {
            continue;
        }
        seen += 1;
        let without: Vec<_> = [&lines[..index], &lines[index + 1..]].concat();
        assert_eq!(accepted(&without.join("\n")), config, "{line}");
    }
    assert!(seen >= 30, "{seen}");
}

/// Line by line: "0 to 1023" is what the error says about a number out of range.
#[test]
fn every_range_in_the_reference_is_the_codes() {
    let mut seen = 0;
    for line in REFERENCE.lines() {
        let Some((setting, range)) = line.split_once("# default; ") else {
            continue;
        };
        seen += 1;
        let key = setting.split('=').next().unwrap().trim();
        let range = range.trim_start_matches("each ");
        let beyond = if setting.contains('"') { "\"100000h\"" } else { "99999999999999999999" };
        let beyond = if setting.contains('[') { format!("[{beyond}]") } else { beyond.to_owned() };
        let errors = refused(&REFERENCE.replacen(line, &format!("{key} = {beyond}"), 1));
        let messages = errors.to_string();
        assert!(
            messages.contains("out of range") && messages.ends_with(&format!("from {range}")),
            "{line}: {messages}"
        );
    }
    assert!(seen >= 15, "{seen}");
}

/// Line by line: what is commented out can be put in, in place of another key if the line before says so.
#[test]
fn every_key_that_is_commented_out_in_the_reference_is_accepted() {
    let mut seen = 0;
    // Files that are read with the configuration are there under another path.
    let directory = tempfile::tempdir().expect("there is room for a few files");
    for file in ["allow.txt", "deny.txt"] {
        std::fs::write(directory.path().join(file), "192.0.2.0/28\n").expect("the directory is ours");
    }
    let here = directory.path().display().to_string();
    let before = std::iter::once("").chain(REFERENCE.lines());
    for (before, line) in before.zip(REFERENCE.lines()) {
        let is_key = |text: &str| text.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        let Some(setting) = line.strip_prefix("# ").filter(|text| is_key(text)) else {
            continue;
        };
        seen += 1;
        let instead = before.strip_prefix("# In place of ").and_then(|text| text.split(':').next());
        let other = |line: &&str| instead.is_none_or(|key| !line.starts_with(&format!("{key} = ")));
        let rest: Vec<_> = REFERENCE.lines().filter(other).collect();
        let setting = if setting.contains("_file = ") {
            setting.replace("/etc/evenkeel", &here)
        } else {
            setting.to_owned()
        };
        accepted(&rest.join("\n").replacen(line, &setting, 1));
    }
    assert_eq!(seen, 16);
}

/// The reader says which keys a table has when it meets one that it does not know.
#[test]
fn the_reference_has_every_key_that_the_reader_knows() {
    const TABLES: [&str; 11] = [
        "appliance",
        "[port]",
        "[next_hop]",
        "timeouts",
        "hooks",
        "[service]",
        "service.limits",
        "service.persistence",
        "service.health",
        "service.health.agent",
        "[service.backend]",
    ];
    for table in TABLES {
        let header = format!("\n[{table}]\n");
        let text = REFERENCE.replacen(&header, &format!("{header}unknown = 1\n"), 1);
        let message = refused(&text).to_string();
        let (_, keys) = message.split_once("the keys are ").unwrap_or_else(|| panic!("{table}: {message}"));
        // Each ends at the next header; later ones have keys that do not go together with those of the first.
        let bodies = REFERENCE.split(&header).skip(1).map(|rest| rest.split("\n[").next().unwrap());
        let written: BTreeSet<_> = bodies
            .flat_map(str::lines)
            .filter_map(|line| line.strip_prefix("# ").unwrap_or(line).split_once(" = "))
            .map(|(key, _)| key)
            .filter(|key| !key.contains(' '))
            .collect();
        let known: BTreeSet<_> = keys
            .split(", ")
            .filter(|key| !matches!(*key, "health" | "limits" | "persistence" | "agent" | "backend"))
            .collect();
        assert_eq!(written, known, "{table}");
    }
    let message = refused(&format!("unknown = 1\n{REFERENCE}")).to_string();
    assert!(
        message
            .ends_with("the keys are appliance, hooks, local_addresses, next_hop, port, service, timeouts"),
        "{message}"
    );
}
