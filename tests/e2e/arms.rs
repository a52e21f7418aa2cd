//! Where the balancer stands, and where its memory comes from.

use std::fs;

use crate::balancer::Balancer;
use crate::client;
use crate::configuration::Configuration;
use crate::configuration::WEB4;
use crate::configuration::WEB6;
use crate::lab::Arms;
use crate::lab::Lab;
use crate::traffic::assert_traffic;

#[test]
fn one_arm_serves_as_two_do() {
    let Some(lab) = Lab::lay("onearm", Arms::One, 20) else { return };
    let balancer = Balancer::start(&lab, &Configuration::new(Arms::One));
    assert_traffic(&lab);
    let digest = client::digest_of_file(&lab);
    let downloaded = client::digest_of_download(&lab, &format!("{WEB4}file"));
    assert_eq!(downloaded, digest, "{}", balancer.circumstances());
}

#[test]
fn a_backend_is_served_as_a_client_of_its_own_vip() {
    let Some(lab) = Lab::lay("hairpin", Arms::Two, 20) else { return };
    for (family, network, gateway) in
        [("-4", "203.0.113.0/24", "10.0.9.254"), ("-6", "2001:db8:80::/64", "fd00:9::254")]
    {
        lab.must("b1", &["ip", family, "route", "add", network, "via", gateway]);
    }
    // It alone serves, so that every request comes back to it.
    let configuration = Configuration { weights: [Some(100), None, None], ..Configuration::new(Arms::Two) };
    let balancer = Balancer::start(&lab, &configuration);
    let digest = client::digest_of_file(&lab);
    for url in [WEB4, WEB6] {
        let urls = format!("{url}[1-20]");
        let line = ["curl", "-sS", "--fail", "-m", "5", "-H", "Connection: close", &urls];
        assert_eq!(lab.must("b1", &line), "b1\n".repeat(20), "{}", balancer.circumstances());
        let line = format!("curl -sS --fail -m 60 '{url}file' | sha256sum");
        let downloaded = lab.must("b1", &["bash", "-o", "pipefail", "-c", &line]);
        assert!(downloaded.starts_with(&digest), "{url}: {downloaded}\n{}", balancer.circumstances());
    }
    let services = balancer.ask("services");
    let services = services["services"].as_array().unwrap().iter();
    let web = services.filter(|service| service["name"].as_str().unwrap().starts_with("web"));
    assert_eq!(web.map(|service| service["connections"].as_u64().unwrap()).sum::<u64>(), 42);
}

#[test]
fn huge_pages_are_used_where_there_are_some() {
    let Some(lab) = Lab::lay("huge", Arms::Two, 1) else { return };
    let Some(_pages) = HugePages::reserve() else {
        eprintln!("skipped: this machine has no {PAGES} huge pages to spare");
        return;
    };
    let mut configuration = Configuration::new(Arms::Two);
    configuration.memory = "hugepages";
    let balancer = Balancer::start(&lab, &configuration);
    let memory = balancer.ask("status")["memory"].as_str().unwrap().to_owned();
    assert!(memory.starts_with("huge pages"), "{memory}");
    assert_traffic(&lab);
}

#[test]
fn automatic_memory_works_without_huge_pages_too() {
    let Some(lab) = Lab::lay("auto", Arms::Two, 1) else { return };
    let mut configuration = Configuration::new(Arms::Two);
    configuration.memory = "auto";
    let balancer = Balancer::start(&lab, &configuration);
    assert_traffic(balancer.lab());
}

/// Huge pages on top of those that the machine had reserved; given back when dropped.
struct HugePages {
    before: u64,
}

impl HugePages {
    fn reserve() -> Option<Self> {
        let before = count(POOL)?;
        let pages = Self { before };
        fs::write(POOL, (before + PAGES).to_string()).ok()?;
        (count(POOL)? == before + PAGES).then_some(pages)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        // The machine's own number was accepted before.
        let _ = fs::write(POOL, self.before.to_string());
    }
}

fn count(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
/// 1 GiB: two ports with the buffers that they count themselves.
const PAGES: u64 = 512;
