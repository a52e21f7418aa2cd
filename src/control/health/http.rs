//! The HTTP/1.1 GET of a probe (RFC 9110, RFC 9112), with bounded reads.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use super::ProbeFailure;
use super::ProbeResult;
use super::body::BodySearch;
use super::body::Found;
use super::body::Framing;
use crate::config::HttpProbe;

/// Asks, and judges the status of the final answer; then the body, as far as it takes to find the text in it.
pub(super) async fn get<S>(stream: &mut S, probe: &HttpProbe, host: &str) -> io::Result<ProbeResult>
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    let path = &probe.path;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: evenkeel\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut received = Vec::with_capacity(1024);
    let (code, framing) = match read_head(stream, &mut received).await? {
        Ok(head) => head,
        Err(failure) => return Ok(Err(failure)),
    };
    if !probe.status.iter().any(|range| range.contains(&code)) {
        return Ok(Err(ProbeFailure::Status(code)));
    }
    match &probe.body {
        None => Ok(Ok(())),
        Some(text) => find(stream, BodySearch::new(text, framing), &received).await,
    }
}

/// Reads the head of the final answer; what was received behind it stays in `received`.
async fn read_head<S: AsyncReadExt + Unpin>(
    stream: &mut S,
    received: &mut Vec<u8>,
) -> io::Result<Result<(u16, Framing), ProbeFailure>> {
    loop {
        match parse(received) {
            Head::Complete { code, octets, .. } if is_interim(code) => {
                received.drain(..octets);
                continue;
            }
            Head::Complete { code, octets, framing } => {
                received.drain(..octets);
                return Ok(Ok((code, framing)));
            }
            Head::Malformed => return Ok(Err(ProbeFailure::Malformed)),
            Head::Partial if received.len() >= LARGEST_HEAD => return Ok(Err(ProbeFailure::Malformed)),
            Head::Partial => {}
        }
        if read_some(stream, LARGEST_HEAD - received.len(), received).await? == 0 {
            return Ok(Err(ProbeFailure::Closed));
        }
    }
}

/// Reads on until the text is found or cannot come; `piece` is the start of the body.
async fn find<S: AsyncReadExt + Unpin>(
    stream: &mut S,
    mut search: BodySearch<'_>,
    piece: &[u8],
) -> io::Result<ProbeResult> {
    let mut piece = piece.to_vec();
    loop {
        match search.push(&piece) {
            Found::Yes => return Ok(Ok(())),
            Found::No => return Ok(Err(ProbeFailure::Mismatch)),
            Found::Malformed => return Ok(Err(ProbeFailure::Malformed)),
            Found::NotYet => {}
        }
        piece.clear();
        if read_some(stream, PIECE, &mut piece).await? == 0 {
            let whole = search.ends_by_close();
            return Ok(Err(if whole { ProbeFailure::Mismatch } else { ProbeFailure::Closed }));
        }
    }
}

/// Reads at most `room` octets; 0 at the end of the connection.
async fn read_some<S: AsyncReadExt + Unpin>(
    stream: &mut S,
    room: usize,
    into: &mut Vec<u8>,
) -> io::Result<usize> {
    match (&mut *stream).take(room as u64).read_buf(into).await {
        // Over TLS: many servers close without saying so first, which does no harm to a probe.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
        read => read,
    }
}

/// What a prefix of the answer is.
enum Head {
    Partial,
    Complete { code: u16, octets: usize, framing: Framing },
    Malformed,
}

fn parse(bytes: &[u8]) -> Head {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(octets)) => {
            match response.code {
                Some(code) => framing(code, response.headers)
                    .map_or(Head::Malformed, |framing| Head::Complete { code, octets, framing }),
                None => Head::Malformed,
            }
        }
        Ok(httparse::Status::Partial) => Head::Partial,
        Err(_) => Head::Malformed,
    }
}

/// RFC 9112, 6.3: by the status, by Transfer-Encoding, by Content-Length, else by the end of the connection.
fn framing(code: u16, headers: &[httparse::Header<'_>]) -> Option<Framing> {
    if matches!(code, 204 | 304) {
        return Some(Framing::Length(0));
    }
    let last = |name: &str| {
        let value = headers.iter().rev().find(|header| header.name.eq_ignore_ascii_case(name))?.value;
        value.rsplit(|octet| *octet == b',').next().map(<[u8]>::trim_ascii)
    };
    if let Some(coding) = last("transfer-encoding") {
        let chunked = coding.eq_ignore_ascii_case(b"chunked");
        return Some(if chunked { Framing::Chunked } else { Framing::Close });
    }
    match last("content-length") {
        None => Some(Framing::Close),
        Some(length) => std::str::from_utf8(length).ok()?.parse().ok().map(Framing::Length),
    }
}

/// RFC 9110, 15.2: an interim answer precedes the final one; 101 ends HTTP.
const fn is_interim(code: u16) -> bool {
    matches!(code, 100..=199) && code != 101
}

/// Octets; what nginx and HAProxy accept by default lies below.
const LARGEST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 128;
/// Octets of a body that are read at once.
const PIECE: usize = 16 * 1024;
