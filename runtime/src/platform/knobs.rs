//! The environment variables that this crate reads: all of them.

use alloc::string::String;
use std::path::PathBuf;

/// Names the kernel table to use (`scalar`; `avx2`, `avx-vnni`, `avx512-vnni`; `neon`, `neon-dotprod`, `neon-i8mm`); set-up fails when it cannot run here.
pub const ISA: &str = "PG_ISA";
/// The model file that `pg-run` opens when it is given none.
pub const MODEL: &str = "PG_MODEL";

/// The value of a knob, if it is set and not empty. What is not UTF-8 names nothing, and is refused as that.
pub fn get(name: &str) -> Option<String> {
    path(name).map(|v| v.to_string_lossy().into_owned())
}

/// The value of a knob as a path, if it is set and not empty.
pub fn path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from)
}
