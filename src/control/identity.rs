//! Which service of one configuration is which of another.
//!
//! A service is where clients find it: VIP, protocol and ports. One that was moved is still the same if its name
//! stayed. So neither the order in the file nor a new name nor a new port makes a service another one.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::config::ServiceConfig;
use crate::model::PortRange;
use crate::model::ServiceProtocol;

/// For each service of `new`, its counterpart in `old`, or `None`. A service with `false` is one that was removed and
/// is still remembered: it is found by its place only.
pub(super) fn counterparts<'a, K: Copy>(
    old: impl Iterator<Item = (K, &'a ServiceConfig, bool)>,
    new: &[ServiceConfig],
) -> Vec<Option<K>> {
    let old: Vec<_> = old.collect();
    let by_place: HashMap<_, _> = old.iter().map(|(key, service, _)| (place(service), *key)).collect();
    let mut found: Vec<Option<K>> =
        new.iter().map(|service| by_place.get(&place(service)).copied()).collect();

    let new_places: HashMap<_, ()> = new.iter().map(|service| (place(service), ())).collect();
    let moved = old.iter().filter(|(_, service, live)| *live && !new_places.contains_key(&place(service)));
    let by_name: HashMap<&str, K> = moved.map(|(key, service, _)| (service.name.as_str(), *key)).collect();
    for (service, counterpart) in new.iter().zip(&mut found) {
        *counterpart = counterpart.or_else(|| by_name.get(service.name.as_str()).copied());
    }
    found
}

fn place(service: &ServiceConfig) -> (IpAddr, ServiceProtocol, PortRange) {
    (service.vip, service.protocol, service.ports)
}
