//! The body of an HTTP/1.1 answer, as far as it takes to find a text in it (RFC 9112, 6 and 7.1).

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many octets.
    Length(u64),
    /// After a chunk of size 0.
    Chunked,
    /// When the connection closes.
    Close,
}

/// What is known after a piece of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The text is there.
    Yes,
    /// The text is not there, and nothing more is to be read.
    No,
    /// More is needed.
    NotYet,
    /// This is not a body.
    Malformed,
}

/// A search for a text in a body that comes in pieces.
#[derive(Debug)]
pub(super) struct BodySearch<'a> {
    text: &'a [u8],
    framing: Framing,
    chunk: Chunk,
    /// The body so far, without what frames it.
    body: Vec<u8>,
}

/// Where in a chunked body the next octet is.
#[derive(Debug)]
enum Chunk {
    /// In the line with a chunk's size: what there is of it.
    Size(Vec<u8>),
    /// In a chunk, with so many octets to come.
    Data(u64),
    /// In the line end behind a chunk.
    End,
}

impl<'a> BodySearch<'a> {
    pub(super) fn new(text: &'a str, framing: Framing) -> Self {
        Self { text: text.as_bytes(), framing, chunk: Chunk::Size(Vec::new()), body: Vec::new() }
    }

    /// Whether the end of the connection is the end of the body.
    pub(super) fn ends_by_close(&self) -> bool {
        self.framing == Framing::Close
    }

    /// Takes in the next piece.
    pub(super) fn push(&mut self, piece: &[u8]) -> Found {
        if self.text.is_empty() {
            return Found::Yes;
        }
        // A match may begin in what was searched before.
        let from = self.body.len().saturating_sub(self.text.len() - 1);
        let end = match &mut self.framing {
            Framing::Close => self.take(piece),
            Framing::Length(left) => {
                let part = usize::try_from(*left).map_or(piece, |left| &piece[..left.min(piece.len())]);
                *left -= part.len() as u64;
                let over = *left == 0;
                self.take(part) || over
            }
            Framing::Chunked => match self.take_chunks(piece) {
                Some(end) => end,
                None => return Found::Malformed,
            },
        };
        if self.body[from..].windows(self.text.len()).any(|window| window == self.text) {
            return Found::Yes;
        }
        if end { Found::No } else { Found::NotYet }
    }

    /// Keeps octets of the body; whether that was all there is room for.
    fn take(&mut self, octets: &[u8]) -> bool {
        let room = MOST_BODY - self.body.len();
        self.body.extend_from_slice(&octets[..room.min(octets.len())]);
        self.body.len() == MOST_BODY
    }

    /// As [`Self::take`], of a chunked body: whether this is the end; `None` if it is not chunked.
    fn take_chunks(&mut self, mut piece: &[u8]) -> Option<bool> {
        while let Some((&octet, rest)) = piece.split_first() {
            match &mut self.chunk {
                Chunk::Data(left) => {
                    let part = usize::try_from(*left).map_or(piece, |left| &piece[..left.min(piece.len())]);
                    *left -= part.len() as u64;
                    if *left == 0 {
                        self.chunk = Chunk::End;
                    }
                    if self.take(part) {
                        return Some(true);
                    }
                    piece = &piece[part.len()..];
                }
                Chunk::End => {
                    match octet {
                        b'\r' => {}
                        b'\n' => self.chunk = Chunk::Size(Vec::new()),
                        _ => return None,
                    }
                    piece = rest;
                }
                Chunk::Size(line) if octet == b'\n' => {
                    match chunk_size(line)? {
                        // Trailers may follow; no text of the body is in them.
                        0 => return Some(true),
                        size => self.chunk = Chunk::Data(size),
                    }
                    piece = rest;
                }
                Chunk::Size(line) if line.len() == LONGEST_SIZE => return None,
                Chunk::Size(line) => {
                    line.push(octet);
                    piece = rest;
                }
            }
        }
        Some(false)
    }
}

/// The size at the start of a chunk's line; an extension may follow behind a semicolon.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|octet| *octet == b';').next()?.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Octets of a body that are read.
const MOST_BODY: usize = 64 * 1024;
/// Octets of a line with a chunk's size, its extension included.
const LONGEST_SIZE: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn search(text: &str, framing: Framing, pieces: &[&[u8]]) -> Found {
        let mut search = BodySearch::new(text, framing);
        let mut found = Found::NotYet;
        for piece in pieces {
            found = search.push(piece);
            if found != Found::NotYet {
                break;
            }
        }
        found
    }

    #[test]
    fn a_text_is_found_whatever_frames_the_body() {
        for (description, framing, body, expected) in [
            ("by length", Framing::Length(10), "all is ok.", Found::Yes),
            ("behind the length", Framing::Length(3), "all is ok.", Found::No),
            ("before the end", Framing::Close, "all is ok.", Found::Yes),
            ("not there", Framing::Close, "all is lost", Found::NotYet),
            ("in chunks", Framing::Chunked, "5\r\nall i\r\n5;x=y\r\ns ok.\r\n0\r\n\r\n", Found::Yes),
            ("with bare line feeds", Framing::Chunked, "A\nall is ok.\n0\n\n", Found::Yes),
            ("not in chunks", Framing::Chunked, "3\r\nall\r\n0\r\nis ok: 1\r\n\r\n", Found::No),
            ("no size", Framing::Chunked, "all is ok\r\n", Found::Malformed),
            ("a negative size", Framing::Chunked, "-1\r\nis ok", Found::Malformed),
            ("too large a size", Framing::Chunked, "10000000000000000\r\nis ok", Found::Malformed),
            ("no line end", Framing::Chunked, "3\r\nall is ok", Found::Malformed),
        ] {
            let octets: Vec<_> = body.as_bytes().chunks(1).collect();
            assert_eq!(search("is ok", framing, &[body.as_bytes()]), expected, "{description}");
            assert_eq!(search("is ok", framing, &octets), expected, "{description}, octet by octet");
        }
    }

    #[test]
    fn no_more_than_64_kib_are_searched() {
        let mut body = vec![b'x'; MOST_BODY - 2];
        body.extend_from_slice(b"okok");
        assert_eq!(search("ok", Framing::Close, &[&body]), Found::Yes);
        body.insert(0, b'x');
        assert_eq!(search("ok", Framing::Close, &[&body]), Found::No);
    }

    proptest! {
        #[test]
        fn the_cut_into_pieces_does_not_matter(
            body in "[ab]{0,40}", text in "[ab]{1,4}", size in 1_usize..9, cut in 1_usize..9,
        ) {
            let mut chunked = Vec::new();
            for chunk in body.as_bytes().chunks(size) {
                chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                chunked.extend_from_slice(chunk);
                chunked.extend_from_slice(b"\r\n");
            }
            chunked.extend_from_slice(b"0\r\n\r\n");
            let pieces: Vec<_> = chunked.chunks(cut).collect();
            let expected = if body.contains(&text) { Found::Yes } else { Found::No };
            prop_assert_eq!(search(&text, Framing::Chunked, &pieces), expected);
        }

        #[test]
        fn no_octets_make_it_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
            for framing in [Framing::Close, Framing::Chunked, Framing::Length(50)] {
                let pieces: Vec<_> = pieces.iter().map(Vec::as_slice).collect();
                search("a", framing, &pieces);
            }
        }
    }
}
