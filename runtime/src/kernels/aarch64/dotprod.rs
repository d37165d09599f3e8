//! The dot product extension: `neon` with `sdot`, which adds to each 32-bit lane four products of signed bytes: one row's
//! run. Cortex-A76 (Raspberry Pi 5), A78AE (Jetson Orin), Apple's.
//!
//! Sums of nibbles go on through a span of blocks, as [`neon_integer`](super::neon_integer) explains.

use super::super::panel::{self, Columns, PANEL_K, PANEL_ROWS, RegisterTile, SPAN, check_lengths};
use super::super::{Kernels, Output, Panel, QuantizedRows, Table, WeightRows};
use super::neon;
use super::neon_integer::{
    HALF_BLOCK, add_scaled, nibbles_of, plus_scaled, put, put_scaled, spread_q4, spread_q8, tile_scales,
    widened_steps,
};
use crate::format::block::{BLOCK, CHUNK, GROUP, Q4Group, Q8_SCALES, Q8_TILE};
use core::arch::aarch64::*;
use core::arch::asm;

/// The table, if this CPU has what it needs.
pub(super) fn detect() -> Option<&'static Kernels> {
    super::has!("dotprod").then_some(&KERNELS)
}

pub(super) static KERNELS: Kernels = Kernels {
    name: "neon-dotprod",
    tract: neon::KERNELS.tract,
    table: Table { gemm_q8, gemm_q4, peaks: &super::peak::DOTPROD, ..neon::KERNELS.table },
};

#[target_feature(enable = "neon,dotprod")]
fn gemm_q8(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>, panel: &mut Panel<'_>) {
    match x.n() {
        1 => gemv_q8(w, x, out),
        // SAFETY: this function has the features of `TILE`.
        _ => unsafe { panel::gemm(&TILE, w, x, out, panel) },
    }
}

#[target_feature(enable = "neon,dotprod")]
fn gemm_q4(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>, panel: &mut Panel<'_>) {
    match x.n() {
        1 => gemv_q4(w, x, out),
        // SAFETY: as above.
        _ => unsafe { panel::gemm(&TILE, w, x, out, panel) },
    }
}

/// Rows of activations of a register tile: with 8 weight rows they take 24 of the 32 registers.
const COLUMNS: usize = 6;

const TILE: RegisterTile<COLUMNS> = RegisterTile {
    depth: PANEL_K,
    spread_q8: spread_q8::<false>,
    spread_q4: spread_q4::<false>,
    multiply_q8,
    multiply_q4,
};

/// `sum + w . x`, four products a lane: those of a row's run and of run `RUN` of `x`. (The intrinsic is not stable.)
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot<const RUN: u32>(mut sum: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction on registers, which this function's features include.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {w:v}.16b, {x:v}.4b[{run}]",
            sum = inout(vreg) sum, w = in(vreg) w, x = in(vreg) x, run = const RUN,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// Sums of 8 rows and `N` rows of activations.
type Sums<const N: usize> = [[int32x4_t; 2]; N];

/// Adds the products of run `RUN` and 8 rows.
///
/// # Safety
/// `w` points to 32 bytes.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn add_run<const RUN: u32, const N: usize>(sum: &mut Sums<N>, w: *const i8, x: [int8x16_t; N]) {
    // SAFETY: this function's contract.
    let w = unsafe { [vld1q_s8(w), vld1q_s8(w.add(16))] };
    for (sum, x) in sum.iter_mut().zip(x) {
        *sum = [dot::<RUN>(sum[0], w[0], x), dot::<RUN>(sum[1], w[1], x)];
    }
}

/// Adds the products of a block and 8 rows.
///
/// # Safety
/// `w` points to [`HALF_BLOCK`] bytes, `x` to a block of each row of activations.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn add_block<const N: usize>(sum: &mut Sums<N>, w: *const i8, x: [*const i8; N]) {
    // SAFETY: this function's contract.
    unsafe {
        for part in 0..2 {
            let w = w.add(part * HALF_BLOCK / 2);
            let x = x.map(|x| vld1q_s8(x.add(part * 16)));
            add_run::<0, N>(sum, w, x);
            add_run::<1, N>(sum, w.add(CHUNK), x);
            add_run::<2, N>(sum, w.add(2 * CHUNK), x);
            add_run::<3, N>(sum, w.add(3 * CHUNK), x);
        }
    }
}

#[target_feature(enable = "neon,dotprod")]
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
            let mut sum: Sums<COLUMNS> = [[vdupq_n_s32(0); 2]; COLUMNS];
            let mut whole = sum;
            for b in first..blocks.min(first + SPAN) {
                let at = half * blocks + b;
                // SAFETY: `b` is below `blocks`, for which all lengths were checked: both halves of the panel have
                // that many blocks, and 16 steps of 16 bits a block.
                unsafe {
                    let x = x.map(|x| x.0.as_ptr().add(b * BLOCK));
                    add_block(&mut sum, values.as_ptr().add(at * HALF_BLOCK).cast(), x);
                    // Steps stand twice side by side: every other one.
                    let steps = vld2q_s16(steps.as_ptr().add(at * GROUP).cast()).0;
                    let steps = [vmovl_s16(vget_low_s16(steps)), vmovl_high_s16(steps)];
                    for (whole, sum) in whole.iter_mut().zip(sum) {
                        *whole =
                            [vmlaq_s32(whole[0], sum[0], steps[0]), vmlaq_s32(whole[1], sum[1], steps[1])];
                    }
                }
            }
            for ((sums, whole), x) in sums.iter_mut().zip(whole).zip(&x) {
                add_scaled(sums, half, whole, [vdupq_n_f32(x.1[first]); 2]);
            }
        }
    }
}

#[target_feature(enable = "neon,dotprod")]
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
            let mut sum: Sums<COLUMNS> = [[vdupq_n_s32(0); 2]; COLUMNS];
            // SAFETY: as in `multiply_q4`; 8 scales a block and half.
            unsafe {
                let q = x.map(|x| x.0.as_ptr().add(b * BLOCK));
                add_block(&mut sum, values.as_ptr().add(at * HALF_BLOCK).cast(), q);
                let scales = [0, 4].map(|i| vld1q_f32(scales.as_ptr().add(at * GROUP + i)));
                for ((sums, sum), x) in sums.iter_mut().zip(sum).zip(&x) {
                    let x_scale = *x.1.as_ptr().add(b);
                    add_scaled(sums, half, sum, scales.map(|scale| vmulq_n_f32(scale, x_scale)));
                }
            }
        }
    }
}

/// One row of activations: each tile is read once and used from registers. Nibbles stay 0 to 15, 8 too much, and the sums
/// of a block start at what the activations bring along for that.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn gemv_q4(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>) {
    let (q, scale, offset) = x.row(0);
    assert!(q.len() == scale.len() * BLOCK && offset.len() == scale.len());
    for g in 0..w.groups() {
        let group = Q4Group::new(w.group(g));
        let mut total = [vdupq_n_f32(0.0); 2];
        let mut whole = [vdupq_n_s32(0); 2];
        for (b, (steps, nibbles)) in group.tiles(0..scale.len()).enumerate() {
            // SAFETY: a tile holds 4 chunks of 32 bytes; `b` is below the number of blocks, for which the lengths were
            // checked above.
            unsafe {
                let x = [0, 16].map(|at| vld1q_s8(q.as_ptr().add(b * BLOCK + at)));
                let mut sum = [vpaddlq_s16(vreinterpretq_s16_s32(vdupq_n_s32(*offset.as_ptr().add(b)))); 2];
                add_nibbles::<0>(&mut sum, nibbles.as_ptr(), x);
                add_nibbles::<1>(&mut sum, nibbles.as_ptr().add(CHUNK), x);
                add_nibbles::<2>(&mut sum, nibbles.as_ptr().add(2 * CHUNK), x);
                add_nibbles::<3>(&mut sum, nibbles.as_ptr().add(3 * CHUNK), x);
                let steps = widened_steps(steps);
                whole[0] = vmlaq_s32(whole[0], sum[0], vmovl_s16(vget_low_s16(steps)));
                whole[1] = vmlaq_s32(whole[1], sum[1], vmovl_high_s16(steps));
                if (b + 1).is_multiple_of(SPAN) || b + 1 == scale.len() {
                    total = plus_scaled(total, whole, [vdupq_n_f32(*scale.as_ptr().add(b)); 2]);
                    whole = [vdupq_n_s32(0); 2];
                }
            }
        }
        put_scaled(out, g, total, &group);
    }
}

/// Adds the products of chunk `RUN` and two runs: its low nibbles belong to the first 16 activations.
///
/// # Safety
/// `chunk` points to 32 bytes.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn add_nibbles<const RUN: u32>(sum: &mut [int32x4_t; 2], chunk: *const u8, x: [int8x16_t; 2]) {
    for (i, sum) in sum.iter_mut().enumerate() {
        // SAFETY: this function's contract.
        let (low, high) = nibbles_of(unsafe { vld1q_u8(chunk.add(16 * i)) });
        *sum = dot::<RUN>(dot::<RUN>(*sum, low, x[0]), high, x[1]);
    }
}

/// As [`gemv_q4`].
#[target_feature(enable = "neon,dotprod")]
pub(super) fn gemv_q8(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>) {
    let (q, scale, _) = x.row(0);
    assert!(q.len() == scale.len() * BLOCK);
    for g in 0..w.groups() {
        let tiles = w.group(g).as_chunks::<Q8_TILE>().0;
        assert_eq!(tiles.len(), scale.len());
        let mut total = [vdupq_n_f32(0.0); 2];
        for (b, tile) in tiles.iter().enumerate() {
            let mut sum = [[vdupq_n_s32(0); 2]];
            // SAFETY: a tile holds 8 scales and 8 chunks of 32 bytes; `b` is below the number of blocks, for which the
            // lengths were checked above.
            unsafe {
                add_block(&mut sum, tile.as_ptr().add(Q8_SCALES).cast(), [q.as_ptr().add(b * BLOCK)]);
                let x_scale = *scale.as_ptr().add(b);
                let scale = tile_scales(tile).map(|scale| vmulq_n_f32(scale, x_scale));
                total = plus_scaled(total, sum[0], scale);
            }
        }
        put(out, g, total);
    }
}
