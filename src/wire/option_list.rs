//! All the options of a TCP header together (RFC 9293, 3.1): some taken out, another one put in front, and the header
//! given what comes of that, longer than before if need be.

use super::checksum::{self, Delta};
use super::options::kind::{
    AUTHENTICATION, END, MAXIMUM_SEGMENT_SIZE, MD5, NOTHING, SACK, SACK_PERMITTED, TIMESTAMPS, WINDOW_SCALE,
};
use super::options::option_from;
use super::{Network, Packet, Transport};

/// Octets of options at most (RFC 9293, 3.1: the data offset counts words of four octets in four bits).
pub const MOST: usize = 40;

/// The header without options.
const FIXED: usize = 20;

/// The options of one header, its padding included. A copy, so that they can be changed before it is known whether the
/// result fits.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    octets: [u8; MOST],
    /// A multiple of 4.
    length: usize,
}

/// Which options make room for another one.
#[derive(Clone, Copy)]
enum Room {
    /// Those that say nothing, and the padding.
    Nothing,
    /// Selective acknowledgements too: they are advice, and the sender repeats more without (RFC 2018, 8).
    Blocks,
    /// All but those by which both sides live.
    Others,
}

/// Whether an option of this kind and so many octets is one that a connection does not work as agreed without, whatever
/// its place: in the handshake (RFC 9293, 3.7.1; RFC 7323, 2.2 and 3.2; RFC 2018, 2) or in every segment.
fn is_agreed(kind: u8, octets: usize) -> bool {
    match kind {
        MAXIMUM_SEGMENT_SIZE => octets == 4,
        WINDOW_SCALE => octets == 3,
        SACK_PERMITTED => octets == 2,
        TIMESTAMPS => octets == 10,
        MD5 => octets == 18,
        AUTHENTICATION => octets >= 4,
        _ => false,
    }
}

impl Options {
    const NONE: Self = Self { octets: [END; MOST], length: 0 };

    /// Those of a TCP packet that was found in `head`, or of the first fragment of one; `None` if not all of them are in
    /// `head`.
    #[must_use]
    pub fn read(head: &[u8], packet: &Packet) -> Option<Self> {
        if packet.transport != Transport::Tcp {
            return None;
        }
        let header = head.get(usize::from(packet.layout.l4)..)?;
        let end = usize::from(header.get(12)? >> 4) * 4;
        let read = header.get(FIXED..end)?;
        let mut options = Self::NONE;
        options.octets.get_mut(..read.len())?.copy_from_slice(read);
        options.length = read.len();
        Some(options)
    }

    /// As they stand in a header.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets[..self.length.min(MOST)]
    }

    /// Takes out every option of `kind`, which leaves as many that say nothing, so that all others stay where they are. What
    /// stands where no receiver has to look, behind the end or an option that cannot be, becomes padding: not every
    /// receiver may stop there. Returns whether that has changed anything.
    pub fn take_out(&mut self, kind: u8) -> bool {
        let before = *self;
        let octets = &mut self.octets[..self.length.min(MOST)];
        let mut place = 0;
        while let Some((found, at)) = option_from(octets, place) {
            place = at.end;
            if found == kind {
                octets[at].fill(NOTHING);
            }
        }
        let rest = octets[place..].iter_mut().skip_while(|octet| **octet == NOTHING);
        rest.for_each(|octet| *octet = END);
        self.octets() != before.octets()
    }

    /// These options behind another one, whose octets are a multiple of 4. Where that is too much, options make room: see
    /// `Room`. `None` if it is too much even then.
    #[must_use]
    pub fn behind(&self, first: &[u8]) -> Option<Self> {
        let mut options = Self::NONE;
        options.push(first)?;
        if options.push(self.octets()).is_some() {
            return Some(options);
        }
        [Room::Nothing, Room::Blocks, Room::Others].into_iter().find_map(|room| self.within(first, room))
    }

    /// These options behind another one, without those that make room.
    fn within(&self, first: &[u8], room: Room) -> Option<Self> {
        let mut options = Self::NONE;
        options.push(first)?;
        let (mut place, mut kept) = (0, 0);
        while let Some((kind, at)) = option_from(self.octets(), place) {
            place = at.end;
            let stays = match room {
                Room::Nothing => true,
                Room::Blocks => kind != SACK,
                // A second one of the same kind says nothing that a receiver has to believe.
                Room::Others => is_agreed(kind, at.len()) && kept & 1_u32 << kind == 0,
            };
            if stays {
                kept |= 1_u32.checked_shl(kind.into()).unwrap_or(0);
                options.push(self.octets().get(at)?)?;
            }
        }
        // The header must not become shorter than it was: its frame only grows.
        options.length = options.length.next_multiple_of(4).max(self.length);
        Some(options)
    }

    fn push(&mut self, octets: &[u8]) -> Option<()> {
        let end = self.length + octets.len();
        self.octets.get_mut(self.length..end)?.copy_from_slice(octets);
        self.length = end;
        Some(())
    }

    /// Gives a header these options instead of those it has. `packet` is one that [`read`](Self::read) accepts, in a frame of
    /// which `head` is the first part, grown at the front by as many octets as there are more options now: `growth`. What
    /// those octets hold does not matter. Lengths, data offset and checksums follow. The packet as it stands then; `None`,
    /// and nothing changed, if it would be too long to be one.
    #[must_use]
    pub fn write(&self, head: &mut [u8], packet: &Packet, growth: u16) -> Option<Packet> {
        let (l4, front) = (usize::from(packet.layout.l4), usize::from(growth));
        let mut packet = *packet;
        packet.layout.end = packet.layout.end.checked_add(growth)?;
        let octets = FIXED + self.octets().len();
        let words = u8::try_from(octets / 4).ok()?;
        let before = sum(head.get(l4 + front..l4 + octets)?);
        head.copy_within(front..front + l4 + FIXED, 0);
        let header = head.get_mut(l4..l4 + octets)?;
        header[FIXED..].copy_from_slice(self.octets());
        header[12] = words << 4 | header[12] & 0x0f;
        // The pseudo-header counts the segment's octets.
        let change = Delta::between(before, sum(header) + u32::from(growth));
        let checksum = change.apply(u16::from_be_bytes([header[16], header[17]]));
        header[16..18].copy_from_slice(&checksum.to_be_bytes());
        if let Some(header) = head.get_mut(usize::from(packet.layout.l3)..) {
            lengthen(header, packet.network, growth);
        }
        Some(packet)
    }
}

/// The sum of what changes in a TCP header with its options: all behind the numbers but the checksum.
fn sum(header: &[u8]) -> u32 {
    let (flags, options) = (header.get(12..16), header.get(18..));
    checksum::sum(flags.unwrap_or_default()) + checksum::sum(options.unwrap_or_default())
}

/// Adds `growth` octets to the length in the IP header that `header` starts with.
fn lengthen(header: &mut [u8], network: Network, growth: u16) {
    let Some(header) = header.first_chunk_mut::<20>() else { return };
    let length = match network {
        Network::V4 => [2, 3],
        Network::V6 => [4, 5],
    };
    let before = u16::from_be_bytes(length.map(|at| header[at]));
    let after = before.saturating_add(growth);
    [header[length[0]], header[length[1]]] = after.to_be_bytes();
    if network == Network::V4 {
        let change = Delta::between(before.into(), after.into());
        let checksum = change.apply(u16::from_be_bytes([header[10], header[11]]));
        [header[10], header[11]] = checksum.to_be_bytes();
    }
}

#[cfg(test)]
mod tests;
