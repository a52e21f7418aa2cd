//! `client_address`: backends that see the client's address already need not be told.

use crate::config::raw;
use crate::config::report::Report;
use crate::config::table::At;
use crate::model::ClientAddress;
use crate::model::ForwardingMode;
use crate::model::ProxyDatagrams;
use crate::model::ServiceProtocol;

/// What backends are told of clients' addresses; `None` after an error.
pub(super) fn check(
    raw: &raw::ClientAddress,
    mode: Option<ForwardingMode>,
    protocol: Option<ServiceProtocol>,
    report: &Report<'_>,
) -> Option<ClientAddress> {
    let At { at, value: told } = raw.told.clone().or_at(raw::Told::Nothing, 0)?;
    let kind = raw.toa_kind.clone().or(ClientAddress::TOA_KIND)?;
    let datagrams = raw.proxy_datagrams.clone().or(ProxyDatagrams::default())?;
    let address = match told {
        raw::Told::Nothing => return Some(ClientAddress::None),
        raw::Told::Toa => ClientAddress::Toa { kind },
        raw::Told::ProxyV2 => ClientAddress::ProxyV2 { datagrams },
    };
    if let Some(mode) = mode.filter(|mode| mode.is_stateless()) {
        report.wrong(
            at,
            format!(
                "client_address \"{address}\" is not possible in mode \"{mode}\", which changes no packet: backends see the client's own address; leave it out"
            ),
        );
        return None;
    }
    if told == raw::Told::Toa && protocol == Some(ServiceProtocol::Udp) {
        report.wrong(
            at,
            "client_address \"toa\" is a TCP option, and protocol is \"udp\"; write \"proxy-v2\" or leave it out",
        );
        return None;
    }
    Some(address)
}
