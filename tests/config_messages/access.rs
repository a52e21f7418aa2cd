//! Lists of clients that cannot be, in the configuration and in files.

use evenkeel::config::parse;

use super::{Case, RIGHT, change};

pub(super) const CASES: &[Case] = &[
    change(
        "a list of clients that is no list",
        "port = 80",
        "port = 80\ndeny = \"198.51.100.0/24\"",
        &[r#"lb.toml:16:8: deny is the string "198.51.100.0/24"; write a list in brackets, as deny = [...]"#],
    ),
    change(
        "clients that are no prefixes",
        "port = 80",
        "port = 80\nallow = [\"198.51.100.7/24\", \"everybody\", \"10.0.0.0/33\"]",
        &[
            r#"lb.toml:16:10: allow "198.51.100.7/24" has host bits set; write "198.51.100.0/24""#,
            r#"lb.toml:16:29: allow "everybody" is not a prefix; write an address and a length, as "10.0.9.0/24" or "fd00:9::/64""#,
            r#"lb.toml:16:42: allow "10.0.0.0/33" is not a prefix; write an address and a length, as "10.0.9.0/24" or "fd00:9::/64""#,
        ],
    ),
    change(
        "a prefix that is allowed and denied",
        "port = 80",
        "port = 80\nallow = [\"198.51.100.0/24\"]\ndeny = [\"192.0.2.1\", \"198.51.100.0/24\"]",
        &["lb.toml:17:22: 198.51.100.0/24 is both allowed (line 16) and denied; remove one"],
    ),
    change(
        "IPv4 prefixes written as IPv6",
        "port = 80",
        "port = 80\nallow = [\"::ffff:198.51.100.0/120\"]\ndeny = [\"::ffff:198.51.100.7\", \"::ffff:0:0/96\"]",
        &[
            r#"lb.toml:16:10: allow "::ffff:198.51.100.0/120" is an IPv4 prefix written as IPv6; write "198.51.100.0/24""#,
            r#"lb.toml:17:9: deny "::ffff:198.51.100.7" is an IPv4 prefix written as IPv6; write "198.51.100.7/32""#,
            r#"lb.toml:17:32: deny "::ffff:0:0/96" is an IPv4 prefix written as IPv6; write "0.0.0.0/0""#,
        ],
    ),
    change(
        "an allow without the family of the VIP",
        "port = 80",
        "port = 80\nallow = [\"2001:db8::/32\"]\ndeny = [\"198.51.100.0/24\"]",
        &[
            r#"lb.toml:16:9: allow has no IPv4 prefix, and so lets no client of vip 203.0.113.80 in; add one, as "198.51.100.0/24", or remove allow"#,
        ],
    ),
    change(
        "nobody who is allowed",
        "port = 80",
        "port = 80\nallow = []",
        &["lb.toml:16:9: allow has no prefix, and so lets nobody in; add some, or remove it"],
    ),
    change(
        "a file of clients that is not there",
        "port = 80",
        "port = 80\ndeny_file = \"/nowhere/deny.txt\"",
        &[
            r#"lb.toml:16:13: deny_file "/nowhere/deny.txt" cannot be read (No such file or directory (os error 2)); check the path"#,
        ],
    ),
    change(
        "a file of clients by a relative path",
        "port = 80",
        "port = 80\ndeny_file = \"deny.txt\"",
        &[
            r#"lb.toml:16:13: deny_file "deny.txt" is not an absolute path; write one that starts with a slash, as "/etc/evenkeel/deny.txt""#,
        ],
    ),
];

#[test]
fn the_lines_of_a_file_of_clients_are_told_of_with_their_own_places() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("deny.txt");
    std::fs::write(
        &file,
        "# banned\n198.51.100.0/24 # a network\n\n  nobody ; really\n192.0.2.1\n2001:db8::1/32\n",
    )
    .unwrap();
    let file = file.display();
    let text = RIGHT.replacen(
        "port = 80",
        &format!("port = 80\nallow = [\"192.0.2.1\"]\ndeny_file = \"{file}\""),
        1,
    );
    let errors = parse("lb.toml", &text).unwrap_err().to_string();
    let expected = [
        format!(
            r#"{file}:4:3: "nobody" is not a prefix; write an address and a length, as "10.0.9.0/24" or "fd00:9::/64""#
        ),
        format!(r#"{file}:6:1: "2001:db8::1/32" has host bits set; write "2001:db8::/32""#),
    ];
    assert_eq!(errors.lines().collect::<Vec<_>>(), expected);

    std::fs::write(directory.path().join("deny.txt"), "198.51.100.0/24\n192.0.2.1\n198.51.100.0/24\n")
        .unwrap();
    let errors = parse("lb.toml", &text).unwrap_err().to_string();
    assert_eq!(errors, format!("{file}:2:1: 192.0.2.1/32 is both allowed (line 16) and denied; remove one"));
}

#[test]
fn file_of_clients_may_begin_with_a_byte_order_mark() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("allow.txt");
    std::fs::write(&file, "\u{feff}198.51.100.0/24\r\n192.0.2.1\r\n").unwrap();
    let text = RIGHT.replacen("port = 80", &format!("port = 80\nallow_file = \"{}\"", file.display()), 1);
    let config = parse("lb.toml", &text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.services[0].access.as_ref().unwrap().rules.len(), 2);
}
