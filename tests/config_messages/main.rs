//! What an operator reads after a mistake: for each kind of mistake the whole output, to the letter.

mod access;
mod fields;
mod forwarding;
mod limits;
mod probes;
mod syn_proxy;
mod syntax;
mod values;
mod warnings;
mod whole;

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use evenkeel::config::load;
use evenkeel::config::parse;

/// A right file, which most cases make one change to.
const RIGHT: &str = r#"[appliance]
workers = [1, 2]

[[port]]
name = "front"
device = "net_af_packet0,iface=eth1"
addresses = ["192.0.2.10/24"]

[local_addresses]
default = ["10.0.8.10"]

[[service]]
name = "web"
vip = "203.0.113.80"
port = 80

[service.health]
kind = "tcp"

[[service.backend]]
address = "10.0.9.1"
"#;

/// A mistake.
struct Case {
    /// What it is.
    description: &'static str,
    text: Text,
    /// What is printed, line by line.
    errors: &'static [&'static str],
}

/// How the file with the mistake comes about.
enum Text {
    /// The right file with the first text replaced by the second.
    Change(&'static str, &'static str),
    /// The right file with two texts replaced, each by the one beside it.
    Changes([(&'static str, &'static str); 2]),
    /// The right file with a text after it.
    Append(&'static str),
    /// Anew.
    File(&'static str),
}

const fn change(
    description: &'static str,
    from: &'static str,
    to: &'static str,
    errors: &'static [&'static str],
) -> Case {
    Case { description, text: Text::Change(from, to), errors }
}

const fn changes(
    description: &'static str,
    replaced: [(&'static str, &'static str); 2],
    errors: &'static [&'static str],
) -> Case {
    Case { description, text: Text::Changes(replaced), errors }
}

const fn append(description: &'static str, text: &'static str, errors: &'static [&'static str]) -> Case {
    Case { description, text: Text::Append(text), errors }
}

const fn file(description: &'static str, text: &'static str, errors: &'static [&'static str]) -> Case {
    Case { description, text: Text::File(text), errors }
}

impl Case {
    fn text(&self) -> String {
        let replace = |text: &str, from: &str, to: &str| {
            assert!(RIGHT.contains(from), "{}: {from:?} is not in the right file", self.description);
            text.replacen(from, to, 1)
        };
        match self.text {
            Text::Change(from, to) => replace(RIGHT, from, to),
            Text::Changes(all) => {
                all.iter().fold(RIGHT.to_owned(), |text, (from, to)| replace(&text, from, to))
            }
            Text::Append(text) => format!("{RIGHT}{text}"),
            Text::File(text) => text.to_owned(),
        }
    }
}

fn cases() -> impl Iterator<Item = &'static Case> {
    [
        access::CASES,
        syntax::CASES,
        values::CASES,
        fields::CASES,
        forwarding::CASES,
        limits::CASES,
        syn_proxy::CASES,
        probes::CASES,
        whole::CASES,
    ]
    .into_iter()
    .flatten()
}

#[test]
fn the_file_that_cases_change_is_right() {
    if let Err(errors) = parse("lb.toml", RIGHT) {
        panic!("{errors}");
    }
}

#[test]
fn every_mistake_is_reported_with_its_place_and_the_way_out() {
    let mut failed = Vec::new();
    for case in cases() {
        let printed =
            parse("lb.toml", &case.text()).map_or_else(|errors| errors.to_string(), |_| String::new());
        let expected = case.errors.join("\n");
        if printed != expected {
            failed.push(format!("{}\n  expected:\n{expected}\n  printed:\n{printed}\n", case.description));
        }
    }
    assert!(failed.is_empty(), "{} cases differ:\n\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn every_message_says_what_is_wrong_and_how_to_fix_it() {
    let mut descriptions = HashSet::new();
    for case in cases() {
        assert!(descriptions.insert(case.description), "twice: {}", case.description);
        for error in &parse("lb.toml", &case.text()).expect_err(case.description) {
            let message = error.message();
            assert!(message.contains("; ") || message.ends_with('?'), "no way out: {message}");
            assert!(!message.ends_with('.'), "full stop: {message}");
            assert!(!message.starts_with(|c: char| c.is_uppercase() && c != 'N'), "upper case: {message}");
        }
    }
}

fn printed(path: &Path) -> String {
    load(path).expect_err("a wrong file passes").to_string()
}

#[test]
fn a_file_that_does_not_exist_is_named() {
    let path = Path::new("no/such/lb.toml");
    let expected =
        "no/such/lb.toml: cannot be read (No such file or directory (os error 2)); check the path after -c";
    assert_eq!(printed(path), expected);
}

#[test]
fn a_directory_is_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let name = directory.path().display();
    let expected = format!("{name}: cannot be read (Is a directory (os error 21)); name a file in it");
    assert_eq!(printed(directory.path()), expected);
}

#[test]
fn text_that_is_not_utf_8_is_reported_where_it_starts() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"[appliance]\nname = \"b\xe4r\"\n").unwrap();
    let name = file.path().display();
    assert_eq!(printed(file.path()), format!("{name}:2:10: octet 0xe4 is not UTF-8; save the file in UTF-8"));
}
