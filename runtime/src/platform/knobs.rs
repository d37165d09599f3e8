//! The environment variables that this crate reads: all of them.

use alloc::string::String;

/// Names the kernel table to use (`scalar`, `avx2`); set-up fails when it cannot run here.
pub const ISA: &str = "PG_ISA";
/// The model file that `pg-run` opens when it is given none.
pub const MODEL: &str = "PG_MODEL";

/// The value of a knob, if it is set and not empty.
pub fn get(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}
