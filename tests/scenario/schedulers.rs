//! Where new flows go, scheduler by scheduler.

use evenkeel::model::Nanos;
use evenkeel::shared::{Choice, FlowFilter};

use crate::lab::{Lab, Plan, VIP4, backend, backend_id};
use crate::listing::list;
use crate::packet::{Build, RST};

fn lab(choice: Choice) -> Lab {
    Lab::new(Plan { choice: Some(choice), ..Plan::default() })
}

/// Opens a flow from a client of this number; the number of the backend that it goes to.
fn open(lab: &mut Lab, client: u16) -> u8 {
    open_at(lab, 0, client)
}

/// The same, its frame being received by this worker.
fn open_at(lab: &mut Lab, worker: usize, client: u16) -> u8 {
    let sent = lab.exchange_at(worker, &syn(client));
    assert_eq!(sent.len(), 1, "{:?}", lab.drops());
    let to = sent[0].to;
    (1..=3).find(|number| to.ip() == backend(VIP4, *number).address).expect("the packet goes to a backend")
}

fn syn(client: u16) -> Vec<u8> {
    from(client).tcp()
}

fn from(client: u16) -> Build {
    Build::new(&format!("198.51.{}.{}:40000", 100 + client / 250, 1 + client % 250), "203.0.113.80:80")
}

#[test]
fn turns_are_taken_in_their_order() {
    let mut lab = lab(Choice::Turns([0, 1, 0, 2].into()));
    let opened: Vec<u8> = (0..8).map(|client| open(&mut lab, client)).collect();
    assert_eq!(opened, [1, 2, 1, 3, 1, 2, 1, 3]);
}

#[test]
fn a_retransmitted_syn_takes_no_second_turn() {
    let mut lab = lab(Choice::Turns([0, 1, 2].into()));
    assert_eq!([open(&mut lab, 0), open(&mut lab, 0), open(&mut lab, 1)], [1, 1, 2]);
}

#[test]
fn the_least_loaded_backend_gets_the_next_flow() {
    let mut lab = lab(Choice::LeastConnections([0, 1, 2].into()));
    let mut opened: Vec<u8> = (0..9).map(|client| open(&mut lab, client)).collect();
    let of_two: Vec<u16> = (0..9).filter(|client| opened[usize::from(*client)] == 2).collect();
    opened.sort_unstable();
    assert_eq!(opened, [1, 1, 1, 2, 2, 2, 3, 3, 3]);
    for client in &of_two[..2] {
        lab.forward(&from(*client).flags(RST).numbers(1001, 0).tcp());
    }
    assert_eq!([open(&mut lab, 20), open(&mut lab, 21)], [2, 2]);
}

#[test]
fn the_least_loaded_backend_is_that_of_all_workers_together() {
    let choice = Some(Choice::LeastConnections([0, 1, 2].into()));
    let mut lab = Lab::new(Plan { workers: 3, choice, ..Plan::default() });
    let mut opened = [0_u32; 3];
    for client in 0..90 {
        let worker = usize::from(client) % 3;
        opened[usize::from(open_at(&mut lab, worker, client) - 1)] += 1;
        let (most, least) = (opened.iter().max().unwrap(), opened.iter().min().unwrap());
        assert!(most - least <= 1, "{opened:?}");
    }
    assert_eq!(opened, [30; 3]);
    let workers_with_flows = lab.workers.iter().filter(|worker| worker.tally().flows() > 10).count();
    assert_eq!(workers_with_flows, 3);
    lab.wait(Nanos::from_secs(32));
    assert!((1..=3).all(|number| lab.limits.backend_connections(backend_id(0, number)) == 0), "all are over");
}

#[test]
fn with_two_choices_over_three_workers_loads_are_even() {
    let slots: Vec<u16> = (0..999).map(|slot| slot % 3).collect();
    let choice = Some(Choice::TwoChoices(slots.into()));
    let mut lab = Lab::new(Plan { workers: 3, choice, ..Plan::default() });
    let mut opened = [0_u32; 3];
    for client in 0..1500 {
        opened[usize::from(open_at(&mut lab, usize::from(client) % 3, client) - 1)] += 1;
    }
    assert!(opened.iter().max().unwrap() - opened.iter().min().unwrap() <= 6, "{opened:?}");
}

#[test]
fn connections_from_before_a_reload_count_for_a_new_scheduler() {
    let mut lab = Lab::new(Plan { workers: 3, choice: Some(Choice::One(Some(1))), ..Plan::default() });
    assert!((0..20).all(|client| open_at(&mut lab, usize::from(client) % 3, client) == 2));
    lab.plan.choice = Some(Choice::LeastConnections([0, 1, 2].into()));
    lab.reload();
    lab.settle();
    assert!((20..60).all(|client| open_at(&mut lab, usize::from(client) % 3, client) != 2));
    assert_eq!([1, 2, 3].map(|number| lab.limits.backend_connections(backend_id(0, number))), [20; 3]);
}

#[test]
fn of_two_choices_the_less_loaded_one_wins() {
    let spread = |choice: Option<Choice>| {
        let mut lab = Lab::new(Plan { choice, flows: 2048, ..Plan::default() });
        let mut flows = [0_u32; 3];
        for client in 0..1500 {
            flows[usize::from(open(&mut lab, client) - 1)] += 1;
        }
        flows.iter().max().unwrap() - flows.iter().min().unwrap()
    };
    let slots: Vec<u16> = (0..999).map(|slot| slot % 3).collect();
    let two_choices = spread(Some(Choice::TwoChoices(slots.into())));
    assert!(two_choices <= 6, "{two_choices} flows between the most and the least loaded");
}

#[test]
fn one_backend_takes_everything_while_the_others_stand_by() {
    let mut lab = lab(Choice::One(Some(1)));
    assert!((0..20).all(|client| open(&mut lab, client) == 2));
}

#[test]
fn a_flow_whose_first_target_is_out_is_marked_displaced_and_others_are_not() {
    let mut lab = Lab::new(Plan::default());
    lab.set_backend(2, false);
    let first: Vec<u8> = (0..60).map(|client| open(&mut lab, client)).collect();
    assert!(first.iter().all(|number| *number != 2));
    let displaced: Vec<bool> =
        list(&mut lab, FlowFilter::default()).iter().map(|flow| flow.displaced).collect();
    let share = displaced.iter().filter(|displaced| **displaced).count();
    assert!((10..=30).contains(&share), "{share} of 60 flows had the second backend as their first target");
}
