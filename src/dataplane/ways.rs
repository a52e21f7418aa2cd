//! The ways to backends, for services that keep no flows and so have nowhere else to remember them: looked up again
//! when the tables have changed, not for each packet.

use std::net::{IpAddr, Ipv4Addr};

use super::flow::Generation;
use super::pipeline::View;
use crate::model::{BackendId, NextHopId};
use crate::shared::{DropReason, Resolution, ServiceTable};

/// See the module.
pub(super) struct Ways {
    by_backend: Box<[Way]>,
}

/// The way to a backend.
#[derive(Clone, Copy)]
struct Way {
    /// The tables that say so; `None` before the first.
    generation: Option<Generation>,
    address: IpAddr,
    hop: Result<NextHopId, DropReason>,
}

impl Ways {
    /// None known yet, of `backends` backends.
    pub(super) fn new(backends: usize) -> Self {
        let unknown = Way {
            generation: None,
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            hop: Err(DropReason::NoRoute),
        };
        Self { by_backend: vec![unknown; backends].into() }
    }

    /// The address of a backend of `service` and its next hop. Linear in the service's backends at the first packet
    /// after a change, constant from then on.
    ///
    /// # Errors
    /// Why there is none.
    #[inline]
    pub(super) fn to(
        &mut self,
        backend: BackendId,
        service: &ServiceTable,
        view: View<'_>,
    ) -> Result<(IpAddr, NextHopId), DropReason> {
        let way = self.by_backend.get_mut(backend.index()).ok_or(DropReason::NoRoute)?;
        if way.generation != Some(view.generation) {
            way.renew(backend, service, view);
        }
        way.hop.map(|hop| (way.address, hop))
    }
}

impl Way {
    #[cold]
    fn renew(&mut self, backend: BackendId, service: &ServiceTable, view: View<'_>) {
        let address = service.backends.iter().find(|known| known.id == backend);
        let Some(address) = address.map(|backend| backend.endpoint.address) else {
            self.hop = Err(DropReason::NoRoute);
            return;
        };
        let known = if address == self.address { self.hop.ok() } else { None };
        let hop = match view.fib.resolve(address) {
            Resolution::NextHop(id) => Ok(id),
            // As with flows: a neighbour that is not answering just now keeps what it has.
            Resolution::OnLink(_) | Resolution::Unresolved => known.ok_or(DropReason::NextHopUnresolved),
            Resolution::NoRoute => known.ok_or(DropReason::NoRoute),
        };
        *self = Self { generation: Some(view.generation), address, hop };
    }
}
