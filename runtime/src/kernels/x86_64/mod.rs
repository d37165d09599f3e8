//! Kernel tables for x86-64, one file per instruction set. All take their floats from `avx2`; integer products are in
//! `avx2_integer`, and in the files of the instructions that were made for them.

mod avx2;
mod avx2_integer;
mod avx2_q4;
mod avx512_vnni;
mod avx_vnni;
mod peak;
mod vnni;

use super::Kernels;

/// The tables that run on this machine, the best one last.
pub(super) fn detect() -> impl Iterator<Item = &'static Kernels> {
    [avx2::detect(), avx_vnni::detect(), avx512_vnni::detect()].into_iter().flatten()
}
