//! `allow` and `deny`: lists that do not contradict each other, and the files that hold more of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::Position;
use crate::config::fields;
use crate::config::raw;
use crate::config::report::Report;
use crate::config::table::At;
use crate::config::table::Entry;
use crate::model::AccessRules;
use crate::model::Cidr;

/// Wrong lines of one file that are told of.
const MOST_WRONG_LINES: usize = 100;

/// Where a prefix stands.
#[derive(Clone, Debug)]
enum Place {
    /// In the configuration.
    Here(usize),
    /// In a file of prefixes, in this line.
    File(Arc<str>, usize),
}

/// Who is let in by a service; everybody if it does not say. `None` after an error.
pub(super) fn check(raw: raw::Access, report: &Report<'_>) -> Option<Option<Arc<AccessRules>>> {
    let raw::Access { allow, deny } = raw;
    let is_given = |list: &raw::AccessList| {
        !(matches!(list.prefixes, Entry::Absent) && matches!(list.file, Entry::Absent))
    };
    let (allows, denies) = (is_given(&allow), is_given(&deny));
    // Both are read before an error in either ends it.
    let lists = [(true, prefixes("allow", allow, report)), (false, prefixes("deny", deny, report))];
    let mut rules: BTreeMap<Cidr, (bool, Place)> = BTreeMap::new();
    let mut whole = true;
    for (allowed, list) in lists {
        let Some(list) = list else {
            whole = false;
            continue;
        };
        for (prefix, place) in list {
            match rules.get(&prefix) {
                Some((other, at)) if *other != allowed => {
                    wrong(
                        &place,
                        format!(
                            "{prefix} is both allowed ({}) and denied; remove one",
                            described(at, report)
                        ),
                        report,
                    );
                }
                // Lists from several sources have some prefixes twice.
                Some(_) => {}
                None => {
                    rules.insert(prefix, (allowed, place));
                }
            }
        }
    }
    if !whole {
        return None;
    }
    let rules = rules.into_iter().map(|(prefix, (allowed, _))| (prefix, allowed)).collect();
    Some((allows || denies).then(|| Arc::new(AccessRules { rules, otherwise: !allows })))
}

/// The prefixes of a list with their places.
fn prefixes(key: &str, list: raw::AccessList, report: &Report<'_>) -> Option<Vec<(Cidr, Place)>> {
    let raw::AccessList { prefixes, file } = list;
    let at = prefixes.place().or_else(|| file.place());
    let given = prefixes.or(crate::config::value::List::default());
    let of_file = match file {
        Entry::Absent => Some(Vec::new()),
        Entry::Wrong => None,
        Entry::Given(file) => read(key, &file, report),
    };
    let given = given.filter(|list| list.whole)?;
    let here = given.items.into_iter().map(|At { at, value }| (value, Place::Here(at)));
    let all: Vec<_> = here.chain(of_file?).collect();
    if let Some(at) = at.filter(|_| all.is_empty() && key == "allow") {
        report.wrong(at, "allow has no prefix, and so lets nobody in; add some, or remove it");
    }
    Some(all)
}

/// The prefixes of a file: one a line, comments behind `#` or `;`.
fn read(key: &str, file: &At<PathBuf>, report: &Report<'_>) -> Option<Vec<(Cidr, Place)>> {
    let name: Arc<str> = file.value.display().to_string().into();
    let text = match std::fs::read_to_string(&file.value) {
        Ok(text) => text,
        Err(error) => {
            report.wrong(file.at, format!("{key}_file {name:?} cannot be read ({error}); check the path"));
            return None;
        }
    };
    let (mut found, mut errors) = (Vec::new(), 0);
    for (line, text) in (1..).zip(text.lines()) {
        let content = text.split(['#', ';']).next().unwrap_or_default();
        let prefix = content.trim();
        if prefix.is_empty() {
            continue;
        }
        match fields::prefix_of(prefix) {
            Ok(prefix) => found.push((prefix, Place::File(Arc::clone(&name), line))),
            Err(message) => {
                errors += 1;
                if errors <= MOST_WRONG_LINES {
                    let column = 1 + content.chars().take_while(|c| c.is_whitespace()).count();
                    report.wrong_in(&name, Position { line, column }, message);
                }
            }
        }
    }
    if errors > MOST_WRONG_LINES {
        let more = errors - MOST_WRONG_LINES;
        report.wrong(
            file.at,
            format!("{key}_file {name:?} has {more} more wrong lines; mend the first ones and look again"),
        );
    }
    (errors == 0).then_some(found)
}

fn wrong(place: &Place, message: String, report: &Report<'_>) {
    match place {
        Place::Here(at) => report.wrong(*at, message),
        Place::File(file, line) => report.wrong_in(file, Position { line: *line, column: 1 }, message),
    }
}

fn described(place: &Place, report: &Report<'_>) -> String {
    match place {
        Place::Here(at) => format!("line {}", report.line(*at)),
        Place::File(file, line) => format!("{file}:{line}"),
    }
}
