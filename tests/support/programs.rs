//! The built programs, for tests that call them as users do.
//!
//! With `PG_TEST_BIN_DIR` set, programs are taken from that folder and nothing is built. Otherwise each is built
//! once per test process into the target folder and profile of the test itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The built `pg-quantize`.
///
/// # Panics
/// If it cannot be built.
pub fn pg_quantize() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| program("pg-quantize")).clone()
}

/// The built `pg-run`.
///
/// # Panics
/// If it cannot be built.
pub fn pg_run() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| program("pg-run")).clone()
}

/// The built `pg-camera`.
///
/// # Panics
/// If it cannot be built.
pub fn pg_camera() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| program("pg-camera")).clone()
}

fn program(name: &str) -> PathBuf {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    if let Some(folder) = std::env::var_os("PG_TEST_BIN_DIR") {
        let path = Path::new(&folder).join(file);
        assert!(path.is_file(), "PG_TEST_BIN_DIR has no {}", path.display());
        return path;
    }
    // TARGET/PROFILE/deps/test-hash, or TARGET/TRIPLE/PROFILE/deps/test-hash with --target.
    let test = std::env::current_exe().expect("own path");
    let profile = test.parent().and_then(Path::parent).expect("TARGET/PROFILE/deps");
    let above = profile.parent().expect("TARGET");
    // Cargo marks the target folder itself, not the one it makes for a triple.
    let is_target = above.join(".rustc_info.json").exists();
    let triple = above.file_name().filter(|_| !is_target);
    let target = if triple.is_some() { above.parent().expect("TARGET") } else { above };

    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Of the whole workspace, as tests are: with the features of one package alone its libraries would be built once more.
    cargo.args(["build", "--quiet", "--workspace", "--bin", name]).current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.arg("--target-dir").arg(target);
    match profile.file_name().and_then(|n| n.to_str()) {
        Some("debug") | None => {}
        Some(profile) => {
            cargo.args(["--profile", profile]);
        }
    }
    if let Some(triple) = triple {
        cargo.arg("--target").arg(triple);
    }
    // What the outer Cargo says of the test's own package is not about what is built here, and build scripts that watch these
    // variables (ring's does) would run again, and all that depends on them with it, whenever they come or go.
    for (name, _) in std::env::vars_os() {
        let of_package = |prefix: &&str| name.to_string_lossy().starts_with(prefix);
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_PRIMARY_"].iter().any(of_package) {
            cargo.env_remove(&name);
        }
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "building {name} failed");
    let path = profile.join(file);
    assert!(path.is_file(), "cargo did not write {}", path.display());
    path
}
