//! The dot product extension: `neon` with `sdot`, which adds to each 32-bit lane four products of signed bytes: one row's
//! run. Cortex-A76 (Raspberry Pi 5), A78AE (Jetson Orin), Apple's.
//!
//! Sums of nibbles go on through a span of blocks, as [`neon_integer`](super::neon_integer) explains.
// Loops over `0..N`, because LLVM unrolls them into registers; of zipped iterators it makes memory.
#![allow(clippy::needless_range_loop)]

use super::super::panel::{self, Columns, PANEL_K, PANEL_ROWS, RegisterTile, SPAN, check_lengths};
use super::super::{Kernels, Output, Panel, QuantizedRows, Table, WeightRows};
use super::neon;
use super::neon_integer::{
    DOTS, HALF_BLOCK, Place, add_scaled, load, nibbles_of, plus_scaled, pointers, put, put_scaled, spread_q4,
    spread_q8, tile_scales, times, widened_steps,
};
use crate::format::block::{BLOCK, CHUNK, GROUP, Q4_NIBBLES, Q4_STEPS, Q4Group, Q8_SCALES, Q8_TILE};
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
    spread_q8: spread_q8::<DOTS>,
    spread_q4: spread_q4::<DOTS>,
    multiply_q8,
    multiply_q4,
};

/// `sum + w . x`, four products a lane: those of a row's run and of run `RUN` of `x`. (The intrinsic is not stable.)
///
/// # Safety
/// This and what is built of it has to be inlined into functions that have this file's features.
#[inline(always)]
unsafe fn dot<const RUN: u32>(mut sum: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction on registers, which the caller's features include.
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
/// As for [`dot`]; `w` points to 32 bytes.
#[inline(always)]
unsafe fn add_run<const RUN: u32, const N: usize>(
    mut sum: Sums<N>,
    w: *const i8,
    x: [int8x16_t; N],
) -> Sums<N> {
    // SAFETY: this function's contract.
    unsafe {
        let w = [vld1q_s8(w), vld1q_s8(w.add(16))];
        for t in 0..N {
            sum[t] = [dot::<RUN>(sum[t][0], w[0], x[t]), dot::<RUN>(sum[t][1], w[1], x[t])];
        }
        sum
    }
}

/// Adds the products of a block and 8 rows. Written out, because LLVM keeps loops of this length.
///
/// # Safety
/// As for [`dot`]; `w` points to [`HALF_BLOCK`] bytes, `x` to a block of each row of activations.
#[inline(always)]
unsafe fn add_block<const N: usize>(mut sum: Sums<N>, w: *const i8, x: [*const i8; N]) -> Sums<N> {
    // SAFETY: this function's contract.
    unsafe {
        let run = load(x, 0);
        sum = add_run::<0, N>(sum, w, run);
        sum = add_run::<1, N>(sum, w.add(CHUNK), run);
        sum = add_run::<2, N>(sum, w.add(2 * CHUNK), run);
        sum = add_run::<3, N>(sum, w.add(3 * CHUNK), run);
        let run = load(x, 16);
        sum = add_run::<0, N>(sum, w.add(4 * CHUNK), run);
        sum = add_run::<1, N>(sum, w.add(5 * CHUNK), run);
        sum = add_run::<2, N>(sum, w.add(6 * CHUNK), run);
        add_run::<3, N>(sum, w.add(7 * CHUNK), run)
    }
}

/// Adds a block's products to the first sums, and these times the steps to the second.
///
/// # Safety
/// As for [`dot`]; the place is one.
#[inline(always)]
unsafe fn add_scaled_block(
    (sum, mut whole): (Sums<COLUMNS>, Sums<COLUMNS>),
    place: Place<COLUMNS>,
) -> (Sums<COLUMNS>, Sums<COLUMNS>) {
    // SAFETY: this function's contract.
    unsafe {
        let sum = add_block(sum, place.w, place.x);
        let steps = place.steps.cast::<i32>();
        let steps = [vld1q_s32(steps), vld1q_s32(steps.add(4))];
        for t in 0..COLUMNS {
            for v in 0..2 {
                whole[t][v] = vmlaq_s32(whole[t][v], sum[t][v], steps[v]);
            }
        }
        (sum, whole)
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
            // SAFETY: both halves of the panel and the rows of activations have `blocks` blocks, which was checked, and
            // 8 steps of 32 bits a block and half.
            unsafe {
                let place = Place::of(values, steps, &x, half, first);
                let mut both = ([[vdupq_n_s32(0); 2]; COLUMNS], [[vdupq_n_s32(0); 2]; COLUMNS]);
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
                for t in 0..COLUMNS {
                    let scale = vdupq_n_f32(*x[t].1.as_ptr().add(first));
                    add_scaled(&mut sums[t], half, both.1[t], [scale; 2]);
                }
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
            // SAFETY: as in `multiply_q4`; 8 scales a block and half.
            unsafe {
                let w = values.as_ptr().add(at * HALF_BLOCK).cast();
                let sum = add_block([[vdupq_n_s32(0); 2]; COLUMNS], w, pointers(&x, b));
                let scales = scales.as_ptr().add(at * GROUP);
                let scales = [vld1q_f32(scales), vld1q_f32(scales.add(4))];
                for t in 0..COLUMNS {
                    add_scaled(&mut sums[t], half, sum[t], times(scales, *x[t].1.as_ptr().add(b)));
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
        let (steps, nibbles) = group.parts();
        assert_eq!(steps.len(), scale.len());
        let mut total = [vdupq_n_f32(0.0); 2];
        for first in (0..scale.len()).step_by(SPAN) {
            let mut whole = [vdupq_n_s32(0); 2];
            // SAFETY: the group has as many tiles and the activations as many blocks as there are scales: checked above.
            unsafe {
                let tile = |b: usize| {
                    (
                        steps.as_ptr().add(b),
                        nibbles.as_ptr().add(b),
                        q.as_ptr().add(b * BLOCK),
                        offset.as_ptr().add(b),
                    )
                };
                if first + SPAN <= scale.len() {
                    whole = add_tile(whole, tile(first));
                    whole = add_tile(whole, tile(first + 1));
                    whole = add_tile(whole, tile(first + 2));
                    whole = add_tile(whole, tile(first + 3));
                } else {
                    for b in first..scale.len() {
                        whole = add_tile(whole, tile(b));
                    }
                }
            }
            total = plus_scaled(total, whole, [vdupq_n_f32(scale[first]); 2]);
        }
        put_scaled(out, g, total, &group);
    }
}

/// Steps and nibbles of a tile, a block of activations and its offset.
type Tile = (*const [u8; Q4_STEPS], *const [u8; Q4_NIBBLES], *const i8, *const i32);

/// Adds the products of a tile, times its steps.
///
/// # Safety
/// As for [`dot`]; the pointers lead to what they are named for.
#[inline(always)]
unsafe fn add_tile(whole: [int32x4_t; 2], (steps, nibbles, x, offset): Tile) -> [int32x4_t; 2] {
    // SAFETY: this function's contract; a tile holds 4 chunks of 32 bytes.
    unsafe {
        let x = [vld1q_s8(x), vld1q_s8(x.add(16))];
        let nibbles = nibbles.cast::<u8>();
        // Both halves of an offset, in every lane.
        let start = vpaddlq_s16(vreinterpretq_s16_s32(vld1q_dup_s32(offset)));
        let mut sum = [start; 2];
        sum = add_nibbles::<0>(sum, nibbles, x);
        sum = add_nibbles::<1>(sum, nibbles.add(CHUNK), x);
        sum = add_nibbles::<2>(sum, nibbles.add(2 * CHUNK), x);
        sum = add_nibbles::<3>(sum, nibbles.add(3 * CHUNK), x);
        // With their start they are at most 8 * 127 * 32 < 2^15, which is their low half.
        let sum = vuzp1q_s16(vreinterpretq_s16_s32(sum[0]), vreinterpretq_s16_s32(sum[1]));
        let steps = widened_steps(&*steps);
        [vmlal_s16(whole[0], vget_low_s16(sum), vget_low_s16(steps)), vmlal_high_s16(whole[1], sum, steps)]
    }
}

/// Adds the products of chunk `RUN` and two runs: its low nibbles belong to the first 16 activations.
///
/// # Safety
/// As for [`dot`]; `chunk` points to 32 bytes.
#[inline(always)]
unsafe fn add_nibbles<const RUN: u32>(
    mut sum: [int32x4_t; 2],
    chunk: *const u8,
    x: [int8x16_t; 2],
) -> [int32x4_t; 2] {
    for v in 0..2 {
        // SAFETY: this function's contract.
        unsafe {
            let (low, high) = nibbles_of(vld1q_u8(chunk.add(16 * v)));
            sum[v] = dot::<RUN>(dot::<RUN>(sum[v], low, x[0]), high, x[1]);
        }
    }
    sum
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
        for ((tile, x), x_scale) in tiles.iter().zip(q.as_chunks::<BLOCK>().0).zip(scale) {
            // SAFETY: a tile holds 8 scales and 8 chunks of 32 bytes, `x` a block.
            unsafe {
                let w = tile.as_ptr().add(Q8_SCALES).cast();
                let [sum] = add_block([[vdupq_n_s32(0); 2]], w, [x.as_ptr()]);
                total = plus_scaled(total, sum, times(tile_scales(tile), *x_scale));
            }
        }
        put(out, g, total);
    }
}
