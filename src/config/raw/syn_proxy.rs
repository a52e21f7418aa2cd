//! `syn_proxy` and `syn_proxy_above`, as typed.

use crate::config::table::{Entry, Table};

/// The largest threshold: more than flow tables have room for.
const MOST_HALF_OPEN: u32 = 1_000_000_000;

/// The keys of `[[service]]` that say when it answers SYNs in its backends' place.
pub(in crate::config) struct SynProxy {
    pub(in crate::config) when: Entry<When>,
    pub(in crate::config) above: Entry<u32>,
}

/// `syn_proxy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum When {
    Off,
    Auto,
    On,
}

impl SynProxy {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        Self {
            when: table.optional("syn_proxy", |v| {
                v.one_of(&[("off", When::Off), ("auto", When::Auto), ("on", When::On)], &[])
            }),
            above: table.optional("syn_proxy_above", |v| v.integer(1..=MOST_HALF_OPEN)),
        }
    }
}
