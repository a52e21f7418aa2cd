//! The page that a service without a backend shows.

/// The response, head and body: 503 (RFC 9110, 15.6.4), when to come again (10.2.3), and no more requests on this
/// connection (RFC 9112, 9.6). Without a date, which it may lack (RFC 9110, 6.6.1): the data plane has no calendar.
pub(super) const PAGE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
Content-Type: text/plain; charset=utf-8\r\n\
Content-Length: 52\r\n\
Cache-Control: no-store\r\n\
Retry-After: 5\r\n\
Connection: close\r\n\
\r\n\
No server is available now. Please try again later.\n";

/// Its head alone, which answers HEAD (RFC 9110, 9.3.2).
pub(super) const HEAD: &[u8] = PAGE.split_at(head_octets()).0;

// RFC 9293, 3.7.1: what every receiver takes in one segment.
const _: () = assert!(PAGE.len() <= 536, "the page fits one segment to any client");

/// Up to the empty line.
const fn head_octets() -> usize {
    let mut at = 4;
    while !matches!(PAGE.split_at(at - 4).1.first_chunk(), Some(b"\r\n\r\n")) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_as_long_as_its_head_says() {
        let text = str::from_utf8(PAGE).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(HEAD, [head, "\r\n\r\n"].concat().as_bytes());
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        assert_eq!(length.parse(), Ok(body.len()));
        assert!(head.lines().all(|line| line.len() < 80 && !line.starts_with(' ')), "{head}");
    }
}
