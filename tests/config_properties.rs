//! What holds for every text, whatever it is: the reader does not panic, and its errors are in order and have a place.

use proptest::prelude::*;

use evenkeel::config::Config;
use evenkeel::config::ConfigErrors;
use evenkeel::config::parse;

const FILES: [&str; 3] = [
    include_str!("../conf/evenkeel.toml"),
    include_str!("../conf/quickstart.toml"),
    include_str!("../conf/examples/two-arm.toml"),
];

/// Text with a meaning somewhere, for putting where it has none.
const PIECES: [&str; 24] = [
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "\"",
    "\"\"\"",
    "'",
    "=",
    ",",
    "#",
    "\n",
    "\r\n",
    "\t",
    "0",
    "-1",
    "nan",
    "none",
    "é",
    "\u{feff}",
    "[service]\n",
    "[[port]]\n",
    "a.b.c = 1\n",
];

fn check(text: &str) {
    if let Err(errors) = parse("f", text) {
        check_errors(text, &errors);
    }
}

fn check_errors(text: &str, errors: &ConfigErrors) {
    let lines: Vec<_> = text.split('\n').collect();
    let places: Vec<_> = errors.iter().map(|error| error.position().expect("a place in the text")).collect();
    assert!(!places.is_empty());
    assert!(places.is_sorted(), "{errors}");
    for place in places {
        let length = lines[place.line - 1].chars().count();
        assert!((1..=length + 1).contains(&place.column), "{errors}");
    }
}

/// Says of a configuration what its type cannot.
fn check_config(config: &Config) {
    assert!(!config.appliance.workers.is_empty() && !config.ports.is_empty());
    for hop in &config.next_hops {
        assert!(hop.port.index() < config.ports.len());
    }
    for service in &config.services {
        assert!(!service.backends.is_empty() && !service.local_addresses.is_empty());
        assert!(service.ports.first >= 1 && service.ports.first <= service.ports.last);
        assert!(service.health.timeout <= service.health.interval);
        assert!(service.local_addresses.iter().all(|local| local.is_ipv4() == service.vip.is_ipv4()));
        assert!(service.local_addresses.iter().all(|local| config.local_addresses.contains(local)));
        assert!(service.backends.iter().all(|b| b.endpoint.address.is_ipv4() == service.vip.is_ipv4()));
    }
}

/// A place in `text`, as a fraction of its length.
fn place(text: &str, fraction: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a fraction of a length is one"
    )]
    let at = (text.len() as f64 * fraction) as usize;
    text.floor_char_boundary(at)
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn no_heap_of_toml_makes_the_reader_panic(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60)) {
        check(&pieces.concat());
    }

    #[test]
    fn a_right_file_with_pieces_put_in_and_taken_out_has_errors_or_a_meaning(
        file in prop::sample::select(&FILES[..]),
        edits in prop::collection::vec((0.0..1.0, 0.0..0.02, prop::sample::select(&PIECES[..])), 1..6),
    ) {
        let mut text = file.to_owned();
        for (start, length, piece) in edits {
            let start = place(&text, start);
            let end = start + place(&text[start..], length);
            text.replace_range(start..end, piece);
        }
        match parse("f", &text) {
            Ok(config) => check_config(&config),
            Err(errors) => check_errors(&text, &errors),
        }
    }

    #[test]
    fn a_right_file_with_a_line_moved_has_errors_or_a_meaning(
        file in prop::sample::select(&FILES[..]),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let mut lines: Vec<_> = file.lines().collect();
        let line = lines.remove(from.index(lines.len()));
        lines.insert(to.index(lines.len()), line);
        let text = lines.join("\n");
        match parse("f", &text) {
            Ok(config) => check_config(&config),
            Err(errors) => check_errors(&text, &errors),
        }
    }
}

#[test]
fn line_ends_and_a_byte_order_mark_change_nothing() {
    for file in FILES {
        let windows = format!("\u{feff}{}", file.replace('\n', "\r\n"));
        assert_eq!(parse("f", &windows), parse("f", file));
    }
}

#[test]
fn the_order_of_tables_does_not_matter() {
    let text = "[local_addresses]\ndefault = [\"10.0.8.10\"]\n[appliance]\nname = \"lb1\"\n\
                [[port]]\nname = \"a\"\ndevice = \"net_null0\"\n";
    let turned = "[[port]]\ndevice = \"net_null0\"\nname = \"a\"\n[appliance]\nname = \"lb1\"\n\
                  [local_addresses]\ndefault = [\"10.0.8.10\"]\n";
    let config = parse("f", text).unwrap();
    assert_eq!(parse("f", turned), Ok(config));
}
