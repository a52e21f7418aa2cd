//! Where new flows go, scheduler by scheduler.

use evenkeel::model::Nanos;
use evenkeel::shared::{Choice, FlowFilter};

use crate::lab::{Lab, Plan, VIP4, backend};
use crate::listing::list;
use crate::packet::{Build, RST};

fn lab(choice: Choice) -> Lab {
    Lab::new(Plan { choice: Some(choice), ..Plan::default() })
}

/// Opens a flow from a client of this number; the number of the backend that it goes to.
fn open(lab: &mut Lab, client: u16) -> u8 {
    let to = lab.forward(&syn(client)).to;
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
    // A closed flow counts until its place is free.
    lab.wait(Nanos::from_secs(2));
    assert_eq!([open(&mut lab, 20), open(&mut lab, 21)], [2, 2]);
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
