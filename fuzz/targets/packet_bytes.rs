//! What the targets of `wire` share: sums by the book, so that noise gets past the checks.

/// RFC 1071 as it is written, one word at a time; nothing of the program's own arithmetic.
pub fn internet_sum(bytes: &[u8], start: u16) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        let (added, carry) = sum.overflowing_add(word);
        sum = added + u16::from(carry);
    }
    sum
}

/// Where the IP header of a frame stands.
pub fn ip_start(frame: &[u8]) -> usize {
    let mut at = 12;
    for _ in 0..2 {
        if !matches!(frame.get(at..at + 2), Some([0x81, 0x00] | [0x88, 0xa8])) {
            break;
        }
        at += 4;
    }
    at + 2
}

/// Puts the right checksum into an IPv4 header, if there is room for one.
pub fn mend_ipv4_header(frame: &mut [u8]) {
    let start = ip_start(frame);
    let Some(first) = frame.get(start) else { return };
    let length = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || length < 20 {
        return;
    }
    let Some(header) = frame.get_mut(start..start + length) else { return };
    header[10..12].fill(0);
    let sum = !internet_sum(header, 0);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}
