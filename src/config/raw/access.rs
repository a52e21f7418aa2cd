//! `allow`, `deny` and their files, as typed.

use std::path::PathBuf;

use crate::config::fields;
use crate::config::table::{Entry, Table};
use crate::config::value::List;
use crate::model::Cidr;

/// The keys of `[[service]]` that say which clients it lets in.
pub(in crate::config) struct Access {
    pub(in crate::config) allow: AccessList,
    pub(in crate::config) deny: AccessList,
}

/// A list of prefixes, in the configuration, in a file or both.
pub(in crate::config) struct AccessList {
    pub(in crate::config) prefixes: Entry<List<Cidr>>,
    pub(in crate::config) file: Entry<PathBuf>,
}

impl Access {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let mut list = |key: &'static str, file: &'static str, example: &str| AccessList {
            prefixes: table.optional(key, |v| v.each(|item| fields::prefix(item.called(key)))),
            file: table.optional(file, |v| fields::absolute_path(v, example)),
        };
        Self {
            allow: list("allow", "allow_file", "/etc/evenkeel/allow.txt"),
            deny: list("deny", "deny_file", "/etc/evenkeel/deny.txt"),
        }
    }
}
