//! Traffic made before: the same packets over and over, or once, with what leaves kept for whoever asks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use evenkeel::io::Frame;

use super::packet::Packet;
use super::port::{MemoryFrame, Traffic};

/// The port's side of a [`Desk`].
pub(crate) struct Replay {
    desk: Arc<Desk>,
    /// Orders followed.
    followed: u64,
    order: Order,
    next: usize,
}

/// Where a port that a worker owns is told what to play.
#[derive(Default)]
pub(crate) struct Desk {
    orders: AtomicU64,
    order: Mutex<Order>,
    sent: Mutex<Vec<Packet>>,
}

/// What to play.
#[derive(Clone, Default)]
struct Order {
    /// In the order in which they arrive: memory is read as a card would write it, one after the other.
    packets: Arc<[Packet]>,
    /// From the start again when they have all been.
    endless: bool,
    /// What leaves is kept.
    recorded: bool,
}

impl Desk {
    /// Plays `packets` for ever.
    pub(crate) fn repeat(&self, packets: &Arc<[Packet]>) {
        self.give(Order { packets: Arc::clone(packets), endless: true, recorded: false });
    }

    /// Plays `packets` for ever, and keeps what leaves.
    pub(crate) fn repeat_recorded(&self, packets: &Arc<[Packet]>) {
        self.give(Order { packets: Arc::clone(packets), endless: true, recorded: true });
    }

    /// Plays `packets` once, and keeps what leaves.
    pub(crate) fn once(&self, packets: Vec<Packet>) {
        self.give(Order { packets: packets.into(), endless: false, recorded: true });
    }

    /// Packets that left since the last call.
    pub(crate) fn take_sent(&self) -> Vec<Packet> {
        std::mem::take(&mut *locked(&self.sent))
    }

    fn give(&self, order: Order) {
        *locked(&self.order) = order;
        // Release; pairs with the Acquire load in `Replay::begin`.
        self.orders.fetch_add(1, Ordering::Release);
    }
}

impl Replay {
    pub(crate) fn new(desk: Arc<Desk>) -> Self {
        Self { desk, followed: 0, order: Order::default(), next: 0 }
    }

    #[cold]
    fn follow(&mut self, orders: u64) {
        self.followed = orders;
        self.order = locked(&self.desk.order).clone();
        self.next = 0;
    }
}

impl Traffic for Replay {
    #[inline]
    fn begin(&mut self) -> bool {
        // Acquire; pairs with the increment in `Desk::give`.
        let orders = self.desk.orders.load(Ordering::Acquire);
        if orders != self.followed {
            self.follow(orders);
            return true;
        }
        false
    }

    #[inline]
    fn next(&mut self) -> Option<Packet> {
        if self.next == self.order.packets.len() && self.order.endless {
            self.next = 0;
        }
        let packet = *self.order.packets.get(self.next)?;
        self.next += 1;
        Some(packet)
    }

    #[inline]
    fn sent(&mut self, frames: &[MemoryFrame]) {
        if self.order.recorded {
            locked(&self.desk.sent).extend(frames.iter().map(|frame| Packet::of(frame.head())));
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with it")
}
