//! The mirror of routes and neighbours against the real kernel. Needs root: every test makes a network namespace.

mod kernel_support;

use std::net::IpAddr;

use evenkeel::config::StaticNextHop;
use evenkeel::control::announce::Announcer;
use evenkeel::control::kernel_port::KernelSide;
use evenkeel::control::neighbours::{NeighbourCommand, Neighbours};
use evenkeel::model::{Mac, PortId, VlanTag};
use evenkeel::shared::{Egress, Fib, Reader, Resolution, channel};
use kernel_support::{OURS, Running, THEIRS, arp, eventually_async, in_namespace_async, is_arp, shell, side};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

struct Mirrored {
    reader: Reader<Fib>,
    commands: mpsc::Sender<NeighbourCommand>,
    task: JoinHandle<()>,
}

fn mirrored(sides: Vec<KernelSide>, statics: Vec<StaticNextHop>) -> Mirrored {
    let (publisher, mut readers) = channel(Fib::default(), 1);
    let (commands, receiver) = mpsc::channel(4);
    let egress = Egress { port: PortId(0), mac: OURS, mtu: 1500 };
    let task = tokio::spawn(Neighbours::new(sides, vec![egress], statics, publisher).run(receiver));
    Mirrored { reader: readers.remove(0), commands, task }
}

impl Mirrored {
    fn resolve(&mut self, address: &str) -> Resolution {
        self.reader.current().resolve(address.parse().expect("a literal"))
    }

    /// The MAC address that packets to `address` are sent to.
    fn mac(&mut self, address: &str) -> Option<Mac> {
        match self.resolve(address) {
            Resolution::NextHop(id) => self.reader.current().next_hops[id.index()].destination(),
            Resolution::OnLink(_) | Resolution::Unresolved | Resolution::NoRoute => None,
        }
    }
}

async fn started(addresses: &[&str]) -> (Running, Announcer, Mirrored) {
    let side = side(addresses);
    let running = Running::start(&side);
    let announcer =
        Announcer::open(std::slice::from_ref(&side), running.outbox.clone()).await.expect("the TAP is there");
    (running, announcer, mirrored(vec![side], Vec::new()))
}

#[test]
fn routes_and_neighbours_come_and_go_with_the_kernels() {
    in_namespace_async(|| async {
        let (_running, _announcer, mut mirrored) = started(&["192.0.2.10/24", "2001:db8::10/64"]).await;
        let on_link = |resolution| matches!(resolution, Resolution::OnLink(_));
        let route = || on_link(mirrored.resolve("192.0.2.1")).then_some(());
        eventually_async("connected route, from the first dump", route).await;
        assert_eq!(mirrored.resolve("10.0.9.1"), Resolution::NoRoute);

        shell("ip neigh replace 192.0.2.1 lladdr 02:00:00:00:00:20 dev ek0 nud stale");
        shell("ip neigh replace 2001:db8::1 lladdr 02:00:00:00:00:20 dev ek0 nud permanent");
        eventually_async("IPv4 neighbour", || (mirrored.mac("192.0.2.1") == Some(THEIRS)).then_some(()))
            .await;
        eventually_async("IPv6 neighbour", || (mirrored.mac("2001:db8::1") == Some(THEIRS)).then_some(()))
            .await;
        let Resolution::NextHop(id) = mirrored.resolve("192.0.2.1") else { panic!("just resolved") };
        let hop = mirrored.reader.current().next_hops[id.index()];
        assert_eq!(
            (hop.port, hop.vlan, &hop.addresses().unwrap()[6..]),
            (PortId(0), VlanTag::Untagged, &OURS.0[..])
        );

        shell("ip route add 10.0.9.0/24 via 192.0.2.1");
        shell("ip -6 route add default via 2001:db8::1");
        eventually_async("route", || (mirrored.mac("10.0.9.1") == Some(THEIRS)).then_some(())).await;
        eventually_async("default route", || (mirrored.mac("fd00::1") == Some(THEIRS)).then_some(())).await;
        shell("ip route replace 10.0.9.0/24 via 192.0.2.2");
        eventually_async("other gateway", || mirrored.mac("10.0.9.1").is_none().then_some(())).await;

        shell("ip route del 10.0.9.0/24");
        let gone = || (mirrored.resolve("10.0.9.1") == Resolution::NoRoute).then_some(());
        eventually_async("route gone", gone).await;
        shell("ip -6 neigh del 2001:db8::1 dev ek0");
        eventually_async("neighbour gone", || mirrored.mac("2001:db8::1").is_none().then_some(())).await;
        shell("ip link set ek0 down");
        let gone = || (mirrored.resolve("192.0.2.1") == Resolution::NoRoute).then_some(());
        eventually_async("routes of a downed interface, without notification", gone).await;

        drop(mirrored.commands);
        mirrored.task.await.unwrap();
    });
}

#[test]
fn what_the_kernel_has_done_is_known_when_a_reading_is_answered() {
    in_namespace_async(|| async {
        let (_running, _announcer, mut mirrored) = started(&["192.0.2.10/24"]).await;
        // Many changes in a row, of which each would else wait until the pause after the last reading is over.
        for number in 1..10 {
            shell(&format!("ip route add 10.{number}.0.0/16 via 192.0.2.{number}"));
            shell(&format!(
                "ip neigh replace 192.0.2.{number} lladdr 02:00:00:00:00:20 dev ek0 nud permanent"
            ));
            let (reply, answer) = oneshot::channel();
            mirrored.commands.send(NeighbourCommand::Read(reply)).await.unwrap();
            answer.await.unwrap();
            assert!(mirrored.mac(&format!("10.{number}.1.1")).is_some(), "route and neighbour {number}");
        }
    });
}

#[test]
fn addresses_to_keep_resolved_are_asked_for_on_the_wire() {
    in_namespace_async(|| async {
        let (running, _announcer, mut mirrored) = started(&["192.0.2.10/24"]).await;
        shell("ip neigh replace 192.0.2.4 lladdr 02:00:00:00:00:20 dev ek0 nud permanent");
        let wanted: Vec<IpAddr> = ["192.0.2.3", "192.0.2.4"].map(|text| text.parse().unwrap()).to_vec();
        mirrored.commands.send(NeighbourCommand::KeepResolved(wanted)).await.unwrap();
        shell("ip route add 10.0.9.0/24 via 192.0.2.1");
        // The backend and the gateway, in any order.
        for address in [[192, 0, 2, 3], [192, 0, 2, 1]] {
            let mut asked = None;
            eventually_async("ARP request", || {
                asked = running.next_injection(|frame| is_arp(frame, 1, address));
                asked.is_some().then_some(())
            })
            .await;
            running.punt(&arp(2, THEIRS, address, OURS.0, (OURS.0, [192, 0, 2, 10])));
        }
        eventually_async("backend", || (mirrored.mac("192.0.2.3") == Some(THEIRS)).then_some(())).await;
        eventually_async("gateway", || (mirrored.mac("10.0.9.1") == Some(THEIRS)).then_some(())).await;
        assert!(shell("ip neigh show 192.0.2.3").contains("managed"));
        assert!(shell("ip neigh show 192.0.2.4").contains("PERMANENT"), "left as it was");

        shell("ip neigh del 192.0.2.3 dev ek0");
        let asked = || running.next_injection(|frame| is_arp(frame, 1, [192, 0, 2, 3]));
        eventually_async("asked for again after it was deleted", asked).await;
    });
}

#[test]
fn without_a_kernel_side_only_static_next_hops_are_published_the_first_at_once() {
    in_namespace_async(|| async {
        let hop = |prefix: &str| StaticNextHop {
            prefix: prefix.parse().unwrap(),
            port: PortId(0),
            mac: THEIRS,
            vlan: None,
        };
        let mut mirrored = mirrored(Vec::new(), vec![hop("10.0.9.0/24")]);
        assert_eq!(mirrored.mac("10.0.9.1"), Some(THEIRS), "before the task has run");
        let both = vec![hop("10.0.9.0/24"), hop("10.0.8.0/24")];
        mirrored.commands.send(NeighbourCommand::StaticNextHops(both)).await.unwrap();
        eventually_async("static", || (mirrored.mac("10.0.8.1") == Some(THEIRS)).then_some(())).await;
        mirrored.commands.send(NeighbourCommand::StaticNextHops(Vec::new())).await.unwrap();
        let gone = || (mirrored.resolve("10.0.9.1") == Resolution::NoRoute).then_some(());
        eventually_async("removed", gone).await;
    });
}

#[test]
fn many_changes_at_once_end_in_the_kernels_state() {
    in_namespace_async(|| async {
        let (_running, _announcer, mut mirrored) = started(&["10.0.0.1/16"]).await;
        let batch = |verb: &str, range: std::ops::Range<u32>| {
            let lines = range.map(|n| {
                format!("neigh {verb} 10.0.{}.{} lladdr 02:00:00:00:00:20 dev ek0", n >> 8, n & 255)
            });
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), lines.collect::<Vec<_>>().join("\n")).unwrap();
            shell(&format!("ip -batch {}", file.path().display()));
        };
        batch("add", 2..900);
        eventually_async("all added", || (mirrored.mac("10.0.3.131") == Some(THEIRS)).then_some(())).await;
        batch("del", 2..898);
        eventually_async("most deleted", || mirrored.mac("10.0.3.129").is_none().then_some(())).await;
        assert_eq!(mirrored.mac("10.0.3.131"), Some(THEIRS));
        assert_eq!(mirrored.mac("10.0.0.2"), None);
    });
}
