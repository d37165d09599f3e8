//! Lengths, names and first lines of files; nothing that allocates or prints in the rooms of the hot path.

use crate::source::{self, Source};

/// Lines of a file, tests excluded.
const MOST_LINES: usize = 800;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = ["utils", "util", "helpers", "helper", "common", "misc", "manager"];

const HOT: [&str; 6] = ["kernels", "ops", "vision", "prefix", "decoder", "sampler"];

/// What takes memory or prints.
const SLOW: [&str; 7] = ["println!", "Vec::new", "vec!", "format!", "Box::new", ".to_vec()", ".collect"];

/// Functions of hot rooms that run at set-up or for reports only.
const COLD: [(&str, &str, &str); 4] = [
    ("kernels/mod.rs", "available", "lists the tables before one is chosen"),
    ("kernels/mod.rs", "choose", "the message about a table that cannot run here"),
    ("kernels/mod.rs", "float_gemm_name", "a name for reports"),
    ("kernels/tract.rs", "choice", "tract's kernel is chosen once a process"),
];

#[test]
fn files_are_short_and_introduce_themselves() {
    for file in source::all() {
        assert!(
            file.text.starts_with("//!"),
            "{}: the first line says what the file is, with //!",
            file.path
        );
        if !file.path.starts_with("tests/") {
            // Blank lines count, tests do not: they come last.
            let n = file.product.trim_end().lines().count();
            assert!(n <= MOST_LINES, "{}: {n} lines, at most {MOST_LINES}", file.path);
        }
    }
}

#[test]
fn names_say_what_is_inside() {
    for path in source::entries() {
        let name = path.file_stem().unwrap().to_string_lossy().to_lowercase();
        assert!(!EMPTY_NAMES.contains(&name.as_str()), "{}: choose a name that says more", path.display());
    }
}

#[test]
fn hot_rooms_neither_allocate_nor_print() {
    let mut used = [false; COLD.len()];
    let mut found = Vec::new();
    for file in source::all() {
        let Some(path) = file.path.strip_prefix("runtime/src/") else { continue };
        let room = path.split(['/', '.']).next().unwrap();
        if !HOT.contains(&room) {
            continue;
        }
        for word in SLOW {
            for (at, _) in file.product.match_indices(word) {
                let function = file.function(at);
                match COLD.iter().position(|(p, f, _)| *p == path && Some(*f) == function) {
                    Some(i) => used[i] = true,
                    None => found.push(format!("{}: {word} in {function:?}", file.place(at))),
                }
            }
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
    for ((path, function, why), used) in COLD.iter().zip(used) {
        assert!(used, "{path}: {function} ({why}) needs no exception any more");
    }
    let bad = Source::new("runtime/src/ops/x.rs", "fn f(x: [u8; 2]) {\n x.to_vec() }");
    assert_eq!(bad.function(bad.product.find(SLOW[5]).unwrap()), Some("f"));
}
