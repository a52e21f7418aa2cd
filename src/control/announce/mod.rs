//! Which addresses the kernel's sides of the ports carry: the ports' own, the VIPs and the local addresses.
//!
//! Carrying an address is what announces it: the kernel answers ARP and NDP for it, and routing daemons see it.
//! [`Announcer::set`] makes the interfaces carry exactly what is wanted, beside what others put there. Invariant:
//! only addresses that this announcer added are ever removed.
//!
//! VIPs and local addresses are /32 and /128, `nodad`, and never a source the kernel chooses by itself: the IPv6 ones
//! are deprecated (RFC 6724, section 5, rule 3), and the IPv4 ones come after the ports' own, which the kernel takes
//! first. (A route without a gateway and without `src` that is added after a port's own address was removed and came
//! back would see a VIP first; give such a route a `src`.)

mod gratuitous;
mod netlink;
mod placement;
mod sysctl;

use std::collections::BTreeSet;
use std::collections::HashSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::netlink::Netlink;
use self::placement::Interface;
use self::placement::Placed;
use self::placement::place;
use super::kernel_port::KernelSide;
use super::kernel_port::Outbox;

/// The addresses to carry, beside the ports' own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// What clients connect to; empty: withdrawn.
    pub vips: BTreeSet<IpAddr>,
    /// What packets to backends carry as their source.
    pub local_addresses: BTreeSet<IpAddr>,
}

/// An address that could not be added or removed. It is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("interface {interface:?}: address {address} could not be {action}: {reason}")]
pub struct AddressFailure {
    /// The interface.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// "added" or "removed".
    pub action: &'static str,
    /// What the kernel said.
    pub reason: String,
}

/// Why announcing cannot begin.
#[derive(Debug, Error)]
pub enum AnnounceError {
    /// No netlink socket.
    #[error("rtnetlink cannot be opened: {0}; run with CAP_NET_ADMIN and allow AF_NETLINK sockets")]
    Netlink(#[source] std::io::Error),
    /// The kernel did not list its interfaces or addresses.
    #[error("the kernel's {what} cannot be listed: {reason}")]
    List {
        /// "interfaces" or "addresses".
        what: &'static str,
        /// What the kernel said.
        reason: String,
    },
    /// The TAP is not there.
    #[error("interface {0:?} does not exist; open the kernel port before announcing")]
    NoInterface(String),
    /// The interface stays down.
    #[error("interface {interface:?} cannot be set up: {reason}")]
    LinkUp {
        /// The interface.
        interface: String,
        /// What the kernel said.
        reason: String,
    },
}

/// Keeps the addresses of all kernel sides as wanted.
#[derive(Debug)]
pub struct Announcer {
    netlink: Netlink,
    interfaces: Vec<Interface>,
    outbox: Outbox,
    /// What this announcer added: interface index and address.
    ours: HashSet<(u32, IpAddr)>,
    /// Announcements to repeat, with how often.
    repeat: Vec<(Placed, u8)>,
}

impl Announcer {
    /// Makes the settings of the sides' interfaces, gives them their own addresses and brings them up. Needs a tokio
    /// runtime. An address that could not be added is logged and tried again by [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// Netlink cannot be used, or a side's interface is missing or stays down.
    pub async fn open(sides: &[KernelSide], outbox: Outbox) -> Result<Self, AnnounceError> {
        let netlink = Netlink::open().map_err(AnnounceError::Netlink)?;
        let indexes = netlink.interfaces().await?;
        let mut interfaces = Vec::new();
        sysctl::raise_neighbour_limits(Path::new("/proc/sys/net"));
        for side in sides {
            let index = indexes.get(&side.interface).copied();
            let index = index.ok_or_else(|| AnnounceError::NoInterface(side.interface.clone()))?;
            sysctl::tune(&side.interface);
            netlink
                .bring_up(index)
                .await
                .map_err(|reason| AnnounceError::LinkUp { interface: side.interface.clone(), reason })?;
            interfaces.push(Interface { index, side: side.clone() });
        }
        wait_for_link_locals(&netlink, &interfaces).await?;
        let mut announcer = Self { netlink, interfaces, outbox, ours: HashSet::new(), repeat: Vec::new() };
        for failure in announcer.set(&Announced::default()).await {
            tracing::warn!("address_failed {failure}");
        }
        Ok(announcer)
    }

    /// Makes the interfaces carry what is wanted: removes what was added earlier and is not wanted any more, then
    /// adds what is missing, for whatever reason, and announces each new address by gratuitous ARP or an unsolicited
    /// neighbour advertisement. Returns what did not work; calling it again tries again. One dump of the kernel's
    /// addresses and one request per difference.
    pub async fn set(&mut self, wanted: &Announced) -> Vec<AddressFailure> {
        self.forget_deleted().await;
        if self.interfaces.is_empty() {
            return Vec::new();
        }
        let placed = place(&self.interfaces, wanted);
        let present = match self.netlink.addresses().await {
            Ok(present) => present,
            Err(error) => {
                let failure = |placed: &Placed| placed.failure(&self.interfaces, "added", error.to_string());
                return placed.iter().map(failure).collect();
            }
        };
        let mut failures = self.remove_surplus(&placed, &present).await;
        let mut with_ipv6 = HashSet::new();
        for address in placed {
            if present.contains(&address.key()) {
                continue;
            }
            if address.address.is_ipv6() && with_ipv6.insert(address.interface) {
                sysctl::enable_ipv6(&self.interfaces[address.interface].side.interface);
            }
            match self.netlink.add(&address).await {
                Ok(()) => {
                    if !address.own {
                        self.ours.insert(address.key());
                    }
                    tracing::info!("address_added {}", address.describe(&self.interfaces));
                    self.announce(&address);
                    self.repeat.push((address, REPEATS));
                }
                Err(reason) => failures.push(address.failure(&self.interfaces, "added", reason)),
            }
        }
        failures
    }

    /// An interface that was deleted carries nothing any more; only a restart makes it again.
    async fn forget_deleted(&mut self) {
        let Ok(there) = self.netlink.interfaces().await else { return };
        let there: HashSet<u32> = there.into_values().collect();
        self.interfaces.retain(|interface| there.contains(&interface.index));
        self.ours.retain(|(index, _)| there.contains(index));
        if self.repeat.iter().any(|(address, _)| !there.contains(&address.index)) {
            // Places among the interfaces have moved.
            self.repeat.clear();
        }
    }

    async fn remove_surplus(
        &mut self,
        placed: &[Placed],
        present: &HashSet<(u32, IpAddr)>,
    ) -> Vec<AddressFailure> {
        let wanted: HashSet<(u32, IpAddr)> = placed.iter().map(Placed::key).collect();
        let mut failures = Vec::new();
        for key in self.ours.difference(&wanted).copied().collect::<Vec<_>>() {
            let Some(surplus) = Placed::host(&self.interfaces, key) else { continue };
            let removed = if present.contains(&key) { self.netlink.remove(&surplus).await } else { Ok(()) };
            match removed {
                Ok(()) => {
                    self.ours.remove(&key);
                    self.repeat.retain(|(address, _)| address.key() != key);
                    tracing::info!("address_removed {}", surplus.describe(&self.interfaces));
                }
                Err(reason) => failures.push(surplus.failure(&self.interfaces, "removed", reason)),
            }
        }
        failures
    }

    fn announce(&self, address: &Placed) {
        let side = &self.interfaces[address.interface].side;
        if !self.outbox.send(side.port, gratuitous::announcement(side.mac, address.address)) {
            // The repetitions follow; a neighbour that misses all asks when its entry ages.
            tracing::warn!("announcement_lost {}", address.describe(&self.interfaces));
        }
    }

    fn announce_again(&mut self) {
        let mut repeat = std::mem::take(&mut self.repeat);
        for (address, left) in &mut repeat {
            self.announce(address);
            *left -= 1;
        }
        repeat.retain(|(_, left)| *left > 0);
        self.repeat = repeat;
    }

    /// Serves `requests` until their sender is gone: makes the interfaces carry what each wants and answers with what
    /// did not work. Between requests it tries that again every second, and puts back within 5 s what others removed.
    /// Leaves all addresses as they are at the end: ask for [`Announced::default`] to withdraw them.
    pub async fn run(mut self, mut requests: mpsc::Receiver<AnnounceRequest>) {
        let mut wanted = Announced::default();
        let mut known: Vec<AddressFailure> = Vec::new();
        loop {
            let soon = !known.is_empty() || !self.repeat.is_empty();
            let failures = tokio::select! {
                request = requests.recv() => {
                    let Some(request) = request else { return };
                    wanted = request.wanted;
                    let failures = self.set(&wanted).await;
                    // Who no longer listens has asked anew.
                    let _gone = request.reply.send(failures.clone());
                    failures
                }
                () = tokio::time::sleep(if soon { RETRY } else { CHECK }) => {
                    self.announce_again();
                    self.set(&wanted).await
                }
            };
            for failure in failures.iter().filter(|failure| !known.contains(failure)) {
                tracing::warn!("address_failed {failure}");
            }
            known = failures;
        }
    }
}

/// Waits until every interface that gets an IPv6 address has its link-local one: the kernel asks for neighbours from that
/// address, and a request before it is lost for a second (RFC 4861, section 7.2.2; `ndisc_solicit`).
///
/// # Errors
///
/// The kernel does not list its addresses.
async fn wait_for_link_locals(netlink: &Netlink, interfaces: &[Interface]) -> Result<(), AnnounceError> {
    let has_v6 = |interface: &&Interface| interface.side.addresses.iter().any(|(own, _)| own.is_ipv6());
    let began = Instant::now();
    loop {
        let there = netlink.link_locals().await?;
        let missing = interfaces.iter().filter(has_v6).find(|interface| !there.contains(&interface.index));
        let Some(interface) = missing else { return Ok(()) };
        if began.elapsed() >= LINK_LOCAL_PATIENCE {
            let interface = &interface.side.interface;
            tracing::warn!(
                %interface,
                fix = "check net.ipv6.conf of the interface: disable_ipv6, addr_gen_mode",
                "no_link_local_address"
            );
            return Ok(());
        }
        tokio::time::sleep(LINK_LOCAL_POLL).await;
    }
}

/// Interfaces without a link-local address by then are used without one.
const LINK_LOCAL_PATIENCE: Duration = Duration::from_millis(1500);

const LINK_LOCAL_POLL: Duration = Duration::from_millis(10);

/// A request to [`Announcer::run`].
#[derive(Debug)]
pub struct AnnounceRequest {
    /// The whole set.
    pub wanted: Announced,
    /// Gets what did not work; empty: the interfaces carry all of it.
    pub reply: oneshot::Sender<Vec<AddressFailure>>,
}

/// Announcements of a new address after the first: a frame may be lost, and a switch may take a while to forward on a
/// port that just came up.
const REPEATS: u8 = 2;

/// Between attempts, and between repeated announcements.
const RETRY: Duration = Duration::from_secs(1);

/// Between looks at what the interfaces really carry.
const CHECK: Duration = Duration::from_secs(5);
