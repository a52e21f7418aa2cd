//! Rates of what strangers can make a worker do.

use crate::dataplane::limits::TokenBucket;
use crate::model::PortId;
use crate::shared::PuntClass;
use crate::wire::craft::Refusal;

/// See the module.
pub(super) struct Rates {
    /// Of answers to packets that go no further.
    pub(super) refusals: TokenBucket,
    /// Of what is said about packets that are too large: a flood of what is refused must not keep those who send large
    /// packets from learning why these do not arrive.
    too_big: TokenBucket,
    /// Of answers to pings.
    pub(super) echoes: TokenBucket,
    /// Of resets for connections that end without their sides' doing.
    pub(super) farewells: TokenBucket,
    /// By port of arrival and class.
    punts: Box<[[TokenBucket; PuntClass::COUNT]]>,
}

impl Rates {
    /// Full buckets, for `ports` ports.
    pub(super) fn new(ports: usize) -> Self {
        Self {
            // RFC 1812, 4.3.2.8 and RFC 4443, 2.4 f ask for a limit; this one is far above what clients cause and far
            // below what a flood could use.
            refusals: TokenBucket::new(10_000, 1_000),
            too_big: TokenBucket::new(10_000, 1_000),
            echoes: TokenBucket::new(10_000, 1_000),
            // A backend with a million connections is buried in ten seconds, beside the traffic of the others.
            farewells: TokenBucket::new(200_000, 1_000),
            punts: vec![punts(); ports].into(),
        }
    }

    /// That of answers of a kind.
    pub(super) const fn refusal(&mut self, refusal: Refusal) -> &mut TokenBucket {
        match refusal {
            Refusal::Unreachable | Refusal::TimeExceeded | Refusal::HostUnreachable | Refusal::Reply(_) => {
                &mut self.refusals
            }
            Refusal::TooBig { .. } => &mut self.too_big,
        }
    }

    /// That of punts of a class that came in by a port.
    pub(super) fn punt(&mut self, class: PuntClass, port: PortId) -> &mut TokenBucket {
        &mut self.punts[port.index()][class as usize]
    }
}

/// Of a port. All together a Linux kernel takes in without strain: some 5 us each.
fn punts() -> [TokenBucket; PuntClass::COUNT] {
    PuntClass::ALL.map(|class| match class {
        // A thousand backends that are probed every 100 ms over HTTP send 40,000 packets a second.
        PuntClass::Probe => TokenBucket::new(50_000, 5_000),
        PuntClass::Neighbour | PuntClass::Routing => TokenBucket::new(20_000, 2_000),
        PuntClass::NeighbourGroup => TokenBucket::new(10_000, 1_000),
        PuntClass::Reply | PuntClass::Other => TokenBucket::new(20_000, 2_000),
    })
}
