//! Segments that go ahead of others, in frames of their own.

use super::Core;
use crate::dataplane::flow::FlowId;
use crate::io::{Frame, Port};
use crate::model::PortId;
use crate::shared::DropReason;

impl<P: Port> Core<P> {
    /// Sends a segment that is ready, in pieces of `mtu` octets if that is given, by `egress` behind one that carries its
    /// flow's PROXY header, in a frame of `ingress`'s. Without a frame for that neither goes: the client repeats its own.
    #[cold]
    pub(super) fn send_behind(
        &mut self,
        frame: P::Frame,
        ingress: PortId,
        (egress, mtu): (PortId, Option<u16>),
        flow: FlowId,
    ) {
        let ahead = self.pipeline.header_segment(&frame, flow).and_then(|segment| {
            let mut ahead = self.sides[ingress.index()].port.queue.allocate()?;
            ahead.append(&segment).then_some(ahead)
        });
        let Some(ahead) = ahead else {
            self.pipeline.tally.count_drop(DropReason::ProxyHeaderUnsent);
            return;
        };
        self.pipeline.tally.originated += 1;
        self.send(egress, ahead);
        match mtu {
            Some(mtu) => self.send_split(frame, ingress, (egress, mtu)),
            None => self.send(egress, frame),
        }
    }
}
