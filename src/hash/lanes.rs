//! [`IndexKey::hash`] of eight IPv4 five-tuples at a time, in the lanes of 256-bit vectors (AVX2).

use std::arch::x86_64::{
    __m256i as Vector, _mm256_add_epi32, _mm256_add_epi64, _mm256_blend_epi32, _mm256_mul_epu32,
    _mm256_mullo_epi32, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_slli_epi32, _mm256_slli_epi64,
    _mm256_srli_epi64, _mm256_xor_si256,
};

use super::IndexKey;
use super::keyed::PROTOCOL_SHIFT;

/// The lanes with odd numbers.
const ODD: i32 = 0b1010_1010;

impl IndexKey {
    /// The hashes of eight tuples, given as [`words`](super::keyed::words) and the numbers of their protocols: the upper
    /// halves, then the lower ones. About 5 instructions a tuple.
    #[must_use]
    #[inline]
    #[target_feature(enable = "avx2")]
    #[expect(clippy::cast_possible_truncation, reason = "each half is taken on purpose")]
    pub(crate) fn hash_eight(&self, words: [Vector; 3], protocols: Vector) -> [Vector; 2] {
        // A product of 64 bits takes the place of two lanes: the even ones first, and the odd ones in their place.
        let (mut even, mut odd) = (_mm256_setzero_si256(), _mm256_setzero_si256());
        let mut upper = _mm256_slli_epi32::<{ PROTOCOL_SHIFT.cast_signed() }>(protocols);
        for (word, factor) in words.into_iter().zip(self.factors()) {
            let [low, high] = [factor, factor >> 32].map(|half| _mm256_set1_epi32(half as i32));
            even = _mm256_add_epi64(even, _mm256_mul_epu32(word, low));
            odd = _mm256_add_epi64(odd, _mm256_mul_epu32(_mm256_srli_epi64::<32>(word), low));
            upper = _mm256_add_epi32(upper, _mm256_mullo_epi32(word, high));
        }
        upper = _mm256_add_epi32(upper, _mm256_blend_epi32::<ODD>(_mm256_srli_epi64::<32>(even), odd));

        let last = _mm256_set1_epi32(self.last_factor().cast_signed());
        let even = _mm256_mul_epu32(upper, last);
        let odd = _mm256_mul_epu32(_mm256_srli_epi64::<32>(upper), last);
        let low = _mm256_blend_epi32::<ODD>(even, _mm256_slli_epi64::<32>(odd));
        let high = _mm256_blend_epi32::<ODD>(_mm256_srli_epi64::<32>(even), odd);
        [_mm256_xor_si256(high, low), low]
    }
}
