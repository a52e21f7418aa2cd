//! What a packet costs, and how much of that is the port's: measured in turn, so that whatever else the machine does meets
//! both.

use std::sync::Arc;
use std::time::Instant;

use super::balancer::Balancer;
use super::figures::{Samples, nanos_each};
use super::packet::Packet;
use super::port::{MemoryPort, Traffic};
use super::replay::{Desk, Replay};

/// Nanoseconds per packet.
pub(crate) struct Costs {
    /// With the worker.
    pub(crate) whole: Samples,
    /// The same traffic on a port like it with nobody behind.
    pub(crate) port: Samples,
}

impl Costs {
    /// Costs of the traffic of `balancer`'s only worker, and of `twin`, a port with the same.
    pub(crate) fn measure<T: Traffic>(
        balancer: &mut Balancer<T>,
        twin: &mut MemoryPort<T>,
        packets: u64,
        rounds: u32,
    ) -> Self {
        let mut costs = Self { whole: Samples::default(), port: Samples::default() };
        for _ in 0..rounds {
            let before = balancer.tally().rx_packets;
            let began = Instant::now();
            balancer.turn_for(packets);
            let span = began.elapsed();
            costs.whole.push(nanos_each(span, balancer.tally().rx_packets - before));
            let began = Instant::now();
            twin.idle(packets);
            costs.port.push(nanos_each(began.elapsed(), packets));
        }
        costs
    }

    /// What the worker adds.
    pub(crate) fn above_port(&self) -> Samples {
        self.whole.with(&self.port, |whole, port| whole - port)
    }
}

/// A port that replays `packets` to nobody.
pub(crate) fn twin(packets: &Arc<[Packet]>, burst: usize) -> MemoryPort<Replay> {
    let desk = Arc::new(Desk::default());
    desk.repeat(packets);
    MemoryPort::new(Replay::new(desk), burst)
}
