//! The end of a TCP flow whose backend is dead: the side that a packet is on its way to is told, in the packet's place.

use super::alter;
use super::flow::{FlowFamily, FlowId};
use super::inspect::Inspected;
use super::pipeline::{Pipeline, View};
use crate::io::Frame;
use crate::model::{Direction, PortId, V4, V6, VlanTag};
use crate::wire::craft::{self, Answer};
use crate::wire::{Network, Packet, Parsed, rewrite};

impl Pipeline {
    /// Ends a flow at a packet of it, which is in `frame` and is translated there. The reset for the side that the packet
    /// was for, and the port it leaves by; `None` where no way leads there.
    #[cold]
    pub(super) fn kill<T: Frame>(
        &mut self,
        frame: &mut T,
        seen: &Inspected,
        flow: (FlowId, Direction),
        view: View<'_>,
    ) -> Option<(PortId, Answer)> {
        let Ok(Parsed::Ip(packet)) = &seen.parsed else { return None };
        match packet.network {
            Network::V4 => self.kill_of::<V4, T>(frame, (packet, seen.vlan), flow, view),
            Network::V6 => self.kill_of::<V6, T>(frame, (packet, seen.vlan), flow, view),
        }
    }

    fn kill_of<F: FlowFamily, T: Frame>(
        &mut self,
        frame: &mut T,
        (packet, vlan): (&Packet, Option<u16>),
        (id, direction): (FlowId, Direction),
        view: View<'_>,
    ) -> Option<(PortId, Answer)> {
        if F::table(&self.flows).entry(id).route_epoch != view.fib.epoch {
            self.route_again::<F>(id, view);
        }
        let entry = *F::table(&self.flows).entry(id);
        let stream = F::table(&self.flows).stream(id).copied();
        self.end::<F>(id);
        let hop = entry.hop(direction);
        let hop = view.fib.next_hop(hop).or_else(|| self.last_hops.next_hop(hop))?;
        let macs = (self.ports[hop.port.index()].egress.mac, hop.destination()?);
        let vlan = match hop.vlan {
            VlanTag::Untagged => None,
            VlanTag::Id(id) => Some(id),
            VlanTag::AsReceived => vlan,
        };
        rewrite(frame.head_mut(), packet.layout, &entry.rewrite(direction));
        if let Some(stream) = stream {
            alter::numbers(frame.head_mut(), packet, &stream, direction);
        }
        Some((hop.port, craft::reset_onward(macs, vlan, packet, frame.head())?))
    }
}
