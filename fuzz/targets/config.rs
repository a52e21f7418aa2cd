//! Any text as a configuration: nothing panics, and every error names a place in the text.
#![no_main]

use evenkeel::config::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Err(errors) = parse("f", text) else { return };
    let lines: Vec<&str> = text.split('\n').collect();
    assert!(errors.iter().next().is_some());
    let places: Vec<_> = errors.iter().map(|error| error.position().expect("a place in the text")).collect();
    assert!(places.is_sorted(), "{errors}");
    for place in places {
        let length = lines[place.line - 1].chars().count();
        assert!((1..=length + 1).contains(&place.column), "{errors}");
    }
});
