//! What is changed in the byte streams of a TCP connection between its two sides, for the flows where anything is: beside
//! the entries, as few flows need it.
//!
//! The numbers of a *direction* are those of the octets that its segments carry. Each side is told its own: what a
//! segment says of its own stream gets that direction's change, and what it says of the other's (acknowledgements, SACK
//! blocks, echoed timestamps) is changed back.

use bytemuck::Zeroable;

use crate::model::Direction;
use crate::wire::{Alteration, Renumber};

/// See the module. By direction: towards the backend, towards the client. All zeros change nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Zeroable)]
pub struct Stream {
    /// Added to sequence numbers, from the SYN on.
    pub shift: [u32; 2],
    /// Added to timestamps.
    pub clock: [u32; 2],
    /// The client's initial sequence number, as the client counts.
    pub isn: u32,
    /// Windows in segments of the direction become 2 to the power of this times themselves, -14 to 14.
    pub scale: [i8; 2],
    /// Octets that the backend got in front of the client's first.
    pub prefix: u8,
    /// The kind of option that tells the backend who the client is; 0 if none does.
    pub toa_kind: u8,
    /// Segments that still carry it, once the backend has sent something; see `dataplane::toa`.
    pub toa_left: u8,
    /// What is still to be done.
    pub tasks: Tasks,
    /// What is said to the backend in the client's place, if the handshake is ours.
    pub handshake: Handshake,
}

/// What a client said in a handshake that its backend did not hear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Zeroable)]
pub struct Handshake {
    /// Our first sequence number towards the client.
    pub sequence: u32,
    /// The client's clock, if it has one.
    pub clock: u32,
    /// Ours, which the client has echoed.
    pub echo: u32,
    /// The window that it acknowledged our SYN with.
    pub window: u16,
    /// The largest segment that it takes.
    pub mss: u16,
    /// Its other options, as the cookie has them.
    pub options: u8,
    /// SYNs sent to the backend that it has not answered.
    pub tries: u8,
}

/// What is still to be done for a flow, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Zeroable)]
pub struct Tasks(u8);

impl Tasks {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The prefix has to be in front of the client's first octet until the backend has acknowledged it.
    pub const PREFIX: Self = Self(1);
    /// Segments may still come that number what is in the prefix.
    pub const PREFIX_IN_SIGHT: Self = Self(2);
    /// The prefix leaves in a segment of its own, as one with data did not fit the way.
    pub const PREFIX_APART: Self = Self(4);
    /// The prefix has to be in front of every datagram.
    pub const PREFIX_EVERY: Self = Self(8);
    /// Segments of the client carry an option that says who it is.
    pub const TOA: Self = Self(16);
    /// One of them has.
    pub const TOA_TOLD: Self = Self(32);
    /// The backend's SYN, however often it comes, is acknowledged in the client's place.
    pub const ACKNOWLEDGE_SYN: Self = Self(64);
    /// The client has timestamps of ours and the backend offers none: the client's are taken out.
    pub const BLANK_TIMESTAMPS: Self = Self(128);

    /// Whether all of `tasks` are among these.
    #[must_use]
    pub const fn include(self, tasks: Self) -> bool {
        self.0 & tasks.0 == tasks.0
    }

    /// These and `tasks`.
    #[must_use]
    pub const fn and(self, tasks: Self) -> Self {
        Self(self.0 | tasks.0)
    }

    /// These without `tasks`.
    #[must_use]
    pub const fn without(self, tasks: Self) -> Self {
        Self(self.0 & !tasks.0)
    }
}

impl Stream {
    /// Whether its packets may take the fast path: nothing is changed in them, unless a client's options have to be looked
    /// at.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        let Self { shift, clock, isn: _, scale, prefix, toa_kind: _, toa_left: _, tasks, handshake: _ } =
            *self;
        (shift, clock, scale, prefix, tasks) == ([0; 2], [0; 2], [0; 2], 0, Tasks::NONE)
    }

    /// What a segment of `direction` needs. Those that carry the client's SYN, or the prefix itself, stand in front of what
    /// the prefix moves: they do not `follow` it.
    #[must_use]
    #[inline]
    pub fn alteration(&self, direction: Direction, follows: bool) -> Alteration {
        let (own, other) = (direction as usize, direction.opposite() as usize);
        let (sequence, acknowledgement) = match direction {
            Direction::Forward if follows => (Renumber::by(self.moved()), Renumber::by(self.back(other))),
            Direction::Forward => (Renumber::by(self.shift[own]), Renumber::by(self.back(other))),
            Direction::Return => (Renumber::by(self.shift[own]), self.as_the_client_counts()),
        };
        Alteration {
            sequence,
            acknowledgement,
            clock: self.clock[own],
            echo: self.clock[other].wrapping_neg(),
            blanks_timestamps: matches!(direction, Direction::Forward)
                && self.tasks.include(Tasks::BLANK_TIMESTAMPS),
            scale: self.scale[own],
            narrower: 0,
        }
    }

    /// What makes of a segment of `direction`, as it left us, what came to us: for errors that quote it. Windows stay, as
    /// nobody looks at those.
    #[must_use]
    pub fn undone(&self, direction: Direction) -> Alteration {
        let (own, other) = (direction as usize, direction.opposite() as usize);
        let (sequence, acknowledgement) = match direction {
            Direction::Forward => (self.as_the_client_counts(), Renumber::by(self.shift[other])),
            Direction::Return => (Renumber::by(self.back(own)), Renumber::by(self.moved())),
        };
        Alteration {
            sequence,
            acknowledgement,
            clock: self.clock[own].wrapping_neg(),
            echo: self.clock[other],
            blanks_timestamps: false,
            scale: 0,
            narrower: 0,
        }
    }

    /// Whether the backend has not shown yet that it knows who the client is.
    #[must_use]
    pub const fn has_to_introduce(&self) -> bool {
        self.tasks.include(Tasks::PREFIX) || self.tasks.include(Tasks::TOA)
    }

    /// Whether we acknowledge the backend's SYN in the client's place.
    #[must_use]
    pub const fn acknowledges_syn(&self) -> bool {
        self.tasks.include(Tasks::ACKNOWLEDGE_SYN)
    }

    /// The number of the client's first octet of data, as the client counts.
    #[must_use]
    pub const fn first_at_client(&self) -> u32 {
        self.isn.wrapping_add(1)
    }

    /// The number of what is in front of the client's data, as the backend counts.
    #[must_use]
    pub const fn first_at_backend(&self) -> u32 {
        self.first_at_client().wrapping_add(self.shift[Direction::Forward as usize])
    }

    /// What is added to the client's numbers behind the prefix.
    const fn moved(&self) -> u32 {
        self.shift[Direction::Forward as usize].wrapping_add(self.prefix as u32)
    }

    const fn back(&self, way: usize) -> u32 {
        self.shift[way].wrapping_neg()
    }

    /// Of the prefix the client knows nothing: what is in it is the client's first octet.
    fn as_the_client_counts(&self) -> Renumber {
        let in_sight = self.tasks.include(Tasks::PREFIX_IN_SIGHT);
        Renumber { by: self.moved().wrapping_neg(), least: in_sight.then_some(self.first_at_client()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Direction::{Forward, Return};

    fn stream() -> impl Strategy<Value = Stream> {
        any::<([u32; 2], [u32; 2], u32, u8)>().prop_map(|(shift, clock, isn, prefix)| Stream {
            shift,
            clock,
            isn,
            prefix,
            tasks: Tasks::PREFIX.and(Tasks::PREFIX_IN_SIGHT),
            ..Stream::default()
        })
    }

    proptest! {
        #[test]
        fn what_one_side_sends_the_other_acknowledges_and_neither_notices(
            stream in stream(),
            sent in 0_u32..1 << 30,
            clock: u32,
        ) {
            let client = stream.isn.wrapping_add(1).wrapping_add(sent);
            for (direction, number) in [(Forward, client), (Return, clock)] {
                let there = stream.alteration(direction, true);
                let back = stream.alteration(direction.opposite(), true);
                prop_assert_eq!(back.acknowledgement.of(there.sequence.of(number)), number);
                prop_assert_eq!(clock.wrapping_add(there.clock).wrapping_add(back.echo), clock);
                let quoted = stream.undone(direction);
                prop_assert_eq!(quoted.sequence.of(there.sequence.of(number)), number);
                let quoted = stream.undone(direction.opposite());
                prop_assert_eq!(quoted.acknowledgement.of(number), there.sequence.of(number));
            }
        }

        #[test]
        fn an_acknowledgement_of_a_part_of_the_prefix_is_none_of_the_clients_data(
            stream in stream(),
            part in 0_u32..256,
        ) {
            let part = part % (u32::from(stream.prefix) + 1);
            let first = stream.isn.wrapping_add(1);
            let seen = first.wrapping_add(stream.shift[0]).wrapping_add(part);
            prop_assert_eq!(stream.alteration(Return, true).acknowledgement.of(seen), first);
            prop_assert_eq!(stream.undone(Forward).sequence.of(seen), first);
        }
    }
}
