//! Flows by number: what their packets carry.

use evenkeel::dataplane::flow::NewFlow;
use evenkeel::model::{BackendId, Family, FiveTuple, NextHopId, Protocol, ServiceId, V4, V6};
use evenkeel::shared::{FlowState, Holds};

/// Backends that the flows go to in turn.
const BACKENDS: u32 = 64;

/// A family whose addresses can be counted.
pub(crate) trait Numbered: Family {
    /// The address `n` behind an IPv4 address, or behind what stands for it.
    fn nth(base: u32, n: u32) -> Self::Address;
}

impl Numbered for V4 {
    #[inline(always)]
    fn nth(base: u32, n: u32) -> u32 {
        base + n
    }
}

impl Numbered for V6 {
    #[inline(always)]
    fn nth(base: u32, n: u32) -> u128 {
        0x2001_0db8 << 96 | u128::from(base) << 32 | u128::from(n)
    }
}

const CLIENTS: u32 = 0x0a00_0000;
const STRANGERS: u32 = 0x0b00_0000;
const VIP: u32 = 0xcb00_7150;
const LOCAL_ADDRESSES: u32 = 0xac10_0800;
const SERVERS: u32 = 0xc0a8_0000;

/// Flows there can be at most: clients in 10.0.0.0/8.
pub(crate) const MOST: u32 = 1 << 24;

/// What the client of flow `n` (below [`MOST`]) sends.
#[inline(always)]
pub(crate) fn tuple<F: Numbered>(n: u32) -> FiveTuple<F> {
    from(CLIENTS, n)
}

/// What somebody sends who has no flow.
#[inline(always)]
pub(crate) fn stranger<F: Numbered>(n: u32) -> FiveTuple<F> {
    from(STRANGERS, n)
}

#[inline(always)]
fn from<F: Numbered>(clients: u32, n: u32) -> FiveTuple<F> {
    FiveTuple::new((F::nth(clients, n), 1024 + low(n)), (F::nth(VIP, 0), 53), Protocol::Udp)
}

/// Flow `n`, of UDP, on one of the backends.
pub(crate) fn flow<F: Numbered>(n: u32) -> NewFlow<F> {
    let (backend, lease) = (n % BACKENDS, n / BACKENDS);
    let local = (F::nth(LOCAL_ADDRESSES, lease >> 15), 4096 + low(lease));
    leased(tuple(n), FiveTuple::new(local, (F::nth(SERVERS, backend), 53), Protocol::Udp), backend)
}

/// The flow of packets that carry `tuple` and leave for a backend with `translated`.
pub(crate) fn leased<F: Family>(tuple: FiveTuple<F>, translated: FiveTuple<F>, backend: u32) -> NewFlow<F> {
    NewFlow {
        tuple,
        translated,
        service: ServiceId(0),
        backend: BackendId(backend),
        forward_hop: NextHopId(0),
        return_hop: NextHopId(1),
        route_epoch: 0,
        state: FlowState::Udp,
        displaced: false,
        one_way: false,
        holds: Holds::default(),
    }
}

/// The lowest 15 bits.
#[inline(always)]
const fn low(n: u32) -> u16 {
    let [.., high, low] = n.to_be_bytes();
    u16::from_be_bytes([high & 0x7f, low])
}
