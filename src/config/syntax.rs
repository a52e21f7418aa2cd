//! Text that is not TOML: every such place is reported and replaced, so that the rest can be read.
//!
//! The parser recovers by itself, but a bracket left open then swallows the following lines and complains about each.
//! So only its first error counts; the lines at fault are replaced by spaces (and a value by 0), which keeps all
//! positions, and the parser starts again.

use std::borrow::Cow;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::report::Report;
use super::source::Source;

/// Broken statements after which the search ends: such a file is of another kind.
const MAX_STATEMENTS: usize = 50;

/// The text of `source` with every statement that is not TOML replaced, after reporting it.
pub(super) fn repaired<'a>(source: &Source<'a>, report: &Report<'_>) -> Cow<'a, str> {
    let mut text = Cow::Borrowed(source.text);
    for _ in 0..MAX_STATEMENTS {
        let (tree, errors) = DeTable::parse_recoverable(&text);
        let first = errors.iter().map(|e| (e.span().map_or(0, |span| span.start), e.message())).min();
        let Some((at, message)) = first else {
            return text;
        };
        let lines = Lines { source, text: &text };
        let fault = Fault::new(&lines, tree.get_ref(), at, message);
        let stands_in = fault.stand_in(&lines, report);
        report.wrong(fault.at, fault.message);
        if stands_in == text[fault.statement.clone()] {
            return text;
        }
        let rest = &text[fault.statement.end..];
        text = Cow::Owned(format!("{}{stands_in}{rest}", &text[..fault.statement.start]));
    }
    text
}

/// A place that is not TOML.
struct Fault {
    at: usize,
    message: String,
    /// The lines at fault, in octets.
    statement: Range<usize>,
    lost: Lost,
}

/// What is lost with a statement at fault.
enum Lost {
    /// What was a repetition.
    Nothing,
    /// A value; its key can be read.
    Value,
    /// Keys, or whole tables.
    Part,
}

impl Fault {
    /// The fault behind the parser's first error, found at octet `at` with the words `message`.
    fn new(lines: &Lines<'_>, tree: &DeTable<'_>, at: usize, message: &str) -> Self {
        let line = lines.source.line(at);
        let value = enclosing(tree, at);
        let first = value.as_ref().map_or(line, |(span, _)| lines.source.line(span.start));
        if let Some((span, value)) = &value {
            let (at, lost) = (span.start, Lost::Value);
            if first < line && value.is_str() {
                let message = "string is not closed; write three quotes at its end".to_owned();
                return Self { at, message, statement: lines.octets(first..first + 1), lost };
            }
            let runs_on = first < line && (span.end == lines.text.len() || lines.is_statement(line));
            if runs_on
                || message.starts_with("unclosed array,")
                || message.starts_with("unclosed inline table")
            {
                let (what, bracket) = if value.is_table() { ("table", '}') } else { ("list", ']') };
                let message = format!("{what} is not closed; write \"{bracket}\" at its end");
                return Self { at, message, statement: lines.octets(first..line.max(first + 1)), lost };
            }
        }
        let repeated = message.starts_with("duplicate key");
        let (statement, lost) = match lines.header(line) {
            Some(name) => (line..lines.end_of_table(line, name), Lost::Part),
            None if repeated => (line..line + 1, Lost::Nothing),
            None if first == line => (line..line + 1, Lost::Value),
            None => (line..line + 1, Lost::Part),
        };
        let token = value.and_then(|(span, _)| lines.text.get(span)).unwrap_or_default();
        let message = if repeated { duplicate(lines, at) } else { explained(lines, at, message, token) };
        Self { at, message, statement: lines.octets(statement), lost }
    }

    /// What takes the place of the statement, as long as it is: spaces, after the key with a 0 if the key is known.
    fn stand_in(&self, lines: &Lines<'_>, report: &Report<'_>) -> String {
        let blank: String = lines.text[self.statement.clone()].chars().map(blanked).collect();
        match self.lost {
            Lost::Nothing => return blank,
            Lost::Part => {}
            Lost::Value => {
                let line = lines.source.line(self.statement.start);
                let text = lines.line(line);
                if let Some(key) = lines.key(line)
                    && let Some(start) = text.find(key)
                    && let end = start + key.len()
                    && end + 2 <= text.trim_end().len()
                {
                    report.set_unreadable(self.statement.start + end + 1);
                    return format!("{}{key}=0{}", &blank[..start], &blank[end + 2..]);
                }
            }
        }
        report.set_broken();
        blank
    }
}

/// What the parser's `message` means, and the way out. `token`: the value that the error lies in.
fn explained(lines: &Lines<'_>, at: usize, message: &str, token: &str) -> String {
    let octet = lines.text.as_bytes().get(at);
    let at_end_of_line = matches!(octet, None | Some(b'\r' | b'\n'));
    if message.starts_with("key with no value") {
        let spaced = lines.line(lines.source.line(at)).contains('=');
        let way_out = if spaced {
            "key with a space in it; remove the space"
        } else {
            "key without a value; write it as key = value"
        };
        return way_out.to_owned();
    }
    if message.starts_with("unclosed table") || message.starts_with("unclosed array table") {
        return "header is not closed; write the closing bracket".to_owned();
    }
    if message.starts_with("missing comma") {
        return "comma is missing; write one between elements".to_owned();
    }
    if message.starts_with("missing escaped value") {
        return "backslash without a meaning; write two for one, or use single quotes".to_owned();
    }
    if message.starts_with("unquoted keys cannot be empty") && octet == Some(&b'=') {
        return "value without a key; write it as key = value".to_owned();
    }
    if token.is_empty() && at_end_of_line {
        return "key without a value; write one after the equals sign".to_owned();
    }
    if token.starts_with(['"', '\'']) && at_end_of_line {
        return "string is not closed; write a quote at its end".to_owned();
    }
    if token.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '/' | ':' | '.' | '-')) {
        return format!("{token} is no value of TOML; if it is a string, put it in quotes: \"{token}\"");
    }
    format!("not TOML: {message}; see https://toml.io for the syntax")
}

/// A key or a table that stands a second time, at `at`.
fn duplicate(lines: &Lines<'_>, at: usize) -> String {
    let line = lines.source.line(at);
    if let Some(name) = lines.header(line) {
        let same = |earlier: &usize| lines.header(*earlier) == Some(name);
        let brackets = |line| lines.line(line).trim_start().starts_with("[[");
        return match (1..line).rev().find(same) {
            Some(earlier) if brackets(earlier) == brackets(line) => {
                format!("table [{name}] is written twice, first on line {earlier}; merge the two")
            }
            Some(earlier) => {
                format!(
                    "[{name}] and [[{name}]] exclude each other (line {earlier}); write all of them alike"
                )
            }
            None => format!("\"{name}\" exists already and is no such table; rename or remove one"),
        };
    }
    let rest = &lines.text[lines.text.floor_char_boundary(at)..];
    let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '=' | '.')).unwrap_or(rest.len());
    let key = &rest[..end];
    let same = |earlier: &usize| lines.key(*earlier) == Some(key);
    let earlier = (1..line).rev().take_while(|line| lines.header(*line).is_none()).find(same);
    let place = earlier.map_or_else(String::new, |line| format!(", first on line {line}"));
    format!("key {key} is written twice{place}; remove one")
}

/// The value written as a value (not as tables under headers) around octet `at`, with its place.
fn enclosing<'t>(table: &'t DeTable<'_>, at: usize) -> Option<(Range<usize>, &'t DeValue<'t>)> {
    table.iter().find_map(|(key, value)| {
        let span = value.span();
        // Under a header, the span is the header's, and starts before the key in it or (dotted) with the key.
        if span.start > key.span().start {
            return (span.start <= at && at <= span.end).then(|| (span, value.get_ref()));
        }
        match value.get_ref() {
            DeValue::Table(table) => enclosing(table, at),
            DeValue::Array(tables) => tables
                .iter()
                .filter_map(|table| table.get_ref().as_table())
                .find_map(|table| enclosing(table, at)),
            _ => None,
        }
    })
}

/// A text line by line, without a parser.
struct Lines<'a> {
    source: &'a Source<'a>,
    text: &'a str,
}

impl<'a> Lines<'a> {
    /// The octets of a range of lines.
    fn octets(&self, lines: Range<usize>) -> Range<usize> {
        self.source.start_of(lines.start)..self.source.start_of(lines.end)
    }

    fn line(&self, line: usize) -> &'a str {
        &self.text[self.octets(line..line + 1)]
    }

    /// The name in a header.
    fn header(&self, line: usize) -> Option<&'a str> {
        let name = self.line(line).trim_start().strip_prefix('[')?;
        let name = name.strip_prefix('[').unwrap_or(name).trim_start();
        let end = name.find(|c| !is_key(c)).unwrap_or(name.len());
        Some(&name[..end]).filter(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()))
    }

    /// The key before an equals sign.
    fn key(&self, line: usize) -> Option<&'a str> {
        let (key, _) = self.line(line).split_once('=')?;
        Some(key.trim()).filter(|key| !key.is_empty() && key.chars().all(is_key))
    }

    fn is_statement(&self, line: usize) -> bool {
        self.key(line).is_some() || self.header(line).is_some()
    }

    /// The line after the last of the table `name` with its header on `line`, and of all tables in it.
    fn end_of_table(&self, line: usize, name: &str) -> usize {
        let inside = |other: &str| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        let outside = |line: &usize| self.header(*line).is_some_and(|other| !inside(other));
        let lines = self.source.lines();
        (line + 1..=lines).find(outside).unwrap_or(lines + 1)
    }
}

fn is_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// As many octets of spaces; line feeds stay.
fn blanked(c: char) -> &'static str {
    match (c, c.len_utf8()) {
        ('\n', _) => "\n",
        (_, 1) => " ",
        (_, 2) => "  ",
        (_, 3) => "   ",
        (_, _) => "    ",
    }
}
