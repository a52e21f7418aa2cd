//! Whose flow is it? One answer for every stage and worker.
//!
//! Where a port spreads frames as it likes, a frame may reach any worker. Each five-tuple has one owner: for packets
//! from backends, the worker that leased the local port; for packets from clients, the one that the index hash names.
//! The index key is common to all workers of a process, so all agree. Of fragments the first alone says whose flow it is
//! of: all of a packet go to one worker first, see [`fragments`](super::fragments).

use super::local_ports::PortClass;
use crate::hash::scale;
use crate::model::WorkerId;
use crate::shared::AddressRole;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Steering {
    me: WorkerId,
    workers: u16,
    class: PortClass,
}

impl Steering {
    /// The view of worker `me`, one of `workers`.
    #[must_use]
    pub const fn new(me: WorkerId, workers: u16) -> Self {
        Self { me, workers, class: PortClass::new(me, workers) }
    }

    /// Whose view it is.
    #[must_use]
    pub const fn worker(&self) -> WorkerId {
        self.me
    }

    /// The local ports that this worker leases.
    #[must_use]
    pub const fn class(&self) -> PortClass {
        self.class
    }

    /// The worker, if it is another one, that owns the flow of a packet to an address of role `role`, to
    /// `destination_port`, with index hash `hash`.
    #[must_use]
    pub fn elsewhere(&self, role: &AddressRole, destination_port: u16, hash: u64) -> Option<WorkerId> {
        if self.workers == 1 {
            return None;
        }
        let owner = match role {
            AddressRole::Local => self.class.owner(destination_port)?,
            AddressRole::Vip(_) => self.owner_of_client(hash),
            AddressRole::Port => return None,
        };
        (owner != self.me).then_some(owner)
    }

    /// The worker, if it is another one, where the fragments of a packet meet, with the hash `key` of what they share.
    #[must_use]
    pub fn home_elsewhere(&self, key: u64) -> Option<WorkerId> {
        let home = self.owner_of_client(key);
        (home != self.me).then_some(home)
    }

    /// The low half chooses the worker: the high one chooses the bucket, and a worker whose flows agreed in that would
    /// use a part of its table only.
    fn owner_of_client(&self, hash: u64) -> WorkerId {
        let [.., a, b, c, d] = hash.to_be_bytes();
        let middle = u32::from_be_bytes([a, b, c, d]);
        WorkerId(u16::try_from(scale(middle, u32::from(self.workers))).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_worker_keeps_each_frame() {
        for workers in [1, 2, 3, 5] {
            let views: Vec<Steering> = (0..workers).map(|me| Steering::new(WorkerId(me), workers)).collect();
            for n in 0..1000_u64 {
                let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let port = PortClass::FIRST + u16::try_from(n * 61 % 60_000).unwrap();
                let vip = AddressRole::Vip(crate::shared::VipServices::default());
                let homes = views.iter().filter(|view| view.home_elsewhere(hash).is_none());
                assert_eq!(homes.count(), 1, "fragments meet at one worker");
                for role in [vip, AddressRole::Local] {
                    let owners: Vec<_> = views
                        .iter()
                        .filter(|view| view.elsewhere(&role, port, hash).is_none())
                        .map(|view| view.me)
                        .collect();
                    assert_eq!(owners.len(), 1, "{role:?} {port} {hash:x}");
                    for view in &views {
                        let owner = view.elsewhere(&role, port, hash).unwrap_or(view.me);
                        assert_eq!(owner, owners[0]);
                    }
                }
            }
        }
    }
}
