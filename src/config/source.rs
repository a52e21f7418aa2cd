//! A file's text, and the lines and columns in it.

use super::error::Position;

/// Begins some files written on Windows; no character of the first line.
pub(super) const BYTE_ORDER_MARK: char = '\u{feff}';

/// A file that has been read.
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
    /// Where each line starts, in octets; never empty.
    line_starts: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(super) fn new(name: &'a str, text: &'a str) -> Self {
        let first = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
        let later = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { name, text, line_starts: std::iter::once(first).chain(later).collect() }
    }

    /// Line and column of the octet at `at`; past the end is the end.
    pub(super) fn position(&self, at: usize) -> Position {
        let line = self.line(at);
        let start = self.line_starts[line - 1];
        let at = self.text.floor_char_boundary(at).max(start);
        Position { line, column: 1 + self.text[start..at].chars().count() }
    }

    /// The line of the octet at `at`, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at).max(1)
    }

    /// Where `line` (from 1) starts, in octets; the end of the text for lines after the last.
    pub(super) fn start_of(&self, line: usize) -> usize {
        self.line_starts.get(line - 1).copied().unwrap_or(self.text.len())
    }

    /// How many lines there are; after the last line feed comes one more.
    pub(super) fn lines(&self) -> usize {
        self.line_starts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_leave_out_the_byte_order_mark() {
        let source = Source::new("f", "\u{feff}a = 1\r\n\té = 2\n");
        let place = |at| {
            let Position { line, column } = source.position(at);
            (line, column)
        };
        assert_eq!(place(0), (1, 1));
        assert_eq!(place(3), (1, 1));
        assert_eq!(place(7), (1, 5));
        let e = source.text.find('é').unwrap();
        assert_eq!(place(e), (2, 2));
        assert_eq!(place(e + 1), (2, 2), "inside a character is its start");
        assert_eq!(place(e + 2), (2, 3));
        assert_eq!(place(1000), (3, 1));
    }
}
