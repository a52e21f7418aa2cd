//! The keyed hash of the flow table's index.

use super::{SipKey, fold};
use crate::model::{Family, FiveTuple};

/// The secret of the index hash: four random words.
#[derive(Clone, Copy, Debug)]
pub struct IndexKey([u64; 4]);

impl IndexKey {
    /// The key made of these words.
    #[must_use]
    pub const fn new(words: [u64; 4]) -> Self {
        Self(words)
    }

    /// The key for another purpose, which tells nothing of this one.
    #[must_use]
    pub fn derive(&self, purpose: u64) -> SipKey {
        let [k0, k1, k2, k3] = self.0;
        let key = SipKey::new([k0, k1]);
        SipKey::new([0, 1].map(|half| key.hash(&[k2, k3, purpose, half])))
    }

    /// The hash of a five-tuple, all 64 bits usable. Not a cryptographic hash: an attacker who cannot see its values
    /// cannot predict collisions, which is what a flow table needs. About 3 ns for IPv4.
    #[must_use]
    #[inline(always)]
    pub fn hash<F: Family>(&self, tuple: &FiveTuple<F>) -> u64 {
        let [k0, k1, k2, k3] = self.0;
        let ports = u64::from(tuple.ports().word()) << 8 | tuple.protocol() as u64;
        let [w0, w1, w2, w3] = F::words(tuple.addresses());
        if F::VERSION == 4 {
            return fold(fold(w0 ^ k0, ports ^ k1) ^ k2, k3);
        }
        let first = fold(w0 ^ k0, w1 ^ k1);
        let second = fold(w2 ^ k1, w3 ^ k2);
        fold(first ^ ports ^ k2, second ^ k3)
    }
}
