//! ICMP, in network namespaces. These tests need root.

use std::net::IpAddr;
use std::net::SocketAddr;

use evenkeel::config::ProbeKind;
use evenkeel::control::health::ProbeFailure;
use evenkeel::control::health::Question;

use super::ask;
use super::impatient;
use super::kernel_support::in_namespace_async;
use super::kernel_support::shell;
use super::question;

fn echo(target: &str) -> Question {
    let target: IpAddr = target.parse().expect("an address");
    question(SocketAddr::new(target, 0), ProbeKind::Icmp)
}

/// A link on which 192.0.2.9 and 2001:db8::9 never answer.
fn network() {
    shell(
        "ip link set lo up
         ip link add here type veth peer name there
         ip addr add 192.0.2.1/24 dev here
         ip addr add 2001:db8::1/64 dev here nodad
         ip link set here up
         ip link set there up
         ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 nud permanent dev here
         ip neigh add 2001:db8::9 lladdr 02:00:00:00:00:09 nud permanent dev here",
    );
}

async fn every_outcome() {
    for (target, expected) in [
        ("127.0.0.1", Ok(())),
        ("::1", Ok(())),
        ("192.0.2.1", Ok(())),
        ("2001:db8::1", Ok(())),
        ("198.51.100.1", Err(ProbeFailure::Unreachable)),
        ("2001:db8:1::1", Err(ProbeFailure::Unreachable)),
    ] {
        assert_eq!(ask(echo(target)).await, expected, "{target}");
    }
    for silent in ["192.0.2.9", "2001:db8::9"] {
        assert_eq!(ask(impatient(echo(silent))).await, Err(ProbeFailure::Timeout), "{silent}");
    }
    for (from, target) in [("192.0.2.1", "127.0.0.1"), ("2001:db8::1", "::1")] {
        let from = Some(from.parse().expect("an address"));
        assert_eq!(ask(Question { from, ..echo(target) }).await, Ok(()), "{target}");
    }
    let together = (0..20).map(|_| ask(echo("127.0.0.1")));
    assert_eq!(futures::future::join_all(together).await, [Ok(()); 20]);
}

#[test]
fn echo_requests_are_answered_or_not_over_the_kernels_own_sockets() {
    in_namespace_async(|| async {
        network();
        shell("echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range");
        every_outcome().await;
    });
}

#[test]
fn echo_requests_are_answered_or_not_over_raw_sockets() {
    in_namespace_async(|| async {
        network();
        shell("echo 1 0 > /proc/sys/net/ipv4/ping_group_range");
        every_outcome().await;
    });
}
