//! `announce` of `[[service]]`, and the keys that belong to it.

use std::time::Duration;

use crate::config::Announce;
use crate::config::AnnounceRules;
use crate::config::HealthConfig;
use crate::config::ProbeKind;
use crate::config::report::Report;
use crate::config::table::At;
use crate::config::table::Entry;

/// When a service with this `health` is announced; without a word about it, while a backend is in service if there are
/// probes to say so.
pub(super) fn check(
    announce: Entry<Announce>,
    quorum: Entry<u16>,
    hold: Entry<Duration>,
    health: Option<&HealthConfig>,
    report: &Report<'_>,
) -> Option<AnnounceRules> {
    let probed = health.is_none_or(|health| health.kind != ProbeKind::None);
    let when = announce.or(if probed { Announce::Healthy } else { Announce::Always });
    if let (Some(At { at, value: 2.. }), Some(when)) = (quorum.clone().given(), when)
        && when != Announce::Quorum
    {
        report.warn(at, "quorum has no effect without announce = \"quorum\"; write that, or remove quorum");
    }
    Some(AnnounceRules { when: when?, quorum: quorum.or(1)?, hold: hold.or(DEFAULT_HOLD)? })
}

const DEFAULT_HOLD: Duration = Duration::from_secs(2);
