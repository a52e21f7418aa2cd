//! `allow` and `deny`: lists that do not contradict each other, and the files that hold more of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::Position;
use crate::config::fields;
use crate::config::raw;
use crate::config::report::Report;
use crate::config::source::BYTE_ORDER_MARK;
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

/// Who is let in by a service with this VIP; everybody if it does not say. `None` after an error.
pub(super) fn check(
    raw: raw::Access,
    vip: Option<IpAddr>,
    report: &Report<'_>,
) -> Option<Option<Arc<AccessRules>>> {
    let raw::Access { allow, deny } = raw;
    let is_given = |list: &raw::AccessList| {
        !(matches!(list.prefixes, Entry::Absent) && matches!(list.file, Entry::Absent))
    };
    let (allows, denies) = (is_given(&allow), is_given(&deny));
    let allow_at = allow.prefixes.place().or_else(|| allow.file.place());
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
    if let (Some(at), Some(vip)) = (allow_at, vip) {
        check_family(at, vip, &rules, report);
    }
    let rules = rules.into_iter().map(|(prefix, (allowed, _))| (prefix, allowed)).collect();
    Some((allows || denies).then(|| Arc::new(AccessRules { rules, otherwise: !allows })))
}

/// A list that allows prefixes of the other family alone lets no client of the VIP in.
fn check_family(at: usize, vip: IpAddr, rules: &BTreeMap<Cidr, (bool, Place)>, report: &Report<'_>) {
    let mut allowed = rules.iter().filter(|(_, (allowed, _))| *allowed).map(|(prefix, _)| prefix).peekable();
    // An empty list is reported as such.
    if allowed.peek().is_none() || allowed.any(|prefix| prefix.address().is_ipv4() == vip.is_ipv4()) {
        return;
    }
    let (version, example) =
        if vip.is_ipv4() { ("IPv4", "198.51.100.0/24") } else { ("IPv6", "2001:db8::/32") };
    report.wrong(
        at,
        format!(
            "allow has no {version} prefix, and so lets no client of vip {vip} in; add one, as \"{example}\", or remove allow"
        ),
    );
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
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text);
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
