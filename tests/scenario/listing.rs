//! Control asks a worker for its flows.

use std::collections::HashSet;

use evenkeel::model::ServiceId;
use evenkeel::shared::{Command, Event, FlowFilter, FlowPage, FlowState};

use crate::lab::{Lab, Plan};
use crate::packet::Build;

pub fn list(lab: &mut Lab, filter: FlowFilter) -> Vec<evenkeel::shared::FlowRecord> {
    let mut page = Box::new(FlowPage::new(filter, 64));
    let mut records = Vec::new();
    loop {
        lab.commands.commands[0].push(Command::ListFlows(page)).unwrap();
        lab.settle();
        let Event::Flows(filled) = lab.commands.events[0].pop().expect("the worker answers");
        records.extend(filled.records.iter().copied());
        if filled.done {
            return records;
        }
        page = filled;
    }
}

#[test]
fn a_listing_shows_every_flow_once_with_both_of_its_tuples() {
    let mut lab = Lab::new(Plan::default());
    let mut sent = HashSet::new();
    for n in 0..200 {
        let client = format!("198.51.100.7:{}", 10_000 + n);
        sent.insert(lab.forward(&Build::new(&client, "203.0.113.80:80").tcp()).from);
        let client = format!("[2001:db8:7::7]:{}", 10_000 + n);
        lab.forward(&Build::new(&client, "[2001:db8::80]:53").udp());
    }
    let all = list(&mut lab, FlowFilter::default());
    assert_eq!(all.len(), 400);
    let tcp: Vec<_> = all.iter().filter(|record| record.state == FlowState::SynSent).collect();
    assert_eq!(tcp.len(), 200);
    assert!(tcp.iter().all(|record| sent.contains(&record.local.into())));
    assert!(
        tcp.iter().all(|record| record.vip.to_string() == "203.0.113.80:80" && record.backend.port == 8080)
    );
    assert!(tcp.iter().all(|record| (29..=30).contains(&record.expires_secs)));

    let some = FlowFilter { service: Some(ServiceId(3)), ..FlowFilter::default() };
    assert_eq!(list(&mut lab, some).len(), 200);
    let one = FlowFilter { client: Some("198.51.100.0/24".parse().unwrap()), ..FlowFilter::default() };
    assert_eq!(list(&mut lab, one).len(), 200);
}
