//! `[service.limits]` as typed.

use crate::config::table::{Entry, Table};
use crate::model::ServiceLimits;

/// The largest limit of connections at a time: more than flow tables have room for.
const MOST_CONNECTIONS: u32 = 1_000_000_000;

/// The largest rate: more than workers can create flows.
const MOST_PER_SECOND: u32 = 10_000_000;

/// `[service.limits]`.
#[derive(Default)]
pub(in crate::config) struct Limits {
    pub(in crate::config) connections: Entry<u32>,
    pub(in crate::config) connections_per_second: Entry<u32>,
    pub(in crate::config) client_connections: Entry<u32>,
    pub(in crate::config) client_connections_per_second: Entry<u32>,
    pub(in crate::config) client_prefix_v4: Entry<u8>,
    pub(in crate::config) client_prefix_v6: Entry<u8>,
}

impl Limits {
    pub(super) fn read(mut table: Table<'_>) -> Self {
        let limits = Self {
            connections: table.optional("connections", |v| v.integer(0..=MOST_CONNECTIONS)),
            connections_per_second: table
                .optional("connections_per_second", |v| v.integer(0..=MOST_PER_SECOND)),
            client_connections: table
                .optional("client_connections", |v| v.integer(0..=ServiceLimits::MOST_OF_CLIENT)),
            client_connections_per_second: table
                .optional("client_connections_per_second", |v| v.integer(0..=MOST_PER_SECOND)),
            client_prefix_v4: table.optional("client_prefix_v4", |v| v.integer(0..=32)),
            client_prefix_v6: table.optional("client_prefix_v6", |v| v.integer(0..=128)),
        };
        table.finish();
        limits
    }
}

/// `max_connections` of a backend.
pub(super) fn max_connections(table: &mut Table<'_>) -> Entry<u32> {
    table.optional("max_connections", |v| v.integer(0..=MOST_CONNECTIONS))
}
