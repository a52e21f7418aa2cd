//! Hashing, for two purposes that must not share a function.
//!
//! The index hash (`keyed`) places flows in a worker's table; its key is a secret of the process, so that nobody
//! outside can aim at one bucket. The choice hash (`choice`) and [`maglev`] pick backends; they depend on nothing
//! but the configuration, so that every balancer of a cluster picks the same. Neither is the network card's. What
//! strangers get to see of a secret goes through a third, [`SipKey`]. [`turns()`] is no hash, but the other table that
//! backends are picked from.

mod address;
mod choice;
mod keyed;
#[cfg(target_arch = "x86_64")]
mod lanes;
pub mod maglev;
mod sip;
mod turns;

pub use address::{AddressHash, AddressHasher};
pub use choice::ChoiceSeed;
pub use keyed::IndexKey;
pub use sip::SipKey;
pub use turns::turns;

/// The two halves of the 128-bit product, folded by exclusive or: a strong mixing step for two multiplications
/// (after Wang Yi, "wyhash", and Lemire).
#[expect(clippy::cast_possible_truncation, reason = "each half of the product is taken on purpose")]
pub(crate) const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128).wrapping_mul(b as u128);
    let low = product & u64::MAX as u128;
    (low ^ (product >> 64)) as u64
}

/// `hash` scaled to `0..n` without a division (Lemire, "Fast random integer generation in an interval", 2019).
pub(crate) const fn scale(hash: u32, n: u32) -> u32 {
    ((hash as u64 * n as u64) >> 32) as u32
}
