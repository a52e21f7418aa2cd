//! The few requests to the kernel that announcing needs.

use std::collections::HashMap;
use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use futures::TryStreamExt;
use rtnetlink::AddressMessageBuilder;
use rtnetlink::Handle;
use rtnetlink::LinkUnspec;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::address::AddressFlags;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::address::CacheInfo;
use rtnetlink::packet_route::link::LinkAttribute;
use rustix::io::Errno;
use tokio::task::JoinSet;

use super::AnnounceError;
use super::placement::Placed;

/// An rtnetlink socket.
#[derive(Debug)]
pub(super) struct Netlink {
    handle: Handle,
    /// The task that serves the socket; it ends with this value.
    _driver: JoinSet<()>,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Self { handle, _driver: driver })
    }

    /// The index of every interface, by name.
    pub(super) async fn interfaces(&self) -> Result<HashMap<String, u32>, AnnounceError> {
        let links: Result<Vec<_>, _> = self.handle.link().get().execute().try_collect().await;
        let links = links.map_err(|error| unlisted("interfaces", &error))?;
        let name = |attribute| if let LinkAttribute::IfName(name) = attribute { Some(name) } else { None };
        let named = links.into_iter().filter_map(|link| {
            let index = link.header.index;
            link.attributes.into_iter().find_map(name).map(|name| (name, index))
        });
        Ok(named.collect())
    }

    pub(super) async fn bring_up(&self, index: u32) -> Result<(), String> {
        let up = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().change(up).execute().await.map_err(|error| explain(&error))
    }

    /// Every address the kernel holds, with its interface.
    pub(super) async fn addresses(&self) -> Result<HashSet<(u32, IpAddr)>, AnnounceError> {
        let messages: Result<Vec<_>, _> = self.handle.address().get().execute().try_collect().await;
        let messages = messages.map_err(|error| unlisted("addresses", &error))?;
        Ok(messages.iter().filter_map(address_of).collect())
    }

    /// The interfaces that have an IPv6 link-local address which may be used: duplicate address detection is over, or
    /// there is none.
    pub(super) async fn link_locals(&self) -> Result<HashSet<u32>, AnnounceError> {
        let messages: Result<Vec<_>, _> = self.handle.address().get().execute().try_collect().await;
        let messages = messages.map_err(|error| unlisted("addresses", &error))?;
        let usable = messages.iter().filter(|message| !is_tentative(message)).filter_map(address_of);
        let link_local = usable.filter(|(_, address)| match address {
            IpAddr::V4(_) => false,
            IpAddr::V6(address) => address.is_unicast_link_local(),
        });
        Ok(link_local.map(|(index, _)| index).collect())
    }

    /// Adds an address; one that is there already is fine.
    pub(super) async fn add(&self, placed: &Placed) -> Result<(), String> {
        let mut request = self.handle.address().add(placed.index, placed.address, placed.length);
        configure(request.message_mut(), placed);
        accept(request.execute().await, Errno::EXIST)
    }

    /// Removes an address; one that is gone already is fine.
    pub(super) async fn remove(&self, placed: &Placed) -> Result<(), String> {
        let message = match placed.address {
            IpAddr::V4(address) => AddressMessageBuilder::<Ipv4Addr>::new()
                .index(placed.index)
                .address(address, placed.length)
                .build(),
            IpAddr::V6(address) => AddressMessageBuilder::<Ipv6Addr>::new()
                .index(placed.index)
                .address(address, placed.length)
                .build(),
        };
        accept(self.handle.address().del(message).execute().await, Errno::ADDRNOTAVAIL)
    }
}

/// What sets an address of ours apart from a plain one.
fn configure(message: &mut AddressMessage, placed: &Placed) {
    if placed.address.is_ipv4() {
        return;
    }
    // Usable at once: no duplicate address detection, which would keep it tentative for a second or more.
    message.header.flags |= AddressHeaderFlags::Nodad;
    let mut flags = AddressFlags::Nodad;
    if !placed.own {
        // The kernel would list a /128 as a route over the interface.
        flags |= AddressFlags::Noprefixroute;
        // Preferred for zero seconds: deprecated, valid for ever.
        let mut lifetimes = CacheInfo::default();
        lifetimes.ifa_preferred = 0;
        lifetimes.ifa_valid = u32::MAX;
        message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
    }
    message.attributes.push(AddressAttribute::Flags(flags));
}

fn is_tentative(message: &AddressMessage) -> bool {
    let flags = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    flags.is_some_and(|flags| flags.contains(AddressFlags::Tentative))
}

fn address_of(message: &AddressMessage) -> Option<(u32, IpAddr)> {
    // IFA_LOCAL is the interface's address and IFA_ADDRESS the peer's, where they differ; IPv6 may have only the
    // latter.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    });
    address.map(|address| (message.header.index, address))
}

fn accept(result: Result<(), rtnetlink::Error>, fine: Errno) -> Result<(), String> {
    match result {
        Ok(()) => Ok(()),
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -fine.raw_os_error() => Ok(()),
        Err(error) => Err(explain(&error)),
    }
}

fn unlisted(what: &'static str, error: &rtnetlink::Error) -> AnnounceError {
    AnnounceError::List { what, reason: explain(error) }
}

fn explain(error: &rtnetlink::Error) -> String {
    match error {
        rtnetlink::Error::NetlinkError(error) => error.to_io().to_string(),
        other => other.to_string(),
    }
}
