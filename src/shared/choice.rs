//! What the schedulers choose by, built by control and read by workers.

use std::sync::Arc;

/// Positions in [`ServiceTable::backends`](super::ServiceTable::backends), by slot; empty if there is none to choose.
pub type Positions = Arc<[u16]>;

/// How the backend of a new flow is found.
#[derive(Clone, Debug, Eq)]
pub enum Choice {
    /// By the packet's number.
    Hash {
        /// Every backend that is configured to serve first, in service or not: the first target. It changes with the
        /// configuration alone.
        all: Positions,
        /// Those that are in service: the second target, for a packet whose first target is not.
        in_service: Positions,
        /// Without flows, for a time after `all` has changed: the first targets before that, in today's positions. One
        /// that is no position any more belonged to a backend that is gone.
        previous: Option<Positions>,
    },
    /// One place after the other.
    Turns(Positions),
    /// The least loaded of all of these.
    LeastConnections(Positions),
    /// The less loaded of two slots that the packet's number names, in which backends stand by their weights.
    TwoChoices(Positions),
    /// This one.
    One(Option<u16>),
}

impl Choice {
    /// Whether it goes by the connections that backends have, over all workers.
    #[must_use]
    pub const fn counts_connections(&self) -> bool {
        match self {
            Self::LeastConnections(_) | Self::TwoChoices(_) => true,
            Self::Hash { .. } | Self::Turns(_) | Self::One(_) => false,
        }
    }

    /// Whether there is no backend to choose.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Hash { in_service: positions, .. }
            | Self::Turns(positions)
            | Self::LeastConnections(positions)
            | Self::TwoChoices(positions) => positions.is_empty(),
            Self::One(position) => position.is_none(),
        }
    }
}

impl PartialEq for Choice {
    fn eq(&self, other: &Self) -> bool {
        // Mostly it is the very same table, which need not be read.
        let same = |one: &Positions, other: &Positions| Arc::ptr_eq(one, other) || one == other;
        match (self, other) {
            (Self::Hash { all, in_service, previous }, Self::Hash { all: a, in_service: i, previous: p }) => {
                let same_previous = match (previous, p) {
                    (Some(one), Some(other)) => same(one, other),
                    (None, None) => true,
                    (Some(_), None) | (None, Some(_)) => false,
                };
                same_previous && same(all, a) && same(in_service, i)
            }
            (Self::Turns(one), Self::Turns(other))
            | (Self::LeastConnections(one), Self::LeastConnections(other))
            | (Self::TwoChoices(one), Self::TwoChoices(other)) => same(one, other),
            (Self::One(one), Self::One(other)) => one == other,
            (
                Self::Hash { .. }
                | Self::Turns(_)
                | Self::LeastConnections(_)
                | Self::TwoChoices(_)
                | Self::One(_),
                _,
            ) => false,
        }
    }
}
