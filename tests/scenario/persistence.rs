//! Persistence: a client's flows go to one backend, on whatever workers they arrive.

use std::collections::BTreeSet;
use std::net::IpAddr;

use evenkeel::model::{BackendState, ClientPrefix, Nanos, PersistenceRules};
use evenkeel::shared::Choice;

use crate::lab::{Lab, Plan, VIP4, backend, backend_id};
use crate::packet::{Build, SYN};

const RULES: PersistenceRules =
    PersistenceRules { timeout: Nanos::from_secs(300), prefix: ClientPrefix { v4: 32, v6: 128 } };

fn lab(workers: u16) -> Lab {
    Lab::new(Plan { workers, flows: 4096, persistence: Some(RULES), ..Plan::default() })
}

/// Another connection of a client; the backend that it reaches.
fn open(lab: &mut Lab, client: &str, port: u16) -> IpAddr {
    let worker = usize::from(port) % lab.workers.len();
    let sent = lab.exchange_at(worker, &Build::new(&format!("{client}:{port}"), "203.0.113.80:80").tcp());
    assert_eq!((sent.len(), sent[0].flags), (1, SYN), "{:?}", lab.drops());
    sent[0].to.ip()
}

fn number(address: IpAddr) -> u8 {
    (1..=3).find(|number| backend(VIP4, *number).address == address).unwrap()
}

#[test]
fn a_client_stays_on_its_backend_with_any_scheduler_and_number_of_workers() {
    let choices =
        [None, Some(Choice::Turns([0, 1, 2].into())), Some(Choice::LeastConnections([0, 1, 2].into()))];
    for (workers, choice) in choices.iter().flat_map(|choice| [(1, choice.clone()), (3, choice.clone())]) {
        let mut lab = Lab::new(Plan { choice, ..lab(workers).plan });
        let mut all = BTreeSet::new();
        for client in 1..=30 {
            let client = format!("198.51.100.{client}");
            let first = open(&mut lab, &client, 1000);
            for port in 1001..1010 {
                assert_eq!(open(&mut lab, &client, port), first);
            }
            all.insert(first);
        }
        assert_eq!(all.len(), 3, "clients spread");
        assert_eq!(lab.persistence.clients(lab.now), 30);
    }
}

#[test]
fn clients_of_one_prefix_are_one() {
    let rules = PersistenceRules { prefix: ClientPrefix { v4: 24, v6: 64 }, ..RULES };
    let mut lab = Lab::new(Plan { persistence: Some(rules), ..lab(1).plan });
    let reached: BTreeSet<IpAddr> =
        (1..=30).map(|client| open(&mut lab, &format!("198.51.100.{client}"), 1000)).collect();
    assert_eq!(reached.len(), 1);
    assert_eq!(lab.persistence.clients(lab.now), 1);
}

#[test]
fn the_time_begins_with_each_new_flow_and_then_the_choice_is_free() {
    let mut lab = Lab::new(Plan { choice: Some(Choice::Turns([0, 1, 2].into())), ..lab(1).plan });
    let client = "198.51.100.7";
    assert_eq!(number(open(&mut lab, client, 1)), 1);
    lab.wait(Nanos::from_secs(290));
    assert_eq!(number(open(&mut lab, client, 2)), 1);
    lab.wait(Nanos::from_secs(290));
    assert_eq!(number(open(&mut lab, client, 3)), 1);
    lab.wait(Nanos::from_secs(301));
    assert_eq!(number(open(&mut lab, client, 4)), 2, "the next turn");
}

#[test]
fn a_backend_that_is_out_or_drained_holds_no_client() {
    for state in [BackendState::Down, BackendState::Dead, BackendState::Resting] {
        let mut lab = lab(3);
        let client = "198.51.100.7";
        let first = open(&mut lab, client, 1);
        lab.set_backend_state(number(first), state);
        let second = open(&mut lab, client, 2);
        assert_ne!(second, first, "{state:?}");
        lab.set_backend(number(first), true);
        for port in 3..10 {
            assert_eq!(open(&mut lab, client, port), second, "it stays where it was sent then");
        }
    }
}

#[test]
fn a_full_backend_is_passed_over_for_that_flow_alone() {
    let mut lab = Lab::new(Plan { max_connections: 2, ..lab(1).plan });
    let client = "198.51.100.7";
    let first = open(&mut lab, client, 1);
    assert_eq!(open(&mut lab, client, 2), first);
    assert_ne!(open(&mut lab, client, 3), first);
    lab.wait(Nanos::from_secs(31));
    assert_eq!(open(&mut lab, client, 4), first, "it has room again");
    assert_eq!(lab.limits.backend_connections(backend_id(0, number(first))), 1);
}
