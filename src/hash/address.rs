//! The hash of the small maps that the data plane looks addresses up in.

use std::hash::{BuildHasher, Hasher};

use super::fold;

/// A hasher for maps keyed with addresses that control chooses (VIPs, next hops): fast, and without a secret, since
/// no stranger can insert.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddressHash;

impl BuildHasher for AddressHash {
    type Hasher = AddressHasher;

    fn build_hasher(&self) -> AddressHasher {
        AddressHasher(0x6a09_e667_f3bc_c909)
    }
}

/// See [`AddressHash`].
#[derive(Clone, Copy, Debug)]
pub struct AddressHasher(u64);

impl AddressHasher {
    const fn mix(&mut self, word: u64) {
        self.0 = fold(self.0 ^ word, 0xbb67_ae85_84ca_a73b);
    }
}

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.mix(u64::from(n));
    }

    fn write_u16(&mut self, n: u16) {
        self.mix(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.mix(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.mix(n);
    }

    fn write_u128(&mut self, n: u128) {
        let [low, high] = [n, n >> 64].map(low_half);
        self.mix(low);
        self.mix(high);
    }

    fn write_usize(&mut self, n: usize) {
        self.mix(n as u64);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn low_half(bits: u128) -> u64 {
    bits as u64
}
