//! The first instructions, and the functions that compilers expect: assembly only, with the Rust functions it calls.

#![allow(unsafe_code)]

use core::arch::global_asm;

global_asm!(
    include_str!("boot.s"),
    table = sym crate::mmu::TABLE,
    start = sym crate::start,
    fault = sym crate::fault,
);
global_asm!(include_str!("mem.s"));
