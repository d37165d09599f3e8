//! The matrix extension: `neon-dotprod` with `smmla`, which multiplies two rows of eight signed bytes by two others and
//! adds the four sums of products to the lanes of a register. Apple M2, Neoverse V1, Cortex-A710 and later ones.
//!
//! A lane of a sum belongs to a weight row and a row of activations: (0, 0), (0, 1), (1, 0), (1, 1). Two runs of a pair of
//! weight rows stand side by side in a panel for that. A row of activations alone has no partner: it goes by `sdot`.
//!
//! Sums of nibbles go on through a span of blocks, as [`neon_integer`](super::neon_integer) explains.
// Loops over `0..N`, because LLVM unrolls them into registers; of zipped iterators it makes memory.
#![allow(clippy::needless_range_loop)]

use super::super::panel::{self, Columns, PANEL_K, PANEL_ROWS, RegisterTile, SPAN, check_lengths};
use super::super::{Kernels, Output, Panel, QuantizedRows, Table, WeightRows};
use super::dotprod::{self, gemv_q4, gemv_q8};
use super::neon_integer::{
    HALF_BLOCK, MATRICES, Place, add_scaled, load, pointers, spread_q4, spread_q8, times,
};
use crate::format::block::{CHUNK, GROUP};
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

/// Sums of 4 pairs of weight rows and [`PAIRS`] pairs of rows of activations.
type Sums = [[int32x4_t; 4]; PAIRS];

/// Adds the products of a block and 8 rows. Written out, because LLVM keeps loops of this length.
///
/// # Safety
/// As for [`multiply`]; `w` points to [`HALF_BLOCK`] bytes, `x` to a block of each row of activations.
#[inline(always)]
unsafe fn add_block(mut sum: Sums, w: *const i8, x: [*const i8; COLUMNS]) -> Sums {
    // SAFETY: this function's contract.
    unsafe {
        let [first, second] = pairs_of(load(x, 0));
        sum = add_runs(sum, w, first);
        sum = add_runs(sum, w.add(2 * CHUNK), second);
        let [first, second] = pairs_of(load(x, 16));
        sum = add_runs(sum, w.add(4 * CHUNK), first);
        add_runs(sum, w.add(6 * CHUNK), second)
    }
}

/// 16 activations of a row and 16 of the next become 8 of both, twice.
#[inline(always)]
unsafe fn pairs_of(x: [int8x16_t; COLUMNS]) -> [[int8x16_t; PAIRS]; 2] {
    // SAFETY: as for `multiply`.
    unsafe {
        let mut pairs = [[vdupq_n_s8(0); PAIRS]; 2];
        for i in 0..PAIRS {
            let (a, b) = (vreinterpretq_s64_s8(x[2 * i]), vreinterpretq_s64_s8(x[2 * i + 1]));
            pairs[0][i] = vreinterpretq_s8_s64(vzip1q_s64(a, b));
            pairs[1][i] = vreinterpretq_s8_s64(vzip2q_s64(a, b));
        }
        pairs
    }
}

/// Adds the products of two runs and 8 rows.
///
/// # Safety
/// As for [`multiply`]; `w` points to 64 bytes.
#[inline(always)]
unsafe fn add_runs(mut sum: Sums, w: *const i8, x: [int8x16_t; PAIRS]) -> Sums {
    // SAFETY: this function's contract.
    unsafe {
        for row in 0..4 {
            let w = vld1q_s8(w.add(row * 16));
            for i in 0..PAIRS {
                sum[i][row] = multiply(sum[i][row], w, x[i]);
            }
        }
        sum
    }
}

/// Sums of 8 rows: for the first of a pair of rows of activations, and for the second.
#[inline(always)]
unsafe fn columns_of(sum: [int32x4_t; 4]) -> [[int32x4_t; 2]; 2] {
    // SAFETY: as for `multiply`.
    unsafe {
        [
            [vuzp1q_s32(sum[0], sum[1]), vuzp1q_s32(sum[2], sum[3])],
            [vuzp2q_s32(sum[0], sum[1]), vuzp2q_s32(sum[2], sum[3])],
        ]
    }
}

/// Adds a block's products to the first sums, and these times the steps to the second.
///
/// # Safety
/// As for [`multiply`]; the place is one.
#[inline(always)]
unsafe fn add_scaled_block((sum, mut whole): (Sums, Sums), place: Place<COLUMNS>) -> (Sums, Sums) {
    // SAFETY: this function's contract.
    unsafe {
        let sum = add_block(sum, place.w, place.x);
        for i in 0..2 {
            let steps = vld1q_s16(place.steps.cast::<i16>().add(i * GROUP));
            let steps = [vmovl_s16(vget_low_s16(steps)), vmovl_high_s16(steps)];
            for p in 0..PAIRS {
                for j in 0..2 {
                    whole[p][2 * i + j] = vmlaq_s32(whole[p][2 * i + j], sum[p][2 * i + j], steps[j]);
                }
            }
        }
        (sum, whole)
    }
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
            // SAFETY: both halves of the panel and the rows of activations have `blocks` blocks, which was checked, and
            // 16 steps of 16 bits a block.
            unsafe {
                let place = Place::of(values, steps, &x, half, first);
                let mut both = ([[vdupq_n_s32(0); 4]; PAIRS], [[vdupq_n_s32(0); 4]; PAIRS]);
                if first + SPAN <= blocks {
                    both = add_scaled_block(both, place);
                    both = add_scaled_block(both, place.after(1));
                    both = add_scaled_block(both, place.after(2));
                    both = add_scaled_block(both, place.after(3));
                } else {
                    for n in 0..blocks - first {
                        both = add_scaled_block(both, place.after(n));
                    }
                }
                for i in 0..PAIRS {
                    let columns = columns_of(both.1[i]);
                    for j in 0..2 {
                        let t = 2 * i + j;
                        let scale = vdupq_n_f32(*x[t].1.as_ptr().add(first));
                        add_scaled(&mut sums[t], half, columns[j], [scale; 2]);
                    }
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
            // SAFETY: as in `multiply_q4`; 8 scales a block and half.
            unsafe {
                let w = values.as_ptr().add(at * HALF_BLOCK).cast();
                let sum = add_block([[vdupq_n_s32(0); 4]; PAIRS], w, pointers(&x, b));
                let scales = scales.as_ptr().add(at * GROUP);
                let scales = [vld1q_f32(scales), vld1q_f32(scales.add(4))];
                for i in 0..PAIRS {
                    let columns = columns_of(sum[i]);
                    for j in 0..2 {
                        let t = 2 * i + j;
                        add_scaled(&mut sums[t], half, columns[j], times(scales, *x[t].1.as_ptr().add(b)));
                    }
                }
            }
        }
    }
}
