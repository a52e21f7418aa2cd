//! Packets of backends come in by the port that leads to their backend, and by no other one.

use evenkeel::shared::DropReason;

use crate::icmp_message::error;
use crate::lab::{BACKEND_MAC, Lab, Plan, VIP4, VIP6};
use crate::packet::{ACK, Build, Decoded, FIN, RST, SYN};
use crate::pieces::split;

const CLIENTS: [(&str, &str); 2] = [("198.51.100.7:40000", VIP4), ("[2001:db8:7::7]:40000", VIP6)];

fn lab(alternative: bool) -> Lab {
    Lab::new(Plan { ports: 2, alternative, ..Plan::default() })
}

/// The only frame that was sent.
#[track_caller]
fn only(sent: Vec<Decoded>) -> Decoded {
    assert_eq!(sent.len(), 1, "{sent:?}");
    sent.into_iter().next().unwrap()
}

/// An established connection; the backend's packets to come.
fn connect(lab: &mut Lab, client: &str, vip: &str) -> (Build, Build) {
    let vip = std::net::SocketAddr::new(vip.parse().unwrap(), 80);
    let from_client = Build::between(client.parse().unwrap(), vip);
    let syn = lab.forward(&from_client.clone().numbers(1000, 0).tcp());
    let from_backend = Build { source_mac: BACKEND_MAC, ..Build::answer(&syn) };
    let accepted = from_backend.clone().flags(SYN | ACK).numbers(2000, 1001).tcp();
    lab.lose(&accepted, DropReason::ReturnWrongPort);
    only(lab.exchange_by_back(&accepted));
    lab.forward(&from_client.clone().flags(ACK).numbers(1001, 2001).tcp());
    (from_client, from_backend)
}

#[test]
fn a_backends_segment_is_dropped_by_a_port_that_does_not_lead_to_it() {
    for (client, vip) in CLIENTS {
        let mut lab = lab(false);
        let (from_client, from_backend) = connect(&mut lab, client, vip);
        let data = from_backend.clone().flags(ACK).numbers(2001, 1001).payload(b"data").tcp();
        let reset = from_backend.clone().flags(RST | ACK).numbers(2001, 1001).tcp();
        let end = from_backend.clone().flags(FIN | ACK).numbers(2001, 1001).tcp();
        for _ in 0..3 {
            for forged in [&data, &reset, &end] {
                lab.lose(forged, DropReason::ReturnWrongPort);
            }
            assert_eq!(only(lab.exchange_by_back(&data)).payload, b"data");
            lab.forward(&from_client.clone().flags(ACK).numbers(1001, 2005).payload(b"more").tcp());
        }
        assert_eq!(only(lab.exchange_by_back(&reset)).flags, RST | ACK);
        lab.assert_conserved();
    }
}

#[test]
fn a_backend_may_answer_by_every_port_that_has_a_route_to_it() {
    for (client, vip) in CLIENTS {
        let mut lab = lab(true);
        let vip = std::net::SocketAddr::new(vip.parse().unwrap(), 53);
        let from_client = Build::between(client.parse().unwrap(), vip);
        let asked = lab.forward(&from_client.clone().payload(b"question").udp());
        let answer = Build { source_mac: BACKEND_MAC, ..Build::answer(&asked) }.payload(b"answer").udp();
        for _ in 0..3 {
            assert_eq!(lab.forward(&answer).payload, b"answer");
            assert_eq!(only(lab.exchange_by_back(&answer)).payload, b"answer");
            assert_eq!(only(lab.exchange_by_back(&answer)).payload, b"answer");
            assert_eq!(lab.forward(&from_client.clone().payload(b"more").udp()).payload, b"more");
        }
        lab.assert_conserved();
    }
}

#[test]
fn a_client_may_change_its_port_of_arrival() {
    for (client, vip) in CLIENTS {
        let mut lab = lab(false);
        let (from_client, _) = connect(&mut lab, client, vip);
        let more = from_client.flags(ACK).numbers(1001, 2001).payload(b"more").tcp();
        for _ in 0..3 {
            assert_eq!(only(lab.exchange_by_back(&more)).payload, b"more");
            assert_eq!(lab.forward(&more).payload, b"more");
        }
    }
}

#[test]
fn fragments_and_errors_of_backends_come_by_their_port_too() {
    for (client, vip) in CLIENTS {
        let mut lab = lab(false);
        let dns = std::net::SocketAddr::new(vip.parse().unwrap(), 53);
        let asked =
            lab.exchange_raw(&Build::between(client.parse().unwrap(), dns).payload(b"question").udp());
        let decoded = crate::packet::decode(&asked[0]);
        let answer = Build { source_mac: BACKEND_MAC, ..Build::answer(&decoded) }.payload(&[7; 2000]).udp();
        let pieces = split(&answer, 1, &[1400]);
        lab.lose(&pieces[0], DropReason::ReturnWrongPort);
        lab.lose(&pieces[1], DropReason::ReturnWrongPort);
        let pieces = split(&answer, 2, &[1400]);
        assert_eq!(lab.exchange_raw_by_back(&pieces[0]).len(), 1);
        lab.lose(&pieces[1], DropReason::ReturnWrongPort);
        assert_eq!(lab.exchange_raw_by_back(&pieces[1]).len(), 1);

        let says = if client.starts_with('[') { (1, 4, [0; 4]) } else { (3, 3, [0; 4]) };
        let unreachable = error(&asked[0], says, 100);
        lab.lose(&unreachable, DropReason::ReturnWrongPort);
        only(lab.exchange_by_back(&unreachable));
        lab.assert_conserved();
    }
}
