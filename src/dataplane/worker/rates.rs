//! Rates of what strangers can make a worker do.

use crate::dataplane::limits::TokenBucket;
use crate::dataplane::verdict::PuntClass;

/// See the module.
pub(super) struct Rates {
    /// Of answers to packets that go no further.
    pub(super) refusals: TokenBucket,
    punts: [TokenBucket; 3],
}

impl Rates {
    pub(super) fn new() -> Self {
        Self {
            // RFC 1812, 4.3.2.8 and RFC 4443, 2.4 f ask for a limit; this one is far above what clients cause and far
            // below what a flood could use.
            refusals: TokenBucket::new(10_000, 1_000),
            // Neighbour, routing, other: what a Linux kernel takes in without strain.
            punts: [
                TokenBucket::new(20_000, 2_000),
                TokenBucket::new(20_000, 2_000),
                TokenBucket::new(50_000, 5_000),
            ],
        }
    }

    /// That of punts of a class.
    pub(super) const fn punt(&mut self, class: PuntClass) -> &mut TokenBucket {
        &mut self.punts[class as usize]
    }
}
