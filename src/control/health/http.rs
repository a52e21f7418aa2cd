//! The HTTP/1.1 GET of a probe (RFC 9110, RFC 9112), with a bounded read.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use super::ProbeFailure;

/// Asks for `path` and returns the status code of the final answer, once its head is complete. The body is not read.
pub(super) async fn get<S>(stream: &mut S, path: &str, host: &str) -> io::Result<Result<u16, ProbeFailure>>
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: evenkeel\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(1024);
    loop {
        match parse(&head) {
            Head::Complete { code, octets } if is_interim(code) => {
                head.drain(..octets);
                continue;
            }
            Head::Complete { code, .. } => return Ok(Ok(code)),
            Head::Malformed => return Ok(Err(ProbeFailure::Malformed)),
            Head::Partial if head.len() >= LARGEST_HEAD => return Ok(Err(ProbeFailure::Malformed)),
            Head::Partial => {}
        }
        let room = (LARGEST_HEAD - head.len()) as u64;
        if (&mut *stream).take(room).read_buf(&mut head).await? == 0 {
            return Ok(Err(ProbeFailure::Closed));
        }
    }
}

/// What a prefix of the answer is.
enum Head {
    Partial,
    Complete { code: u16, octets: usize },
    Malformed,
}

fn parse(bytes: &[u8]) -> Head {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(octets)) => {
            response.code.map_or(Head::Malformed, |code| Head::Complete { code, octets })
        }
        Ok(httparse::Status::Partial) => Head::Partial,
        Err(_) => Head::Malformed,
    }
}

/// RFC 9110, 15.2: an interim answer precedes the final one; 101 ends HTTP.
const fn is_interim(code: u16) -> bool {
    matches!(code, 100..=199) && code != 101
}

/// Octets; what nginx and HAProxy accept by default lies below.
const LARGEST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 128;
