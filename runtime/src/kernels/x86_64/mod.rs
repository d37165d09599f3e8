//! Kernel tables for x86-64, one file per instruction set.

pub(super) mod avx2;
mod integer;
mod peak;
