//! What the runtime brings along.

use std::collections::BTreeSet;
use std::process::Command;

/// Crates that the core needs, with what they need themselves; the last five only while it is built.
const CORE: [&str; 11] = [
    "byteorder",
    "cfg-if",
    "half",
    "libm",
    "log",
    "zerocopy",
    "proc-macro2",
    "quote",
    "syn",
    "unicode-ident",
    "zerocopy-derive",
];

#[test]
fn the_core_needs_few_crates() {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["tree", "-p", "pg-runtime", "--no-default-features", "-e", "normal", "--prefix", "none"]);
    cargo.args(["--offline", "--locked", "--format", "{p}"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let found: BTreeSet<&str> = text.lines().filter_map(|l| l.split(' ').next()).collect();
    assert!(found.contains("pg-runtime"), "{text}");
    let more: Vec<&&str> = found.iter().filter(|c| **c != "pg-runtime" && !CORE.contains(c)).collect();
    assert!(more.is_empty(), "a new dependency of the core needs a reason: {more:?}");
    let gone: Vec<&&str> = CORE.iter().filter(|c| !found.contains(*c)).collect();
    assert!(gone.is_empty(), "no longer needed: {gone:?}");
}
