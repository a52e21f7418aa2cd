//! The link layer of a frame that leaves: the tag of its next hop's network.

use crate::io::Frame;
use crate::model::VlanTag;
use crate::wire::ethernet::{self, HEADER, TAG};

/// Gives a frame of an IP packet of this version, which starts at `l3` and came with the tag `had`, the tag `wanted`.
/// False, and nothing changed, if there is no headroom for it.
#[inline]
pub(super) fn set<T: Frame>(
    frame: &mut T,
    version: u8,
    (l3, had): (u16, Option<u16>),
    wanted: VlanTag,
) -> bool {
    let keeps = match wanted {
        VlanTag::AsReceived => true,
        VlanTag::Untagged => had.is_none(),
        VlanTag::Id(id) => had == Some(id) && usize::from(l3) == HEADER + TAG,
    };
    keeps || change(frame, version, usize::from(l3), wanted)
}

#[cold]
fn change<T: Frame>(frame: &mut T, version: u8, had: usize, wanted: VlanTag) -> bool {
    let (octets, id) = match wanted {
        VlanTag::Id(id) => (HEADER + TAG, Some(id)),
        VlanTag::Untagged | VlanTag::AsReceived => (HEADER, None),
    };
    if had < octets {
        if !frame.prepend(octets - had) {
            return false;
        }
    } else {
        frame.trim_front(had - octets);
    }
    let ether_type = if version == 4 { ethernet::IPV4 } else { ethernet::IPV6 };
    ethernet::set_type(frame.head_mut(), id, ether_type);
    true
}
