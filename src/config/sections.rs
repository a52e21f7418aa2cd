//! The tables of a file with the keys that they take, and the keys that stand in the wrong table.
//!
//! TOML gives a key to the last header above it: a key of `[[service]]` that is written below `[service.health]` is lost
//! there. The message about such a key names the table that takes it, and the line to move it to.

use std::collections::BTreeMap;

use super::source::Source;
use super::suggest;

/// What is known of the tables while a file is read.
#[derive(Default)]
pub(super) struct Sections {
    /// The keys of each kind of table, by its name.
    keys: BTreeMap<&'static str, Vec<&'static str>>,
    /// Tables that stand in the file: place and name.
    tables: Vec<(usize, &'static str)>,
    unknown: Vec<UnknownKey>,
}

/// A key that its table does not take.
struct UnknownKey {
    at: usize,
    key: String,
    /// The name of its table.
    section: &'static str,
    /// Where that stands.
    section_at: usize,
}

impl Sections {
    /// Notes that a kind of table takes `keys`.
    pub(super) fn note_keys(&mut self, section: &'static str, mut keys: Vec<&'static str>) {
        keys.sort_unstable();
        self.keys.entry(section).or_insert(keys);
    }

    /// Notes that a table of this kind stands at octet `at`.
    pub(super) fn note_table(&mut self, section: &'static str, at: usize) {
        self.tables.push((at, section));
    }

    /// Notes a key at octet `at` that the table at `section_at` does not take.
    pub(super) fn note_unknown(&mut self, key: &str, at: usize, section: &'static str, section_at: usize) {
        self.unknown.push(UnknownKey { at, key: key.to_owned(), section, section_at });
    }

    /// A message for each unknown key, with its place.
    pub(super) fn messages(mut self, source: &Source<'_>) -> Vec<(usize, String)> {
        self.tables.sort_unstable();
        let message = |unknown: &UnknownKey| (unknown.at, self.message(unknown, source));
        self.unknown.iter().map(message).collect()
    }

    fn message(&self, unknown: &UnknownKey, source: &Source<'_>) -> String {
        let UnknownKey { key, section, .. } = unknown;
        let empty = Vec::new();
        let own = self.keys.get(section).unwrap_or(&empty);
        let near = suggest::nearest(key, own.iter().copied());
        let way_out = match self.owner(unknown, near.is_some()) {
            Some(owner) => format!("it is a key of {owner}: {}", self.move_to(owner, unknown, source)),
            None => {
                let near = near.map(|near| format!("did you mean \"{near}\"?"));
                let keys = own.join(", ");
                format!("{} the keys are {keys}", near.unwrap_or_else(|| "remove it,".to_owned()))
            }
        };
        format!("unknown key {key:?} in {section}; {way_out}")
    }

    /// The table that takes the key: one above or below, else the only one.
    fn owner(&self, unknown: &UnknownKey, looks_misspelt: bool) -> Option<&'static str> {
        let takes = |(name, keys): (&&'static str, &Vec<&'static str>)| {
            let is_header = name.starts_with('[') && *name != unknown.section;
            (is_header && keys.contains(&unknown.key.as_str())).then_some(*name)
        };
        let owners: Vec<&'static str> = self.keys.iter().filter_map(takes).collect();
        let above =
            owners.iter().filter(|owner| is_below(unknown.section, owner)).max_by_key(|name| name.len());
        let below = owners.iter().find(|owner| is_below(owner, unknown.section));
        let only = || owners.first().filter(|_| owners.len() == 1 && !looks_misspelt);
        above.or(below).or_else(only).copied()
    }

    fn move_to(&self, owner: &'static str, unknown: &UnknownKey, source: &Source<'_>) -> String {
        let line = |at| source.line(at);
        if is_below(unknown.section, owner) {
            let parent = self.tables.iter().rfind(|(at, name)| *name == owner && *at < unknown.at);
            let parent = parent.map_or(0, |(at, _)| *at);
            let child = self.tables.iter().find(|(at, name)| *at > parent && is_below(name, owner));
            return child.map_or_else(
                || format!("move it to {owner}"),
                |(at, name)| format!("move it above {name} (line {})", line(*at)),
            );
        }
        // Below the table that the key stands in, before the next of that kind.
        let end = self.tables.iter().find(|(at, name)| *name == unknown.section && *at > unknown.section_at);
        let end = end.map_or(usize::MAX, |(at, _)| *at);
        let from = if is_below(owner, unknown.section) { unknown.section_at } else { 0 };
        let place = self.tables.iter().find(|(at, name)| *name == owner && (from..end).contains(at));
        place.map_or_else(
            || format!("write it below a line {owner}"),
            |(at, _)| format!("move it below {owner} (line {})", line(*at)),
        )
    }
}

/// Whether `child` names a table below `parent`: `[service.health]` is below `[[service]]`.
fn is_below(child: &str, parent: &str) -> bool {
    let bare = |name: &'_ str| name.trim_matches(['[', ']']).to_owned();
    bare(child).strip_prefix(&bare(parent)).is_some_and(|rest| rest.starts_with('.'))
}
