//! Where the balancer stands, and where its memory comes from.

use std::fs;

use crate::balancer::Balancer;
use crate::client;
use crate::configuration::Configuration;
use crate::configuration::WEB4;
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
