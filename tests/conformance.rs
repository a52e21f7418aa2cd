//! What docs/CONFORMANCE.md says to be met is shown by tests that exist, and no requirement is left out.

use std::fs;
use std::path::Path;

const DOCUMENT: &str = include_str!("../docs/CONFORMANCE.md");

const STATES: [&str; 4] = ["met", "partly", "not by design", "not yet"];

/// What a row with one of these states must name a test for.
const SHOWN: [&str; 2] = ["met", "partly"];

/// The sections whose rows are numbered, what stands before the numbers, and the last one.
const NUMBERED: [(&str, &str, usize); 4] = [
    ("Traps of full NAT", "", 27),
    ("RFC 4787: UDP", "REQ-", 14),
    ("RFC 5382: TCP", "REQ-", 10),
    ("RFC 5508: ICMP", "REQ-", 11),
];

#[test]
fn every_test_that_the_document_names_exists() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (line, text) in lines() {
        for (path, name) in quoted(text).filter_map(|quoted| quoted.split_once("::")) {
            seen += 1;
            if let Some(flaw) = flaw(path, name) {
                wrong.push(format!("{line}: {path}::{name}: {flaw}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 100, "{seen}");
}

#[test]
fn every_row_has_a_state_a_reason_and_the_tests_that_its_state_needs() {
    let mut wrong = Vec::new();
    for Row { line, cells, .. } in rows() {
        let [_, asked, state, reason, tests] = cells[..] else {
            wrong.push(format!("{line}: {} cells, not 5", cells.len()));
            continue;
        };
        if asked.is_empty() || reason.is_empty() {
            wrong.push(format!("{line}: what is asked, or how it is met, is not said"));
        }
        if !STATES.contains(&state) {
            wrong.push(format!("{line}: {state:?} is none of {STATES:?}"));
        }
        if SHOWN.contains(&state) && tests.is_empty() {
            wrong.push(format!("{line}: {state}, but no test shows it"));
        }
        // Between the names, and in front of the first and behind the last, stands nothing.
        let all_names = tests.split('`').step_by(2).all(|between| between.trim().is_empty());
        if !all_names || quoted(tests).any(|name| !name.contains("::")) {
            wrong.push(format!("{line}: the last cell is for the names of tests alone, each in backticks"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_requirement_has_one_row() {
    let rows = rows();
    let mut wrong = Vec::new();
    for (section, prefix, last) in NUMBERED {
        for number in 1..=last {
            let name = format!("{prefix}{number}");
            let count = rows.iter().filter(|row| row.section == section && row.cells[0] == name).count();
            if count != 1 {
                wrong.push(format!("docs/CONFORMANCE.md, {section}: {count} rows for {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A row of a table, but for those that are its head.
struct Row {
    section: &'static str,
    line: String,
    cells: Vec<&'static str>,
}

fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut section = "";
    for (line, text) in lines() {
        if let Some(heading) = text.strip_prefix("## ") {
            section = heading;
        } else if text.starts_with("|--") {
            // The row before this line is the head of the table.
            rows.pop();
        } else if let Some(inside) = text.strip_prefix('|') {
            let inside = inside.strip_suffix('|').unwrap_or(inside);
            rows.push(Row { section, line, cells: inside.split('|').map(str::trim).collect() });
        }
    }
    rows
}

/// The lines of the document, each with its place for messages.
fn lines() -> impl Iterator<Item = (String, &'static str)> {
    (1..).zip(DOCUMENT.lines()).map(|(number, text)| (format!("docs/CONFORMANCE.md:{number}"), text))
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Why the function is no test that runs; `None` if it is one.
fn flaw(path: &str, name: &str) -> Option<&'static str> {
    let is_ours = path.starts_with("src/") || path.starts_with("tests/");
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok();
    let Some(source) = source.filter(|_| is_ours) else {
        return Some("no such file in src/ or tests/");
    };
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let head = format!("fn {name}(");
    let begins = |line: &&str| line.strip_prefix("async ").unwrap_or(line).starts_with(&head);
    let Some(place) = lines.iter().position(begins) else {
        return Some("no such function in the file");
    };
    let belongs = |line: &&str| line.starts_with("#[") || line.starts_with("//");
    let above: Vec<&str> = lines[..place].iter().rev().copied().take_while(belongs).collect();
    let has = |attribute: &str| above.iter().any(|line| line.starts_with(attribute));
    if !has("#[test]") && !has("#[tokio::test") {
        return Some("a function, but no test");
    }
    has("#[ignore").then_some("it does not run by itself: it is marked `ignore`")
}
