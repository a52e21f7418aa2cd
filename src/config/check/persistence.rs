//! `[service.persistence]`: entries need flows, and services that share entries must read them alike.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::config::PersistenceConfig;
use crate::config::ServiceConfig;
use crate::config::raw;
use crate::config::report::Report;
use crate::config::table::At;
use crate::config::table::Entry;
use crate::model::ClientPrefix;
use crate::model::ForwardingMode;
use crate::model::PersistenceRules;

/// The persistence of a service, if it has any; `None` after an error.
pub(super) fn check(
    raw: Entry<raw::Persistence>,
    mode: Option<ForwardingMode>,
    report: &Report<'_>,
) -> Option<Option<PersistenceConfig>> {
    let At { at, value: raw } = match raw {
        Entry::Absent => return Some(None),
        Entry::Wrong => return None,
        Entry::Given(raw) => raw,
    };
    if let Some(mode) = mode.filter(|mode| mode.is_stateless()) {
        report.wrong(
            at,
            format!(
                "persistence needs flows, which mode \"{mode}\" does not keep; remove [service.persistence], and write hash = \"source-address\""
            ),
        );
    }
    let timeout = raw.timeout.or(Duration::from_secs(300));
    let prefix = ClientPrefix { v4: raw.prefix_v4.or(32)?, v6: raw.prefix_v6.or(128)? };
    let group = raw.group.map(Some).or(None)?;
    Some(Some(PersistenceConfig { rules: PersistenceRules { timeout: timeout?.into(), prefix }, group }))
}

/// The place of the `group` of a service, if it has one.
pub(super) fn group_place(service: &raw::Service) -> Option<usize> {
    let persistence = service.persistence.as_ref().given()?;
    persistence.value.group.place()
}

/// A service of a group, with the place of its `group`.
#[derive(Clone, Copy)]
struct Member<'a> {
    at: usize,
    service: &'a ServiceConfig,
    rules: &'a PersistenceRules,
}

/// Whether the services of each group agree. `places` has the place of each service's `group`.
pub(super) fn check_groups(
    places: &[Option<usize>],
    services: &[Option<ServiceConfig>],
    report: &Report<'_>,
) {
    let mut first: HashMap<&str, Member<'_>> = HashMap::new();
    for (at, service) in places.iter().zip(services) {
        let (Some(at), Some(service)) = (*at, service) else { continue };
        let Some(PersistenceConfig { rules, group: Some(group) }) = &service.persistence else { continue };
        let member = Member { at, service, rules };
        check_addresses(group, member, report);
        let other = *first.entry(group).or_insert(member);
        check_agreement(group, member, other, report);
    }
}

/// An entry names an address, which must mean one backend.
fn check_addresses(group: &str, member: Member<'_>, report: &Report<'_>) {
    let mut seen = BTreeSet::new();
    let mut addresses = member.service.backends.iter().map(|backend| backend.endpoint.address);
    if let Some(twice) = addresses.find(|address| !seen.insert(*address)) {
        let name = &member.service.name;
        report.wrong(
            member.at,
            format!(
                "service {name:?} has two backends at {twice}, and persistence group {group:?} tells backends apart by address; remove one backend, or group"
            ),
        );
    }
}

fn check_agreement(group: &str, member: Member<'_>, other: Member<'_>, report: &Report<'_>) {
    let line = report.line(other.at);
    let first = &other.service.name;
    let differs = [
        ("timeout", member.rules.timeout != other.rules.timeout),
        ("prefix_v4", member.rules.prefix.v4 != other.rules.prefix.v4),
        ("prefix_v6", member.rules.prefix.v6 != other.rules.prefix.v6),
    ];
    for (key, _) in differs.into_iter().filter(|(_, differs)| *differs) {
        report.wrong(
            member.at,
            format!(
                "persistence group {group:?} has another {key} in service {first:?} (line {line}); write the same {key} in both"
            ),
        );
    }
    let addresses = |service: &ServiceConfig| -> BTreeSet<IpAddr> {
        service.backends.iter().map(|backend| backend.endpoint.address).collect()
    };
    let same_family = member.service.vip.is_ipv4() == other.service.vip.is_ipv4();
    if same_family
        && addresses(member.service).is_disjoint(&addresses(other.service))
        && !std::ptr::eq(member.service, other.service)
    {
        report.wrong(
            member.at,
            format!(
                "service {:?} has no backend at an address of a backend of service {first:?} (line {line}), and persistence group {group:?} needs one in common; write another group",
                member.service.name
            ),
        );
    }
}
