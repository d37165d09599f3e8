//! The matrix extension: `neon-dotprod` with `smmla`, which multiplies two rows of eight signed bytes by two others and
//! adds the four sums of products to the lanes of a register. Apple M2, Neoverse V1, Cortex-A710 and later ones.
//!
//! A lane of a sum belongs to a weight row and a row of activations: (0, 0), (0, 1), (1, 0), (1, 1). Two runs of a pair of
//! weight rows stand side by side in a panel for that. A row of activations alone has no partner: it goes by `sdot`.
//!
//! Sums of nibbles go on through a span of blocks, as [`neon_integer`](super::neon_integer) explains.

use super::super::panel::{self, Columns, PANEL_K, PANEL_ROWS, RegisterTile, SPAN, check_lengths};
use super::super::{Kernels, Output, Panel, QuantizedRows, Table, WeightRows};
use super::dotprod::{self, gemv_q4, gemv_q8};
use super::neon_integer::{HALF_BLOCK, add_scaled, spread_q4, spread_q8};
use crate::format::block::{BLOCK, GROUP};
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
    match x.n() {
        1 => gemv_q8(w, x, out),
        // SAFETY: this function has the features of `TILE`.
        _ => unsafe { panel::gemm(&TILE, w, x, out, panel) },
    }
}

#[target_feature(enable = "neon,dotprod,i8mm")]
fn gemm_q4(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>, panel: &mut Panel<'_>) {
    match x.n() {
        1 => gemv_q4(w, x, out),
        // SAFETY: as above.
        _ => unsafe { panel::gemm(&TILE, w, x, out, panel) },
    }
}

/// Pairs of rows of activations of a register tile: with 4 pairs of weight rows they take 24 of the 32 registers.
const PAIRS: usize = 3;
const COLUMNS: usize = 2 * PAIRS;

const TILE: RegisterTile<COLUMNS> = RegisterTile {
    depth: PANEL_K,
    spread_q8: spread_q8::<true>,
    spread_q4: spread_q4::<true>,
    multiply_q8,
    multiply_q4,
};

/// `sum + w . x`: see the top of the file. (The intrinsic is not stable.)
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn multiply(mut sum: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction on registers, which this function's features include.
    unsafe {
        asm!(
            "smmla {sum:v}.4s, {w:v}.16b, {x:v}.16b",
            sum = inout(vreg) sum, w = in(vreg) w, x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// Sums of 4 pairs of weight rows and [`PAIRS`] pairs of rows of activations.
type Sums = [[int32x4_t; 4]; PAIRS];

/// Adds the products of a block and 8 rows.
///
/// # Safety
/// `w` points to [`HALF_BLOCK`] bytes, `x` to a block of each row of activations.
#[inline]
#[target_feature(enable = "neon,i8mm")]
unsafe fn add_block(sum: &mut Sums, w: *const i8, x: [*const i8; COLUMNS]) {
    for part in 0..2 {
        // 16 activations of two rows become twice 8 of both.
        let mut x_pairs = [[vdupq_n_s8(0); 2]; PAIRS];
        for (pairs, x) in x_pairs.iter_mut().zip(x.as_chunks::<2>().0) {
            // SAFETY: this function's contract.
            let [a, b] = x.map(|x| vreinterpretq_s64_s8(unsafe { vld1q_s8(x.add(part * 16)) }));
            *pairs = [vreinterpretq_s8_s64(vzip1q_s64(a, b)), vreinterpretq_s8_s64(vzip2q_s64(a, b))];
        }
        for run in 0..2 {
            for row in 0..4 {
                // SAFETY: this function's contract.
                let w = unsafe { vld1q_s8(w.add(part * HALF_BLOCK / 2 + run * 64 + row * 16)) };
                for (sum, x) in sum.iter_mut().zip(x_pairs) {
                    sum[row] = multiply(sum[row], w, x[run]);
                }
            }
        }
    }
}

/// Sums of 8 rows: for the first of a pair of rows of activations, and for the second.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn columns_of(sum: [int32x4_t; 4]) -> [[int32x4_t; 2]; 2] {
    [
        [vuzp1q_s32(sum[0], sum[1]), vuzp1q_s32(sum[2], sum[3])],
        [vuzp2q_s32(sum[0], sum[1]), vuzp2q_s32(sum[2], sum[3])],
    ]
}

#[target_feature(enable = "neon,dotprod,i8mm")]
fn multiply_q4(
    values: &[u8],
    steps: &[f32],
    x: Columns<'_, COLUMNS>,
    sums: &mut [[f32; PANEL_ROWS]; COLUMNS],
) {
    let blocks = steps.len() / PANEL_ROWS;
    check_lengths(blocks, values, &x);
    for half in 0..2 {
        for first in (0..blocks).step_by(SPAN) {
            let mut sum: Sums = [[vdupq_n_s32(0); 4]; PAIRS];
            let mut whole = sum;
            for b in first..blocks.min(first + SPAN) {
                let at = half * blocks + b;
                // SAFETY: `b` is below `blocks`, for which all lengths were checked: both halves of the panel have
                // that many blocks, and 16 steps of 16 bits a block.
                unsafe {
                    let q = x.map(|x| x.0.as_ptr().add(b * BLOCK));
                    add_block(&mut sum, values.as_ptr().add(at * HALF_BLOCK).cast(), q);
                    let steps = steps.as_ptr().add(at * GROUP).cast::<i16>();
                    let steps = [vld1q_s16(steps), vld1q_s16(steps.add(8))];
                    for (i, steps) in steps.into_iter().enumerate() {
                        let steps = [vmovl_s16(vget_low_s16(steps)), vmovl_high_s16(steps)];
                        for (whole, sum) in whole.iter_mut().zip(sum) {
                            whole[2 * i] = vmlaq_s32(whole[2 * i], sum[2 * i], steps[0]);
                            whole[2 * i + 1] = vmlaq_s32(whole[2 * i + 1], sum[2 * i + 1], steps[1]);
                        }
                    }
                }
            }
            for (i, whole) in whole.into_iter().enumerate() {
                for (j, whole) in columns_of(whole).into_iter().enumerate() {
                    let t = 2 * i + j;
                    add_scaled(&mut sums[t], half, whole, [vdupq_n_f32(x[t].1[first]); 2]);
                }
            }
        }
    }
}

#[target_feature(enable = "neon,dotprod,i8mm")]
fn multiply_q8(
    values: &[u8],
    scales: &[f32],
    x: Columns<'_, COLUMNS>,
    sums: &mut [[f32; PANEL_ROWS]; COLUMNS],
) {
    let blocks = scales.len() / PANEL_ROWS;
    check_lengths(blocks, values, &x);
    for half in 0..2 {
        for b in 0..blocks {
            let at = half * blocks + b;
            let mut sum: Sums = [[vdupq_n_s32(0); 4]; PAIRS];
            // SAFETY: as in `multiply_q4`; 8 scales a block and half.
            unsafe {
                let q = x.map(|x| x.0.as_ptr().add(b * BLOCK));
                add_block(&mut sum, values.as_ptr().add(at * HALF_BLOCK).cast(), q);
                let scales = [0, 4].map(|i| vld1q_f32(scales.as_ptr().add(at * GROUP + i)));
                for (i, sum) in sum.into_iter().enumerate() {
                    for (j, sum) in columns_of(sum).into_iter().enumerate() {
                        let t = 2 * i + j;
                        let x_scale = *x[t].1.as_ptr().add(b);
                        add_scaled(&mut sums[t], half, sum, scales.map(|scale| vmulq_n_f32(scale, x_scale)));
                    }
                }
            }
        }
    }
}
