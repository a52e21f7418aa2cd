//! The rules of docs/ARCHITECTURE.md that the source must keep, read off the source.
#![allow(clippy::unwrap_used, reason = "all of this runs inside tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each module may name of the others.
const MAY_NAME: [(&str, &[&str]); 9] = [
    ("model", &[]),
    ("wire", &["model"]),
    ("hash", &["model"]),
    ("config", &["model"]),
    ("shared", &["model", "hash"]),
    ("io", &["model"]),
    ("dataplane", &["model", "wire", "hash", "shared", "io"]),
    ("control", &["model", "wire", "hash", "config", "shared", "io"]),
    ("app", &["model", "wire", "hash", "config", "shared", "io", "dataplane", "control"]),
];

/// Files outside `io/dpdk` that may hold `unsafe`, each for one purpose that its head states.
const MAY_BE_UNSAFE: [&str; 6] = [
    "dataplane/flow/tags.rs",
    "dataplane/lanes.rs",
    "dataplane/prefetch.rs",
    "dataplane/table_memory.rs",
    "shared/publish.rs",
    "wire/lanes.rs",
];

/// What the data plane must not touch, as it appears in source.
const NOT_IN_THE_DATA_PLANE: [(&str, &str); 9] = [
    ("std::net::Tcp", "sockets"),
    ("std::net::Udp", "sockets"),
    ("std::os::unix::net", "sockets"),
    ("std::time", "clocks: time is an argument"),
    ("Instant", "clocks: time is an argument"),
    ("Mutex", "locks"),
    ("RwLock", "locks"),
    ("tracing", "logging: an error is a drop reason"),
    ("println!", "printing"),
];

#[test]
fn modules_name_only_what_stands_below_them() {
    let mut wrong = Vec::new();
    for (module, allowed) in MAY_NAME {
        for (path, text) in sources(module) {
            for named in crate_paths(&text) {
                if named != module && !allowed.contains(&named.as_str()) {
                    wrong.push(format!("{}: names crate::{named}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_top_level_module_has_its_rules() {
    let lib = fs::read_to_string(root().join("lib.rs")).unwrap();
    let declared: BTreeSet<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(declared, MAY_NAME.iter().map(|(module, _)| *module).collect());
}

#[test]
fn only_io_dpdk_names_dpdk() {
    for (path, text) in all_sources() {
        let inside = path.strip_prefix(root()).unwrap().starts_with("io/dpdk");
        assert!(inside || !code(&text).contains("dpdk_sys"), "{}", path.display());
    }
    for (path, text) in sources("control").into_iter().chain(sources("dataplane")) {
        assert!(!code(&text).contains("io::dpdk"), "{}", path.display());
    }
}

#[test]
fn unsafe_stays_in_its_few_places() {
    for (path, text) in all_sources() {
        let name = path.strip_prefix(root()).unwrap();
        let allowed = name.starts_with("io/dpdk") || MAY_BE_UNSAFE.iter().any(|file| name == Path::new(file));
        let used = code(&text).split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
        assert!(allowed || !used, "{}", path.display());
    }
}

#[test]
fn the_data_plane_has_no_sockets_clocks_locks_or_logs() {
    for (path, text) in sources("dataplane") {
        for (word, why) in NOT_IN_THE_DATA_PLANE {
            assert!(!code(&text).contains(word), "{}: {word}: no {why}", path.display());
        }
    }
}

#[test]
fn files_stay_readable_in_one_sitting() {
    for (path, text) in all_sources() {
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let lines = code.lines().count();
        assert!(lines <= 450, "{}: {lines} lines without tests; one noun a file", path.display());
    }
}

#[test]
fn what_the_documents_point_at_exists() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    let documents =
        ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/ARCHITECTURE.md", "scripts/pktgen/README.md"];
    for document in documents {
        let text = fs::read_to_string(top.join(document)).unwrap();
        let beside = top.join(document).parent().unwrap().to_owned();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let links = links.filter(|link| !link.contains("://")).map(|link| beside.join(link));
        // In backticks: paths from the top.
        let quoted = text.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split(' ').next());
        let below = |path: &&str| ["src/", "tests/", "scripts/", "conf/"].iter().any(|d| path.starts_with(d));
        let paths = quoted.filter(|path| !path.contains('*')).filter(below).map(|path| top.join(path));
        missing.extend(links.chain(paths).filter(|path| !path.exists()));
    }
    assert!(missing.is_empty(), "{missing:?}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources(module: &str) -> Vec<(PathBuf, String)> {
    let file = root().join(module).with_extension("rs");
    let mut found = Vec::new();
    collect(&root().join(module), &mut found);
    if file.exists() {
        found.push((file.clone(), fs::read_to_string(file).unwrap()));
    }
    assert!(!found.is_empty(), "module {module} has no source");
    found
}

fn all_sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    collect(&root(), &mut found);
    found
}

fn collect(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

/// The lines that are not comments.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The first names behind `crate::` in code, `use crate::{a, b}` included.
fn crate_paths(text: &str) -> BTreeSet<String> {
    let code = code(text);
    let mut names = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let list = rest.strip_prefix('{').and_then(|rest| rest.split('}').next());
        for item in list.map_or_else(|| vec![rest], |list| list.split(',').collect()) {
            let name: String =
                item.trim_start().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            if MAY_NAME.iter().any(|(module, _)| *module == name) {
                names.insert(name);
            }
        }
    }
    names
}
