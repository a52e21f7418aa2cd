//! ICMP errors about outer packets, which are ours: their news is for the senders of the inner packets.
//!
//! A client is told at once if the error quotes enough of the inner packet, else when its next packet is too large for the
//! path MTU that the error reports (RFC 2003, sections 4.2 and 5.1). A report counts only if it is about a packet that
//! we can have sent: from a local address to a backend of a tunnel, in its outer headers, larger than the reported MTU;
//! and only on the port that leads to the backend, so that clients' networks cannot forge it.

use super::flow::FlowFamily;
use super::pipeline::{Arrival, Pipeline, View};
use super::verdict::Verdict;
use crate::io::Frame;
use crate::model::{FiveTuple, ForwardingMode, Mac, PortPair, Protocol, V4, V6, VlanTag};
use crate::shared::{AddressRole, DropReason, Resolution};
use crate::wire::craft::{self, Refusal};
use crate::wire::icmp::Quote;
use crate::wire::outer_quote::{News, OuterQuote, news};

/// The least path MTU of IPv4 tunnels that is believed, in octets: what every host takes (RFC 791, section 3.1). Of IPv6
/// it is the minimum MTU (RFC 8200, section 5), which less are malformed for.
const LEAST_OUTER_MTU: u16 = 576;

/// Octets of an ICMP header.
const ICMP_HEADER: usize = 8;

impl Pipeline {
    /// The verdict on an error about the packet in `quote`, if that is an outer packet; `None` if it is not.
    #[cold]
    pub(super) fn tunnel_error<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        quote: &Quote<F>,
        arrival: Arrival,
        view: View<'_>,
    ) -> Option<Verdict> {
        let start = usize::from(arrival.packet.layout.l4);
        let message = frame.head().get(start..start + ICMP_HEADER + quote.octets())?;
        let (header, quoted) = message.split_first_chunk::<ICMP_HEADER>()?;
        let outer = OuterQuote::read::<F>(quoted)?;
        let paths = view.tables.roles.tunnels_to(outer.destination);
        if !paths.iter().any(|path| path.source == outer.source && path.encapsulation == outer.encapsulation)
        {
            return None;
        }
        let Resolution::NextHop(hop) = view.fib.resolve(outer.destination) else {
            return Some(Verdict::Drop(DropReason::TunnelError));
        };
        if view.fib.next_hop(hop).is_none_or(|hop| hop.port != arrival.port) {
            return Some(Verdict::Drop(DropReason::Martian));
        }
        let refusal = match news::<F>(header) {
            News::Other => return Some(Verdict::Drop(DropReason::TunnelError)),
            News::Unreachable => Refusal::HostUnreachable,
            News::TooBig(mtu) if mtu < LEAST_OUTER_MTU.max(F::LEAST_MTU) || mtu >= outer.octets => {
                return Some(Verdict::Drop(DropReason::IcmpMtuImpossible));
            }
            News::TooBig(mtu) => {
                self.path_mtus.learn(outer.destination, mtu, view.now);
                Refusal::TooBig { mtu: mtu - outer.headers }
            }
        };
        let inner = start + ICMP_HEADER + usize::from(outer.headers)..start + ICMP_HEADER + quote.octets();
        let told = match frame.head().get(inner.start).map(|first| first >> 4) {
            Some(4) => self.tell_inner_sender::<V4, T>(frame, refusal, inner, arrival, view),
            Some(6) => self.tell_inner_sender::<V6, T>(frame, refusal, inner, arrival, view),
            _ => None,
        };
        Some(told.unwrap_or(Verdict::Drop(DropReason::TunnelError)))
    }

    /// Makes the frame the error that the sender of the quoted packet at `inner` gets; `None` if it cannot be told.
    fn tell_inner_sender<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        refusal: Refusal,
        inner: std::ops::Range<usize>,
        arrival: Arrival,
        view: View<'_>,
    ) -> Option<Verdict> {
        let quoted = frame.head().get(inner)?;
        let pair = F::pair_in(quoted)?;
        let (client, vip) = F::addresses(pair);
        let (protocol, place) = F::transport(quoted).ok()?;
        let [s0, s1, d0, d1, ..] = *quoted.get(place?..)?.first_chunk::<8>()?;
        let ports = PortPair::from_octets([s0, s1, d0, d1]);
        let tuple = FiveTuple::<F>::from_wire(pair, ports, Protocol::from_number(protocol)?);
        let AddressRole::Vip(services) = view.tables.roles.of::<F>(vip)? else { return None };
        let service = services.service(tuple.protocol(), tuple.destination_port())?;
        let is_tunnel = matches!(view.tables.service(service)?.mode, ForwardingMode::Tunnel(_));
        if !is_tunnel || !F::may_be_client(client) {
            return None;
        }
        let Resolution::NextHop(hop) = view.fib.resolve(F::ip(client)) else { return None };
        let hop = view.fib.next_hop(hop)?;
        let [to @ .., f0, f1, f2, f3, f4, f5] = *hop.addresses()?;
        let vlan = match hop.vlan {
            VlanTag::AsReceived => arrival.vlan,
            VlanTag::Untagged => None,
            VlanTag::Id(id) => Some(id),
        };
        let refusal = match refusal {
            // What every link of the family carries is no smaller in a tunnel (RFC 2473, section 7.1).
            Refusal::TooBig { mtu } => Refusal::TooBig { mtu: mtu.max(F::LEAST_MTU) },
            other => other,
        };
        let answer = craft::relay::<F>(refusal, (Mac([f0, f1, f2, f3, f4, f5]), Mac(to)), vlan, quoted)?;
        frame.truncate(answer.len());
        frame.head_mut().get_mut(..answer.len())?.copy_from_slice(&answer);
        self.tally.icmp_errors += 1;
        Some(Verdict::Forward(hop.port))
    }
}
