//! Warnings: what can be loaded, and will hardly work as meant.

use evenkeel::config::parse;

use crate::Case;
use crate::append;
use crate::change;

/// The `errors` of these are warnings.
const CASES: &[Case] = &[
    append(
        "a program of hooks that is not there",
        "[hooks]\nscript = [\"/no/such/program\", \"-q\"]\n",
        &[
            r#"lb.toml:23:11: warning: script "/no/such/program" cannot be run (No such file or directory (os error 2)); install it, or correct the path"#,
        ],
    ),
    append(
        "a file of hooks that is no program",
        "[hooks]\nscript = [\"/etc/passwd\"]\n",
        &[r#"lb.toml:23:11: warning: script "/etc/passwd" cannot be executed; run chmod +x /etc/passwd"#],
    ),
    change(
        "a program of probes that is not there",
        "kind = \"tcp\"",
        "kind = \"script\"\ncommand = [\"/no/such/program\"]",
        &[
            r#"lb.toml:19:12: warning: command "/no/such/program" cannot be run (No such file or directory (os error 2)); install it, or correct the path"#,
        ],
    ),
    change(
        "a file of authorities that is not there",
        "kind = \"tcp\"",
        "kind = \"https\"\nca = \"/no/such/ca.pem\"",
        &[
            r#"lb.toml:19:6: warning: ca "/no/such/ca.pem" cannot be read (No such file or directory (os error 2)); probes cannot be sent until it can"#,
        ],
    ),
    change(
        "a file of authorities without a certificate",
        "kind = \"tcp\"",
        "kind = \"https\"\nca = \"/etc/passwd\"",
        &[
            r#"lb.toml:19:6: warning: ca "/etc/passwd" has no certificate in PEM form; write the certificates of the authorities to it"#,
        ],
    ),
    change(
        "a quorum that nobody asks for",
        "port = 80",
        "port = 80\nquorum = 2",
        &[
            r#"lb.toml:16:10: warning: quorum has no effect without announce = "quorum"; write that, or remove quorum"#,
        ],
    ),
    change(
        "a service without backends",
        r#"[[service.backend]]
address = "10.0.9.1"
"#,
        "",
        &[
            "lb.toml:12:1: warning: service has no backends, so its clients are refused; add a [[service.backend]] with an address",
        ],
    ),
];

#[test]
fn warnings_name_their_place_and_the_way_out_and_do_not_refuse_the_file() {
    for case in CASES {
        let text = case.text();
        let config =
            parse("lb.toml", &text).unwrap_or_else(|errors| panic!("{}: {errors}", case.description));
        let printed: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(printed, case.errors, "{}", case.description);
    }
}

#[test]
fn right_file_has_no_warnings() {
    assert_eq!(parse("lb.toml", crate::RIGHT).unwrap().warnings, []);
}
