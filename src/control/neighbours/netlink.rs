//! Dumps, notifications and requests of rtnetlink.

use std::io;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use futures::StreamExt;
use futures::TryStreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use rtnetlink::Handle;
use rtnetlink::MulticastGroup;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::neighbour::NeighbourAttribute;
use rtnetlink::packet_route::neighbour::NeighbourExtFlags;
use rtnetlink::packet_route::neighbour::NeighbourFlags;
use rtnetlink::packet_route::neighbour::NeighbourState;
use rtnetlink::sys::SocketAddr;
use tokio::task::JoinSet;

use super::messages;
use super::messages::KernelRoute;
use super::messages::Links;
use super::messages::Neighbour;
use super::mirror::Asked;

/// What a notification says may have changed. Its content is not used: the dump that follows is the truth, also when
/// notifications were lost or came out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// Neighbours only.
    Neighbours,
    /// Interfaces, addresses or routes: any of it can make routes and neighbours vanish without further notice.
    Everything,
}

/// An rtnetlink socket that hears of changes.
pub(super) struct Netlink {
    handle: Handle,
    notifications: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    /// The task that serves the socket; it ends with this value.
    _driver: JoinSet<()>,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, notifications) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ])?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Self { handle, notifications, _driver: driver })
    }

    /// Waits for the next change; `None` when the socket is dead. Cancelling it loses nothing.
    pub(super) async fn changed(&mut self) -> Option<Changed> {
        loop {
            if let Some(changed) = changed(&self.notifications.next().await?.0.payload) {
                return Some(changed);
            }
        }
    }

    pub(super) async fn links(&self) -> Result<Vec<LinkMessage>, rtnetlink::Error> {
        self.handle.link().get().execute().try_collect().await
    }

    pub(super) async fn neighbours(&self) -> Result<Vec<Neighbour>, rtnetlink::Error> {
        let neighbours = self.handle.neighbours().get().execute();
        neighbours.try_filter_map(async |message| Ok(messages::neighbour(&message))).try_collect().await
    }

    /// The routes of both families over `links`, read one by one: there may be a million.
    pub(super) async fn routes(&self, links: &Links) -> Result<Vec<KernelRoute>, rtnetlink::Error> {
        let v4 = self.handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
        let v6 = self.handle.route().get(RouteMessageBuilder::<Ipv6Addr>::new().build()).execute();
        let mut routes = Vec::new();
        let mut both = std::pin::pin!(v4.chain(v6));
        while let Some(message) = both.try_next().await? {
            routes.extend(messages::routes(&message, links));
        }
        Ok(routes)
    }

    /// Asks the kernel to resolve a neighbour and to keep it resolved. NTF_EXT_MANAGED does that from Linux 5.16 on;
    /// kernels before ignore the attribute, and NTF_USE, asked for again and again, does the same.
    pub(super) async fn resolve(&self, (index, address): Asked) -> Result<(), rtnetlink::Error> {
        let request = self.handle.neighbours().add(index, address);
        let mut request = request.replace().state(NeighbourState::None).flags(NeighbourFlags::Use);
        let managed = NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed);
        request.message_mut().attributes.push(managed);
        request.execute().await
    }
}

fn changed(payload: &NetlinkPayload<RouteNetlinkMessage>) -> Option<Changed> {
    match payload {
        NetlinkPayload::InnerMessage(
            RouteNetlinkMessage::NewNeighbour(_) | RouteNetlinkMessage::DelNeighbour(_),
        ) => Some(Changed::Neighbours),
        // The socket's buffer was full: anything may have been missed.
        NetlinkPayload::InnerMessage(_) | NetlinkPayload::Overrun(_) => Some(Changed::Everything),
        _ => None,
    }
}
