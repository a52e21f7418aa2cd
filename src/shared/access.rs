//! Which clients a service lets in, as workers look it up.
//!
//! A trie of six bits a step whose nodes are bit maps (after Asai and Ohara, "Poptrie", SIGCOMM 2015, section 3; the leaves
//! are one bit, so that a node holds its own):
//!
//! ```text
//!   children | 64 bits: this value of the next six bits leads to another node
//!   allowed  | 64 bits: what holds for those that lead nowhere
//!   first    | the node of the first child; the others follow it
//! ```
//!
//! However many prefixes there are, an address takes at most 6 steps for IPv4 and 22 for IPv6, of a cache line each: measured, 40 to
//! 80 ns and 140 to 300 ns in a development build, with 10 to 100,000 prefixes of each family.
//! A hash for each length would take as many steps as there are lengths; a table of all /24, as DIR-24-8 has it, 16 MiB for
//! each service, and does not do IPv6. The rules of an address that more than one prefix holds are resolved when it is built.

use std::net::IpAddr;

use crate::model::{AccessRules, Cidr, Family, V4};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The roots of IPv4 and IPv6 first.
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Node {
    children: u64,
    allowed: u64,
    first: u32,
}

/// Bits of an address per step.
const STEP: u32 = 6;

/// A prefix that lies below a node: its bits, the first leftmost, how many count, and what it says.
type Rule = (u128, u32, bool);

impl Access {
    /// The trie of `rules`. A prefix takes a node of 24 octets per six bits that it shares with no other, at most.
    #[must_use]
    pub fn new(rules: &AccessRules) -> Self {
        let mut this = Self { nodes: vec![Node::default(); 2] };
        for (root, v4) in [(0, true), (1, false)] {
            let of_family = rules.rules.iter().filter(|(prefix, _)| prefix.address().is_ipv4() == v4);
            let rules_of: Vec<Rule> =
                of_family.map(|(prefix, allowed)| leftmost(*prefix, *allowed)).collect();
            this.fill(root, &rules_of, 0, rules.otherwise);
        }
        this
    }

    /// Whether a client with this address is let in.
    #[must_use]
    pub fn allows<F: Family>(&self, client: F::Address) -> bool {
        let v4 = F::VERSION == V4::VERSION;
        let (mut place, mut bits) = if v4 { (0, F::bits(client) << 96) } else { (1, F::bits(client)) };
        loop {
            // Built so that every child exists and the deepest nodes have none.
            let Some(node) = self.nodes.get(place) else { return true };
            let value = step(bits);
            if node.children >> value & 1 == 0 {
                return node.allowed >> value & 1 == 1;
            }
            let before = node.children & ((1 << value) - 1);
            place = node.first as usize + before.count_ones() as usize;
            bits <<= STEP;
        }
    }

    /// Memory taken, in octets.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.nodes.len() * size_of::<Node>()
    }

    /// Makes the node at `place`, whose addresses agree in the first `depth` bits, of the rules below it; `inherited` is
    /// what the rules above say.
    fn fill(&mut self, place: usize, rules: &[Rule], depth: u32, inherited: bool) {
        let mut node = Node { allowed: if inherited { u64::MAX } else { 0 }, ..Node::default() };
        let (mut ending, below): (Vec<Rule>, Vec<Rule>) =
            rules.iter().partition(|(_, length, _)| *length <= depth + STEP);
        // The longest comes last and has the last word.
        ending.sort_by_key(|(_, length, _)| *length);
        for (bits, length, allowed) in ending {
            let count = 1_u64 << (depth + STEP - length);
            let all = if count == 64 { u64::MAX } else { (1 << count) - 1 };
            let mask = all << step(bits << depth);
            node.allowed = if allowed { node.allowed | mask } else { node.allowed & !mask };
        }
        for (bits, ..) in &below {
            node.children |= 1 << step(bits << depth);
        }
        node.first = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.nodes.resize(self.nodes.len() + node.children.count_ones() as usize, Node::default());
        self.nodes[place] = node;
        let groups = below.chunk_by(|(one, ..), (other, ..)| step(one << depth) == step(other << depth));
        for (child, group) in (node.first as usize..).zip(groups) {
            let inherited = node.allowed >> step(group[0].0 << depth) & 1 == 1;
            self.fill(child, group, depth + STEP, inherited);
        }
    }
}

/// The first six bits.
const fn step(bits: u128) -> u32 {
    (bits >> (u128::BITS - STEP)) as u32
}

fn leftmost(prefix: Cidr, allowed: bool) -> Rule {
    let bits = match prefix.address() {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    };
    (bits, prefix.length().into(), allowed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::V6;

    fn rules(of: &[(&str, bool)], otherwise: bool) -> AccessRules {
        let rules: BTreeMap<Cidr, bool> =
            of.iter().map(|(text, allowed)| (text.parse().unwrap(), *allowed)).collect();
        AccessRules { rules: rules.into_iter().collect(), otherwise }
    }

    fn allows(access: &Access, client: &str) -> bool {
        match client.parse().unwrap() {
            IpAddr::V4(v4) => access.allows::<V4>(v4.to_bits()),
            IpAddr::V6(v6) => access.allows::<V6>(v6.to_bits()),
        }
    }

    #[test]
    fn the_longest_prefix_decides_and_without_one_the_rest() {
        let list = [
            ("198.51.100.0/24", false),
            ("198.51.100.128/25", true),
            ("198.51.100.200/32", false),
            ("2001:db8::/32", false),
            ("2001:db8:7::/48", true),
            ("2001:db8:7::7/128", false),
        ];
        for otherwise in [true, false] {
            let access = Access::new(&rules(&list, otherwise));
            for (client, expected) in [
                ("198.51.100.1", false),
                ("198.51.100.129", true),
                ("198.51.100.200", false),
                ("198.51.101.1", otherwise),
                ("0.0.0.1", otherwise),
                ("2001:db8:8::1", false),
                ("2001:db8:7::1", true),
                ("2001:db8:7::7", false),
                ("2001:db9::7", otherwise),
            ] {
                assert_eq!(allows(&access, client), expected, "{client}, else {otherwise}");
            }
        }
    }

    #[test]
    fn a_list_of_everything_denies_everything() {
        let access = Access::new(&rules(&[("0.0.0.0/0", false), ("192.0.2.0/24", true)], true));
        assert!(!allows(&access, "198.51.100.1"));
        assert!(allows(&access, "192.0.2.255"));
        assert!(allows(&access, "2001:db8::1"), "of the other family nothing is said");
    }

    #[test]
    fn ten_thousand_prefixes_take_little_memory() {
        let prefix =
            |n: u32| format!("{}/24", std::net::Ipv4Addr::from_bits(n.wrapping_mul(2_654_435_761) & !0xff));
        let list: Vec<String> = (1..=10_000).map(prefix).collect();
        let list: Vec<(&str, bool)> = list.iter().map(|text| (text.as_str(), false)).collect();
        let octets = Access::new(&rules(&list, true)).octets();
        assert!(octets < 600_000, "{octets} octets");
    }

    fn prefix() -> impl Strategy<Value = Cidr> {
        // Few different leading bits, so that prefixes lie in each other.
        let v4 = (0..4_u32, any::<u32>(), 0..=32_u8).prop_map(|(high, low, length)| {
            Cidr::new(IpAddr::V4((high << 30 | low >> 20).into()), length).unwrap()
        });
        let v6 = (0..4_u128, any::<u128>(), 0..=128_u8).prop_map(|(high, low, length)| {
            Cidr::new(IpAddr::V6((high << 126 | low >> 110).into()), length).unwrap()
        });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_search_through_all_prefixes(
            list in prop::collection::btree_map(prefix(), any::<bool>(), 0..40),
            otherwise: bool,
            clients in prop::collection::vec(prefix(), 1..60),
        ) {
            let access = Access::new(&AccessRules { rules: list.clone().into_iter().collect(), otherwise });
            for client in clients.iter().chain(list.keys()).map(|prefix| prefix.address()) {
                let longest = list.iter().filter(|(prefix, _)| prefix.contains(client)).max_by_key(|(p, _)| p.length());
                let expected = longest.map_or(otherwise, |(_, allowed)| *allowed);
                prop_assert_eq!(allows(&access, &client.to_string()), expected, "{}", client);
            }
        }
    }
}
