//! Rooms of the runtime import only from rooms of a lower rank, as `runtime/src/lib.rs` lists them.

use crate::source::{self, Source};
use std::collections::BTreeMap;

const ROOT: &str = "runtime/src/";

/// Rooms and what the crate's root says about them.
struct Rooms {
    ranks: BTreeMap<String, u32>,
    /// Names such as `Frame` that the root exports: the room that each comes from.
    exports: BTreeMap<String, String>,
}

impl Rooms {
    fn read(root: &Source) -> Self {
        let mut ranks = BTreeMap::new();
        let mut rank = None;
        for line in root.text.lines() {
            if let Some(n) = line.strip_prefix("// Rank ") {
                rank = Some(n.trim().parse().expect("a rank is a number"));
            }
            let module = line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "));
            if let Some(room) = module.and_then(|m| m.strip_suffix(';')) {
                ranks.insert(room.to_string(), rank.expect("every room stands below a rank"));
            }
        }
        let mut exports = BTreeMap::new();
        for statement in root.code.split("pub use ").skip(1) {
            let statement = statement.split(';').next().unwrap();
            let (room, names) = statement.split_once("::").expect("the root exports what rooms hold");
            for name in names.trim_matches(['{', '}']).split(',') {
                exports.insert(name.trim().to_string(), room.to_string());
            }
        }
        Rooms { ranks, exports }
    }

    /// What is wrong with the imports of a file.
    fn violations(&self, file: &Source) -> Vec<String> {
        let Some(path) = file.path.strip_prefix(ROOT).filter(|p| *p != "lib.rs" && !p.starts_with("bin/"))
        else {
            return Vec::new();
        };
        let modules: Vec<&str> =
            path.trim_end_matches(".rs").split('/').filter(|module| *module != "mod").collect();
        let room = modules[0];
        let Some(rank) = self.ranks.get(room) else {
            return vec![format!("{}: the room {room} has no rank in lib.rs", file.path)];
        };
        // `super::super::x` may lead to another room as well.
        let up = "super::".repeat(modules.len());
        let roots = Source::places(&file.product, "crate::").map(|at| (at, at + "crate::".len()));
        let supers = file.product.match_indices(&up).map(|(at, _)| (at, at + up.len()));
        let mut found = Vec::new();
        for (at, after) in roots.chain(supers) {
            for name in first_names(&file.product[after..]) {
                let target = self.exports.get(name).map_or(name, String::as_str);
                match self.ranks.get(target) {
                    _ if target == room => {}
                    Some(lower) if lower < rank => {}
                    Some(other) => found.push(format!(
                        "{}: {room} (rank {rank}) uses {target} (rank {other})",
                        file.place(at)
                    )),
                    None => found.push(format!("{}: {name} belongs to no room", file.place(at))),
                }
            }
        }
        found
    }
}

/// The first part of each path in what follows `crate::`, be it `a::b` or `{a::{b, c}, d}`.
fn first_names(after: &str) -> Vec<&str> {
    let name = |s: &str| s.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(s.len());
    if !after.starts_with('{') {
        return vec![&after[..name(after)]];
    }
    let mut names = Vec::new();
    let mut depth = 0;
    for (i, c) in after.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && (c == '{' || c == ',') {
            let item = after[i + 1..].trim_start();
            names.push(&item[..name(item)]);
        }
    }
    names.retain(|n| !n.is_empty());
    names
}

#[test]
fn rooms_import_only_from_lower_ranks() {
    let sources = source::all();
    let root = sources.iter().find(|s| s.path == "runtime/src/lib.rs").expect("the crate's root");
    let rooms = Rooms::read(root);
    assert!(rooms.ranks.len() > 12 && rooms.exports.len() > 8, "lib.rs is read as it is written");
    let found: Vec<String> = sources.iter().flat_map(|s| rooms.violations(s)).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn violations_are_seen() {
    let root = "// Rank 0\npub mod error;\n// Rank 1\npub mod a;\npub mod b;\n// Rank 2\npub mod c;\n\
                pub use b::{Thing, Other};";
    let rooms = Rooms::read(&Source::new("runtime/src/lib.rs", root));
    for (path, text, violations) in [
        ("a.rs", "use crate::error::Error;", 0),
        ("a.rs", "use crate::{error::{Error, c}, a::X};", 0),
        ("a.rs", "// crate::c\n#[cfg(test)]\nmod tests { use crate::c; }", 0),
        ("a/tests.rs", "use crate::c;", 0),
        ("c/deep/x.rs", "use super::super::super::a; use super::super::d;", 0),
        ("a.rs", "use crate::{error::Error, b::{self, c}};", 1),
        ("a.rs", "fn f() -> crate::c::X {}", 1),
        ("a.rs", "use super::c;", 1),
        ("a/deep.rs", "use super::super::b;", 1),
        ("a.rs", "use crate::{Thing, error::Error}; use crate::Other;", 2),
        ("a.rs", "use crate::unheard_of;", 1),
        ("unheard_of.rs", "", 1),
    ] {
        let found = rooms.violations(&Source::new(&format!("{ROOT}{path}"), text));
        assert_eq!(found.len(), violations, "{path} {text}: {found:?}");
    }
}
