//! SYNs that cannot be answered.

use super::{Case, change};

pub(super) const CASES: &[Case] = &[
    change(
        "answers to SYNs where backends answer clients",
        "port = 80",
        r#"port = 80
mode = "direct-routing"
syn_proxy = "on""#,
        &[
            r#"lb.toml:17:13: syn_proxy "on" changes the numbers of both directions, and in mode "direct-routing" backends answer clients directly; remove it"#,
        ],
    ),
    change(
        "answers to SYNs of UDP",
        "port = 80",
        r#"port = 80
protocol = "udp"
syn_proxy = "auto""#,
        &[r#"lb.toml:17:13: syn_proxy "auto" is for TCP, and protocol is "udp"; remove it"#],
    ),
    change(
        "a threshold of what has none",
        "port = 80",
        r#"port = 80
syn_proxy = "on"
syn_proxy_above = 100"#,
        &[
            r#"lb.toml:17:19: syn_proxy_above is for syn_proxy = "auto", and it is not; write "auto", or remove syn_proxy_above"#,
        ],
    ),
    change(
        "a threshold of nothing, and a choice that there is not",
        "port = 80",
        r#"port = 80
syn_proxy = "always"
syn_proxy_above = 0"#,
        &[
            r#"lb.toml:16:13: syn_proxy "always" is unknown; write "off", "auto" or "on""#,
            "lb.toml:17:19: syn_proxy_above 0 is out of range; write a number from 1 to 1000000000",
        ],
    ),
];
