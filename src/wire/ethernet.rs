//! The Ethernet header with its 802.1Q tags (IEEE 802.3, 802.1Q).
//!
//! ```text
//!  0      6      12     14     16     18
//!  | dst  | src  | type | payload                untagged
//!  | dst  | src  | 8100 | tci  | type | payload  802.1Q; 88a8 in front for 802.1ad
//! ```

use crate::model::{Mac, VlanTag};

/// Length of the header without tags.
pub const HEADER: usize = 14;
/// Length of a tag.
pub const TAG: usize = 4;

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of an 802.1Q tag.
pub const VLAN: u16 = 0x8100;
/// EtherType of an 802.1ad service tag.
pub const SERVICE_VLAN: u16 = 0x88a8;

/// What the link layer says of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whom the frame is for.
    pub destination: Mac,
    /// Who sent it.
    pub source: Mac,
    /// The type behind all tags.
    pub ether_type: u16,
    /// Where the payload starts: 14, 18 or 22.
    pub payload: u16,
    /// The VLAN of the innermost tag, 0 to 4095; `None` if untagged.
    pub vlan: Option<u16>,
}

impl Link {
    /// Reads the header and up to two tags; `None` if the frame ends before the payload.
    #[must_use]
    #[inline(always)]
    pub fn read(head: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER] = head.first_chunk()?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *header;
        let mut link = Self {
            destination: Mac([d0, d1, d2, d3, d4, d5]),
            source: Mac([s0, s1, s2, s3, s4, s5]),
            ether_type: u16::from_be_bytes([t0, t1]),
            payload: 14,
            vlan: None,
        };
        while matches!(link.ether_type, VLAN | SERVICE_VLAN) && link.payload < 22 {
            let tag: &[u8; TAG] = head.get(usize::from(link.payload)..)?.first_chunk()?;
            link.vlan = Some(u16::from_be_bytes([tag[0], tag[1]]) & 0x0fff);
            link.ether_type = u16::from_be_bytes([tag[2], tag[3]]);
            link.payload += 4;
        }
        Some(link)
    }

    /// The tag that an answer to this frame carries.
    #[must_use]
    pub const fn tag(&self) -> VlanTag {
        VlanTag::of(self.vlan)
    }
}

/// Who has sent a frame; `None` if that is cut short.
#[must_use]
#[inline]
pub fn source(head: &[u8]) -> Option<Mac> {
    head.first_chunk::<12>()?.last_chunk().copied().map(Mac)
}

/// Whether a frame is for `mac` alone.
#[must_use]
#[inline(always)]
pub fn is_for(head: &[u8], mac: Mac) -> bool {
    // As one word: the two octets behind the address are shifted out.
    let [m0, m1, m2, m3, m4, m5] = mac.0;
    let ours = u64::from_be_bytes([m0, m1, m2, m3, m4, m5, 0, 0]);
    head.first_chunk().is_some_and(|start| u64::from_be_bytes(*start) & !0xffff == ours)
}

/// Writes both MAC addresses, destination first, at the start of a frame; no effect on a frame too short for them.
#[inline(always)]
pub fn set_addresses(head: &mut [u8], addresses: &[u8; 12]) {
    if let Some(start) = head.first_chunk_mut() {
        *start = *addresses;
    }
}

/// [`set_addresses`] of a frame from one MAC address to another.
pub fn set_ends(head: &mut [u8], from: Mac, to: Mac) {
    let [Mac([d0, d1, d2, d3, d4, d5]), Mac([s0, s1, s2, s3, s4, s5])] = [to, from];
    set_addresses(head, &[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5]);
}

/// Writes what follows the MAC addresses: an 802.1Q tag if `vlan` is given, then the type. `head` must be long enough
/// for it; otherwise there is no effect.
pub fn set_type(head: &mut [u8], vlan: Option<u16>, ether_type: u16) {
    let [high, low] = ether_type.to_be_bytes();
    match vlan {
        None => {
            if let Some(bytes) = head.get_mut(12..14) {
                bytes.copy_from_slice(&[high, low]);
            }
        }
        Some(id) => {
            let ([v0, v1], [i0, i1]) = (VLAN.to_be_bytes(), id.to_be_bytes());
            if let Some(bytes) = head.get_mut(12..18) {
                bytes.copy_from_slice(&[v0, v1, i0, i1, high, low]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_walked_to_the_type_behind_them() {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        frame.extend([0x88, 0xa8, 0x00, 0x05, 0x81, 0x00, 0x20, 0x64, 0x08, 0x00, 0x45]);
        let link = Link::read(&frame).unwrap();
        assert_eq!((link.ether_type, link.payload, link.vlan), (IPV4, 22, Some(100)));
        assert!(Link::read(&frame[..20]).is_none(), "cut inside a tag");
    }
}
