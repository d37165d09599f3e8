//! The matrix extension: `neon-dotprod` with `smmla`, which multiplies two rows of eight signed bytes by two others and
//! adds the four sums of products to the lanes of a register. Apple M2, Neoverse V1, Cortex-A710 and later ones.
//!
//! A lane of a sum belongs to a weight row and a row of activations: (0, 0), (0, 1), (1, 0), (1, 1). Two runs of a pair of
//! weight rows stand side by side in a panel for that, and rows of activations come interleaved: [`interleaved`]. A row
//! alone has no partner: it goes by `sdot`.
// Loops over `0..N`, because LLVM unrolls them into registers; of zipped iterators it makes memory.
#![allow(clippy::needless_range_loop)]

use super::super::panel::{self, Columns, PANEL_K, PANEL_ROWS, RegisterTile};
use super::super::{Kernels, Output, Panel, QuantizedRows, Table, WeightRows, vector};
use super::dotprod::{self, gemv_q4, gemv_q8};
use super::interleaved::{self, Multiplier, PAIRS, ROWS, Sums};
use super::neon_integer::{MATRICES, spread_q4, spread_q8};
use core::arch::aarch64::*;
use core::arch::asm;

/// The table, if this CPU has what it needs.
pub(super) fn detect() -> Option<&'static Kernels> {
    dotprod::detect().filter(|_| super::has!("i8mm")).map(|_| &KERNELS)
}

static KERNELS: Kernels = Kernels {
    name: "neon-i8mm",
    tract: dotprod::KERNELS.tract,
    table: Table { gemm_q8, gemm_q4, peaks: &super::peak::I8MM, ..dotprod::KERNELS.table },
};

#[target_feature(enable = "neon,dotprod,i8mm")]
fn gemm_q8(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>, panel: &mut Panel<'_>) {
    match x.interleaved() {
        1 => gemv_q8(w, x, out),
        // SAFETY: this function has the features of `TILE`.
        _ => unsafe { panel::gemm(&TILE, w, x, out, panel) },
    }
}

#[target_feature(enable = "neon,dotprod,i8mm")]
fn gemm_q4(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>, panel: &mut Panel<'_>) {
    match x.interleaved() {
        1 => gemv_q4(w, x, out),
        // SAFETY: as above.
        _ => unsafe { panel::gemm(&TILE, w, x, out, panel) },
    }
}

const TILE: RegisterTile<1, ROWS> = RegisterTile {
    depth: PANEL_K,
    lanes: <Matrices as Multiplier<PAIRS, 4>>::LANES,
    spread_q8: spread_q8::<MATRICES>,
    spread_q4: spread_q4::<MATRICES>,
    multiply_q8,
    multiply_q4,
};

/// `sum + w . x`: see the top of the file. (The intrinsic is not stable.)
///
/// # Safety
/// This and what is built of it has to be inlined into functions that have this file's features.
#[inline(always)]
unsafe fn multiply(mut sum: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction on registers, which the caller's features include.
    unsafe {
        asm!(
            "smmla {sum:v}.4s, {w:v}.16b, {x:v}.16b",
            sum = inout(vreg) sum, w = in(vreg) w, x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// Four vectors of sums for each pair of rows of activations: one for each pair of weight rows.
struct Matrices;

// SAFETY: the methods need the matrix extension and are only called from the functions of this file's table, which have
// it.
unsafe impl Multiplier<PAIRS, 4> for Matrices {
    #[inline(always)]
    unsafe fn add_runs(mut sum: Sums<PAIRS, 4>, w: *const i8, x: [int8x16_t; PAIRS]) -> Sums<PAIRS, 4> {
        // SAFETY: the method's contract, here and below.
        unsafe {
            for rows in 0..4 {
                let w = vld1q_s8(w.add(rows * 16));
                for p in 0..PAIRS {
                    sum[p][rows] = multiply(sum[p][rows], w, x[p]);
                }
            }
            sum
        }
    }

    #[inline(always)]
    unsafe fn of_activations(scales: *const f32) -> [float32x4_t; PAIRS] {
        // SAFETY: as above.
        unsafe {
            let mut pairs = [vdupq_n_f32(0.0); PAIRS];
            for p in 0..PAIRS {
                pairs[p] = vreinterpretq_f32_f64(vld1q_dup_f64(scales.add(2 * p).cast()));
            }
            pairs
        }
    }

    #[inline(always)]
    unsafe fn to_lanes(rows: [[float32x4_t; 2]; ROWS]) -> [[float32x4_t; 4]; PAIRS] {
        // SAFETY: as above.
        unsafe {
            let mut lanes = [[vdupq_n_f32(0.0); 4]; PAIRS];
            for p in 0..PAIRS {
                for v in 0..2 {
                    let (a, b) = (rows[2 * p][v], rows[2 * p + 1][v]);
                    (lanes[p][2 * v], lanes[p][2 * v + 1]) = (vzip1q_f32(a, b), vzip2q_f32(a, b));
                }
            }
            lanes
        }
    }

    #[inline(always)]
    unsafe fn to_rows(lanes: [[float32x4_t; 4]; PAIRS]) -> [[float32x4_t; 2]; ROWS] {
        // SAFETY: as above.
        unsafe {
            let mut rows = [[vdupq_n_f32(0.0); 2]; ROWS];
            for p in 0..PAIRS {
                for v in 0..2 {
                    let (a, b) = (lanes[p][2 * v], lanes[p][2 * v + 1]);
                    (rows[2 * p][v], rows[2 * p + 1][v]) = (vuzp1q_f32(a, b), vuzp2q_f32(a, b));
                }
            }
            rows
        }
    }
}

vector::compiled! { "neon,dotprod,i8mm"
    multiply_q8(values: &[u8], scales: &[f32], x: Columns<'_, 1>, sums: &mut [[f32; PANEL_ROWS]; ROWS]) = interleaved::multiply_q8::<PAIRS, 4, Matrices>;
    multiply_q4(values: &[u8], steps: &[f32], x: Columns<'_, 1>, sums: &mut [[f32; PANEL_ROWS]; ROWS]) = interleaved::multiply_q4::<PAIRS, 4, Matrices>;
}
