//! Servers that hold the VIP and answer clients past the balancer.

use std::process::Stdio;
use std::time::Duration;

use crate::balancer::Balancer;
use crate::client;
use crate::configuration::Configuration;
use crate::configuration::SERVERS;
use crate::configuration::VIP4;
use crate::configuration::VIP6;
use crate::lab::Arms;
use crate::lab::Lab;
use crate::lab::print_of;

const WEB4: &str = "http://203.0.113.80:8080/";
const WEB6: &str = "http://[2001:db8:80::80]:8080/";

/// The VIPs on the loopback interface, not answered for on the link, and the way to the client not by the balancer.
fn give_vips_to_servers(lab: &Lab) {
    for server in SERVERS {
        let sysctls = ["all", "eth0"].map(|on| {
            [format!("net.ipv4.conf.{on}.arp_ignore=1"), format!("net.ipv4.conf.{on}.arp_announce=2")]
        });
        let mut line = vec!["sysctl", "-qw"];
        line.extend(sysctls.iter().flatten().map(String::as_str));
        lab.must(server, &line);
        for (vip, length) in [(VIP4, 32), (VIP6, 128)] {
            lab.must(server, &["ip", "address", "add", &format!("{vip}/{length}"), "dev", "lo"]);
        }
        for clients in ["192.0.2.0/24", "2001:db8:2::/64"] {
            lab.must(server, &["ip", "route", "add", clients, "dev", "eth0"]);
        }
    }
}

fn displaced(balancer: &Balancer<'_>) -> usize {
    let listed = balancer.run(&["flows", "--displaced", "--json", "--limit", "1000"]);
    assert!(listed.success, "{}", listed.err);
    let listed: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    listed["flows"].as_array().unwrap().len()
}

#[test]
fn servers_answer_clients_themselves_and_sessions_of_one_that_stops_go_to_others_and_stay_there() {
    let Some(lab) = Lab::lay("direct", Arms::One, 4) else { return };
    give_vips_to_servers(&lab);
    let mut configuration = Configuration::new(Arms::One);
    configuration.mode = "direct-routing";
    let balancer = Balancer::start(&lab, &configuration);
    for url in [WEB4, WEB6] {
        let answers = client::requests(&lab, url, 60);
        answers.assert_complete(60);
        assert_eq!(answers.by_server.len(), 3, "{answers:?}");
    }
    let backends = balancer.ask("backends");
    for backend in backends["backends"].as_array().unwrap() {
        assert_eq!(backend["packets_out"], 0, "answers come through the balancer: {backend}");
        assert_ne!(backend["packets_in"], 0, "{backend}");
    }
    assert_eq!(displaced(&balancer), 0, "every server is in service");

    lab.kill_servers("b2");
    balancer.wait_state("b2", "down", Duration::from_secs(5));
    for url in [WEB4, WEB6] {
        let answers = client::requests(&lab, url, 60);
        answers.assert_complete(60);
        assert_eq!(answers.by_server.get("b2"), None, "{answers:?}");
    }
    let downloads: Vec<_> = (0..12)
        .map(|_| {
            let url = format!("{WEB4}slow");
            let line =
                ["curl", "-sS", "--fail", "-m", "60", "-o", "/dev/null", "-w", "%{size_download}", &url];
            let mut command = lab.command("client", &line);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let established = || {
        let listed = balancer.run(&["flows", "--displaced", "--limit", "1000"]);
        listed.out.lines().any(|line| line.contains("established, displaced"))
    };
    balancer.wait("a download is displaced", Duration::from_secs(3), established);
    lab.start_servers("b2");
    balancer.wait_state("b2", "up", Duration::from_secs(5));
    for download in downloads {
        let done = print_of(download.wait_with_output().unwrap());
        assert_eq!((done.out.as_str(), done.err.as_str()), ("4000000", ""), "{}", balancer.circumstances());
    }
    let answers = client::requests(&lab, WEB4, 60);
    answers.assert_complete(60);
    assert!(answers.by_server.contains_key("b2"), "{answers:?}");
}
