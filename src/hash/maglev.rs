//! Maglev consistent hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI
//! 2016, section 3.4), with weights.
//!
//! Every backend has its own permutation of the table's slots; in turns, each takes the next slot of its permutation
//! that is still free. A backend of half the greatest weight takes a turn in every second round. Turns go by endpoint,
//! not by place in the configuration, so that balancers whose files list the same servers in another order build the
//! same table.
//!
//! A permutation depends on the backend's address. Ports matter only between backends at one address, by their order: two
//! services with the same servers on different ports build tables that choose the same servers.

use std::net::IpAddr;

use super::{ChoiceSeed, scale};
use crate::model::Endpoint;

/// Slots in a table: a prime, as the permutations need, more than 100 times the backends that a service has, as an
/// even load needs, and the value that Maglev, Katran and Envoy use.
pub const TABLE_SIZE: u32 = 65_537;

/// Fills a table of `size` slots, a prime of at least 2, with positions in `backends`. A backend of weight 0 gets none;
/// the table is empty if all weights are 0 or there is no backend. At most 65,536 backends are used.
///
/// Costs about `size * ln(size)` steps: 2 ms for 65,537 slots and 1,000 backends.
#[must_use]
pub fn build(seed: ChoiceSeed, backends: &[(Endpoint, u32)], size: u32) -> Vec<u16> {
    let mut turns: Vec<Turn> = in_order(backends)
        .filter(|backend| backend.weight > 0)
        .map(|backend| Turn::new(seed, &backend, size))
        .collect();
    let Some(greatest) = turns.iter().map(|turn| turn.weight).max() else { return Vec::new() };

    let mut table = vec![FREE; size as usize];
    let mut free = size;
    loop {
        for turn in &mut turns {
            turn.credit += turn.weight;
            if turn.credit < greatest {
                continue;
            }
            turn.credit -= greatest;
            turn.take(&mut table, size);
            free -= 1;
            if free == 0 {
                return table.into_iter().map(|slot| u16::try_from(slot).unwrap_or(0)).collect();
            }
        }
    }
}

/// The slot of a packet's number in a table of `size` slots.
#[must_use]
#[inline]
pub fn slot(number: u64, size: u32) -> usize {
    let high = u32::try_from(number >> 32).unwrap_or(u32::MAX);
    scale(high, size) as usize
}

/// No backend has taken the slot yet. Wider than the positions, so that every position is one.
const FREE: u32 = u32::MAX;

/// A backend as the table knows it.
struct Member {
    position: u16,
    address: IpAddr,
    /// Backends of the service at the same address on lower ports.
    before: u16,
    weight: u32,
}

/// The backends in the order of their endpoints. Those of weight 0 are among them: coming into service renames nobody.
fn in_order(backends: &[(Endpoint, u32)]) -> impl Iterator<Item = Member> {
    let mut members: Vec<_> = (0..=u16::MAX).zip(backends).collect();
    members.sort_unstable_by_key(|(_, (endpoint, _))| *endpoint);
    let mut last = None;
    members.into_iter().map(move |(position, (endpoint, weight))| {
        let before = match last {
            Some((address, before)) if address == endpoint.address => before + 1,
            _ => 0,
        };
        last = Some((endpoint.address, before));
        Member { position, address: endpoint.address, before, weight: *weight }
    })
}

/// A backend while the table is being filled.
struct Turn {
    position: u32,
    weight: u64,
    /// Rounds earned but not taken, in units of the greatest weight.
    credit: u64,
    /// Next slot of the permutation.
    next: u32,
    /// Distance to the one after; 1 to `size` - 1.
    skip: u32,
}

impl Turn {
    fn new(seed: ChoiceSeed, backend: &Member, size: u32) -> Self {
        let Member { position, address, before, weight } = *backend;
        let name = if before == 0 { address.to_string() } else { format!("{address}#{before}") };
        let hash = |purpose| u32::try_from(seed.bytes(name.as_bytes(), purpose) >> 32).unwrap_or(0);
        Self {
            position: u32::from(position),
            weight: u64::from(weight),
            credit: 0,
            next: scale(hash(0), size),
            skip: 1 + scale(hash(1), size - 1),
        }
    }

    /// Takes the first free slot of the permutation; there must be one.
    fn take(&mut self, table: &mut [u32], size: u32) {
        loop {
            let slot = self.next as usize;
            self.next += self.skip;
            if self.next >= size {
                self.next -= size;
            }
            if table[slot] == FREE {
                table[slot] = self.position;
                return;
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "the numbers of a test are small")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEED: ChoiceSeed = ChoiceSeed::new(1);

    fn backends(count: u16) -> Vec<(Endpoint, u32)> {
        (1..=count).map(|n| (Endpoint::new([10, 0, (n >> 8) as u8, n as u8].into(), 80), 100)).collect()
    }

    fn shares(table: &[u16], count: usize) -> Vec<usize> {
        let mut shares = vec![0; count];
        for slot in table {
            shares[usize::from(*slot)] += 1;
        }
        shares
    }

    #[test]
    fn equal_backends_get_equal_shares_within_one_slot_of_a_turn() {
        let table = build(SEED, &backends(100), TABLE_SIZE);
        let shares = shares(&table, 100);
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        assert!(most - least <= 1, "{least} to {most}");
    }

    #[test]
    fn removing_one_of_a_hundred_backends_moves_little_else() {
        let all = backends(100);
        let before = build(SEED, &all, TABLE_SIZE);
        let mut fewer = all.clone();
        fewer.remove(41);
        let after = build(SEED, &fewer, TABLE_SIZE);
        let moved = before
            .iter()
            .zip(&after)
            .filter(|(b, a)| all[usize::from(**b)].0 != fewer[usize::from(**a)].0)
            .count();
        let share = moved as f64 / f64::from(TABLE_SIZE);
        assert!(share <= 0.018, "{:.2} % of the slots changed, 1 % had to", share * 100.0);
    }

    /// The addresses in the slots of the table of these backends.
    fn addresses(backends: &[(Endpoint, u32)]) -> Vec<IpAddr> {
        let table = build(SEED, backends, 1009);
        table.into_iter().map(|slot| backends[usize::from(slot)].0.address).collect()
    }

    #[test]
    fn services_with_equal_servers_on_different_ports_choose_the_same_addresses() {
        let on = |port: u16| -> Vec<_> {
            let at = |(endpoint, weight): (Endpoint, u32)| (Endpoint::new(endpoint.address, port), weight);
            backends(20).into_iter().map(at).collect()
        };
        assert_eq!(addresses(&on(8080)), addresses(&on(8443)));
        let two = |ports: [u16; 2]| ports.into_iter().flat_map(on).collect::<Vec<_>>();
        assert_eq!(addresses(&two([8080, 8081])), addresses(&two([9000, 443])));
    }

    #[test]
    fn backends_at_one_address_have_permutations_of_their_own() {
        let address = IpAddr::from([10, 0, 0, 1]);
        let some: Vec<_> = [80, 81, 82].map(|port| (Endpoint::new(address, port), 100)).into();
        let shares = shares(&build(SEED, &some, 1009), 3);
        assert!(shares.iter().all(|share| share.abs_diff(336) <= 1), "{shares:?}");
        let mut out = some.clone();
        out[0].1 = 0;
        let (all, without) = (build(SEED, &some, 1009), build(SEED, &out, 1009));
        let moved = all.iter().zip(&without).filter(|(a, b)| **a != 0 && a != b).count();
        assert!(moved < 100, "{moved} slots of backends in service moved");
    }

    #[test]
    fn a_backend_of_weight_zero_gets_no_slot_and_no_backend_no_table() {
        let mut some = backends(3);
        some[1].1 = 0;
        assert_eq!(shares(&build(SEED, &some, 251), 3)[1], 0);
        assert!(build(SEED, &[], 251).is_empty());
        some.iter_mut().for_each(|backend| backend.1 = 0);
        assert!(build(SEED, &some, 251).is_empty());
    }

    proptest! {
        #[test]
        fn shares_follow_weights(weights in prop::collection::vec(0_u32..=1000, 1..40)) {
            let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
            prop_assume!(total > 0);
            let mut some = backends(weights.len() as u16);
            for (backend, weight) in some.iter_mut().zip(&weights) {
                backend.1 = *weight;
            }
            let table = build(SEED, &some, TABLE_SIZE);
            for (share, weight) in shares(&table, weights.len()).into_iter().zip(&weights) {
                let due = f64::from(TABLE_SIZE) * f64::from(*weight) / total as f64;
                // Every backend may be one turn off, and so may the number of rounds that the table is made of.
                let off = 1.0 + weights.len() as f64 * f64::from(*weight) / total as f64;
                prop_assert!((share as f64 - due).abs() <= off, "weight {weight}: {share}, due {due:.1}");
            }
        }

        #[test]
        fn the_order_of_the_configuration_does_not_matter(seed: u64, rotate in 0_usize..20) {
            let some = backends(20);
            let mut other = some.clone();
            other.rotate_left(rotate);
            let endpoint = |list: &[(Endpoint, u32)], table: Vec<u16>| -> Vec<Endpoint> {
                table.into_iter().map(|slot| list[usize::from(slot)].0).collect()
            };
            let seed = ChoiceSeed::new(seed);
            prop_assert_eq!(endpoint(&some, build(seed, &some, 1009)), endpoint(&other, build(seed, &other, 1009)));
        }
    }
}
