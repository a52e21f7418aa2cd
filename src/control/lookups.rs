//! Maglev tables, shared by services with the same backends and weights.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Weak;

use crate::hash::ChoiceSeed;
use crate::hash::maglev;
use crate::model::Endpoint;
use crate::shared::Positions;

/// Maglev tables by seed, endpoints and weights.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    known: HashMap<Shares, Weak<[u16]>>,
    /// Tables filled so far.
    pub(super) filled: u64,
    /// Number of entries at which those without a user are removed.
    limit: usize,
}

/// Content of a Maglev table.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Shares {
    pub(super) seed: ChoiceSeed,
    /// Endpoints with their weights, in the order of endpoints.
    pub(super) of: Vec<(Endpoint, u32)>,
}

impl Lookups {
    /// The table of `shares`. Costs one to four milliseconds, unless a service has the same.
    pub(super) fn get(&mut self, shares: Shares) -> Positions {
        if let Some(positions) = self.known.get(&shares).and_then(Weak::upgrade) {
            return positions;
        }
        let positions: Positions = maglev::build(shares.seed, &shares.of, maglev::TABLE_SIZE).into();
        self.filled += 1;
        if self.known.len() >= self.limit {
            self.known.retain(|_, positions| positions.strong_count() > 0);
            self.limit = 64.max(2 * self.known.len());
        }
        self.known.insert(shares, Arc::downgrade(&positions));
        positions
    }
}
