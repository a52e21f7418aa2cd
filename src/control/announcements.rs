//! Which services want their VIP announced: by their backends, and damped.
//!
//! Pure, in virtual time. A change of a service's wish must last for `announce_hold` before it takes effect, so that
//! routers do not follow every flap. The first announcement of a service does not wait.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::config::Announce;
use crate::config::AnnounceRules;
use crate::model::Nanos;
use crate::model::ServiceId;

/// The wishes of all services.
#[derive(Clone, Debug, Default)]
pub struct Announcements {
    services: BTreeMap<ServiceId, Wish>,
    /// When a change has lasted for long enough.
    due: BTreeSet<(Nanos, ServiceId)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Wish {
    /// What takes effect.
    wanted: bool,
    /// It was wanted once.
    was_wanted: bool,
    /// When the opposite takes effect; `None`: nothing has changed.
    change: Option<Nanos>,
    eligible: usize,
}

impl AnnounceRules {
    /// Whether `eligible` backends, on which new flows can be placed, are enough.
    #[must_use]
    pub const fn holds(&self, eligible: usize) -> bool {
        match self.when {
            Announce::Always => true,
            Announce::Healthy => eligible > 0,
            Announce::Quorum => eligible >= self.quorum as usize,
            Announce::Never => false,
        }
    }
}

impl Announcements {
    /// Takes in the number of backends that new flows of `id` can be placed on. Returns whether the effect differs.
    pub fn judge(&mut self, now: Nanos, id: ServiceId, rules: &AnnounceRules, eligible: usize) -> bool {
        let wish = self.services.entry(id).or_default();
        wish.eligible = eligible;
        let wants = rules.holds(eligible);
        if wants == wish.wanted {
            if let Some(at) = wish.change.take() {
                self.due.remove(&(at, id));
            }
            return false;
        }
        // An operator's word needs no damping.
        let said = matches!(rules.when, Announce::Always | Announce::Never);
        let hold = if said || !wish.was_wanted { Nanos(0) } else { rules.hold.into() };
        let at = *wish.change.get_or_insert(now + hold);
        if at > now {
            self.due.insert((at, id));
            return false;
        }
        self.due.remove(&(at, id));
        *wish = Wish { wanted: wants, was_wanted: wish.was_wanted || wants, change: None, eligible };
        true
    }

    /// The next service whose change has lasted for long enough by `now`; it takes effect.
    pub fn next_due(&mut self, now: Nanos) -> Option<ServiceId> {
        let (at, id) = self.due.first().copied().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, id));
        if let Some(wish) = self.services.get_mut(&id) {
            wish.wanted = !wish.wanted;
            wish.was_wanted = true;
            wish.change = None;
        }
        Some(id)
    }

    /// When [`next_due`](Self::next_due) has something to say.
    #[must_use]
    pub fn due(&self) -> Option<Nanos> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Whether a service wants its VIP announced.
    #[must_use]
    pub fn wants(&self, id: ServiceId) -> bool {
        self.services.get(&id).is_some_and(|wish| wish.wanted)
    }

    /// Why a service does not want its VIP announced; `None`: it does.
    #[must_use]
    pub fn reason(&self, id: ServiceId, rules: &AnnounceRules) -> Option<String> {
        let wish = self.services.get(&id).copied().unwrap_or_default();
        if wish.wanted {
            return None;
        }
        Some(match rules.when {
            Announce::Never => "announce is never".to_owned(),
            _ if wish.change.is_some() => "announce_hold has not passed".to_owned(),
            Announce::Quorum => format!("{} of quorum {}", wish.eligible, rules.quorum),
            Announce::Always | Announce::Healthy => "no backend in service".to_owned(),
        })
    }

    /// Forgets the services that `stays` does not name.
    pub fn retain(&mut self, stays: impl Fn(ServiceId) -> bool) {
        self.services.retain(|id, _| stays(*id));
        self.due.retain(|(_, id)| stays(*id));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const WEB: ServiceId = ServiceId(0);

    fn rules(when: Announce) -> AnnounceRules {
        AnnounceRules { when, quorum: 2, hold: Duration::from_secs(2) }
    }

    fn at(millis: u64) -> Nanos {
        Nanos::from_millis(millis)
    }

    #[test]
    fn the_first_announcement_is_immediate_and_each_later_change_lasts_for_the_hold() {
        let (mut all, rules) = (Announcements::default(), rules(Announce::Healthy));
        assert!(!all.judge(at(0), WEB, &rules, 0));
        assert_eq!(all.reason(WEB, &rules).unwrap(), "no backend in service");
        assert!(all.judge(at(100), WEB, &rules, 1));
        assert!(!all.judge(at(200), WEB, &rules, 0));
        assert!(all.wants(WEB));
        assert!(!all.judge(at(900), WEB, &rules, 1), "a flap");
        assert_eq!(all.due(), None);
        assert!(!all.judge(at(1000), WEB, &rules, 0));
        assert!(!all.judge(at(1500), WEB, &rules, 0), "still the same change");
        assert_eq!((all.due(), all.next_due(at(2999))), (Some(at(3000)), None));
        assert_eq!(all.next_due(at(3000)), Some(WEB));
        assert!(!all.wants(WEB));
        assert!(!all.judge(at(4000), WEB, &rules, 3));
        assert_eq!(all.reason(WEB, &rules).unwrap(), "announce_hold has not passed");
        assert_eq!(all.next_due(at(6000)), Some(WEB));
        assert!(all.wants(WEB));
        all.retain(|_| false);
        assert!(!all.wants(WEB));
    }

    #[test]
    fn a_quorum_counts_backends_and_always_and_never_do_not() {
        let mut all = Announcements::default();
        assert!(!all.judge(at(0), WEB, &rules(Announce::Quorum), 1));
        assert_eq!(all.reason(WEB, &rules(Announce::Quorum)).unwrap(), "1 of quorum 2");
        assert!(all.judge(at(1), WEB, &rules(Announce::Quorum), 2));
        assert!(all.judge(at(2), WEB, &rules(Announce::Never), 2), "at once");
        assert_eq!(all.reason(WEB, &rules(Announce::Never)).unwrap(), "announce is never");
        assert!(all.judge(at(3), WEB, &rules(Announce::Always), 0));
        assert!(all.wants(WEB));
    }
}
