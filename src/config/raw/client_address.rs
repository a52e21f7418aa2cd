//! `client_address` of `[[service]]`, and what belongs to it.

use crate::config::table::{Entry, Table};
use crate::config::value::Value;
use crate::model::ProxyDatagrams;

/// See the module.
pub(in crate::config) struct ClientAddress {
    pub(in crate::config) told: Entry<Told>,
    pub(in crate::config) toa_kind: Entry<u8>,
    pub(in crate::config) proxy_datagrams: Entry<ProxyDatagrams>,
}

/// `client_address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Told {
    Nothing,
    Toa,
    ProxyV2,
}

impl ClientAddress {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        Self {
            told: table.optional("client_address", |v| {
                v.one_of(&[("none", Told::Nothing), ("toa", Told::Toa), ("proxy-v2", Told::ProxyV2)], &[])
            }),
            toa_kind: table.optional("toa_kind", toa_kind),
            proxy_datagrams: table.optional("proxy_datagrams", |v| {
                let choices =
                    [("until-answered", ProxyDatagrams::UntilAnswered), ("every", ProxyDatagrams::Every)];
                v.one_of(&choices, &[])
            }),
        }
    }
}

/// Kinds that mean something to a server's own TCP would be misread there: up to 30, and some more that IANA has given
/// out (Fast Open, TCP-ENO, AccECN twice).
fn toa_kind(value: Value<'_>) -> Option<u8> {
    const TAKEN: [u8; 4] = [34, 69, 172, 174];
    let kind = value.integer(31..=254)?;
    if TAKEN.contains(&kind) {
        return value.wrong(format!(
            "{} {kind} is a TCP option of another meaning (IANA); write 254, or what the module on the backends reads",
            value.key
        ));
    }
    Some(kind)
}
