//! The hash that turns a packet into a number for the choice of a backend.

use super::fold;
use crate::model::{Family, FiveTuple, HashFeature};

/// The seed of the choice hash, from `hash_seed`: the same on every balancer of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChoiceSeed(u64);

impl ChoiceSeed {
    /// The seed with this number.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The number of a packet from a client: equal for packets that agree in `feature`, spread evenly otherwise. The
    /// result is part of the cluster's agreement: changing this function moves flows between backends.
    #[must_use]
    pub fn packet<F: Family>(self, tuple: &FiveTuple<F>, feature: HashFeature) -> u64 {
        let (destination, ports) = match feature {
            HashFeature::FiveTuple => {
                let ports = u64::from(tuple.source_port()) << 16 | u64::from(tuple.destination_port());
                (F::bits(tuple.destination()), ports << 8 | tuple.protocol() as u64)
            }
            HashFeature::SourceAddress => (0, 0),
            HashFeature::SourceAddressPort => (0, u64::from(tuple.source_port())),
        };
        let mut state = fold(self.0 ^ K[0], ports ^ K[1]);
        for bits in [F::bits(tuple.source()), destination] {
            let [high, low] = halves(bits);
            state = fold(state ^ high ^ K[2], low ^ K[3]);
        }
        fold(state ^ K[1], K[0])
    }

    /// A number for `bytes`, for the permutations of Maglev; `purpose` separates independent hashes.
    #[must_use]
    pub fn bytes(self, bytes: &[u8], purpose: u64) -> u64 {
        let mut state = fold(self.0 ^ K[0], purpose ^ K[1]);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            state = fold(state ^ u64::from_le_bytes(word), K[2] ^ chunk.len() as u64);
        }
        fold(state ^ K[3], K[0])
    }
}

impl Default for ChoiceSeed {
    fn default() -> Self {
        Self::new(1)
    }
}

fn halves(bits: u128) -> [u64; 2] {
    let bytes = bits.to_be_bytes();
    let (high, low) = bytes.split_at(8);
    [high, low].map(|half| u64::from_be_bytes(half.try_into().expect("half of sixteen bytes is eight")))
}

/// Numbers nobody could have tuned: the fractional parts of the square roots of 2 (made odd), 3, 5 and 7.
const K: [u64; 4] =
    [0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b, 0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Protocol, V4};

    fn tuple(source_port: u16) -> FiveTuple<V4> {
        FiveTuple::new((0xc000_0201, source_port), (0xcb00_7150, 80), Protocol::Tcp)
    }

    #[test]
    fn the_feature_decides_which_packets_stay_together() {
        let seed = ChoiceSeed::new(7);
        let number = |port, feature| seed.packet(&tuple(port), feature);
        assert_ne!(number(1, HashFeature::FiveTuple), number(2, HashFeature::FiveTuple));
        assert_eq!(number(1, HashFeature::SourceAddress), number(2, HashFeature::SourceAddress));
        assert_ne!(number(1, HashFeature::SourceAddressPort), number(2, HashFeature::SourceAddressPort));
        let other_vip = tuple(1).with_destination((1, 80));
        let feature = HashFeature::SourceAddressPort;
        assert_eq!(seed.packet(&other_vip, feature), number(1, feature));
    }

    #[test]
    fn another_seed_gives_another_number() {
        let feature = HashFeature::FiveTuple;
        assert_ne!(
            ChoiceSeed::new(1).packet(&tuple(1), feature),
            ChoiceSeed::new(2).packet(&tuple(1), feature)
        );
    }
}
