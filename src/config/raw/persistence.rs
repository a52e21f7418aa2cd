//! `[service.persistence]` as typed.

use std::time::Duration;

use super::HOUR;
use crate::config::fields;
use crate::config::table::{Entry, Table};

/// `[service.persistence]`.
pub(in crate::config) struct Persistence {
    pub(in crate::config) timeout: Entry<Duration>,
    pub(in crate::config) prefix_v4: Entry<u8>,
    pub(in crate::config) prefix_v6: Entry<u8>,
    pub(in crate::config) group: Entry<String>,
}

impl Persistence {
    pub(super) fn read(mut table: Table<'_>) -> Self {
        let persistence = Self {
            timeout: table.optional("timeout", |v| v.duration(Duration::from_secs(1)..=HOUR * 168)),
            prefix_v4: table.optional("prefix_v4", |v| v.integer(0..=32)),
            prefix_v6: table.optional("prefix_v6", |v| v.integer(0..=128)),
            group: table.optional("group", fields::name),
        };
        table.finish();
        persistence
    }
}
