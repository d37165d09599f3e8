//! The dot product extension: `neon` with `sdot`, which adds to each 32-bit lane four products of signed bytes: one row's
//! run. Cortex-A76 (Raspberry Pi 5), A78AE (Jetson Orin), Apple's.
//!
//! Several rows of activations come interleaved: [`interleaved`].
// Loops over `0..N`, because LLVM unrolls them into registers; of zipped iterators it makes memory.
#![allow(clippy::needless_range_loop)]

use super::super::panel::{self, Columns, PANEL_K, PANEL_ROWS, RegisterTile, SPAN};
use super::super::{Kernels, Output, Panel, QuantizedRows, Table, WeightRows, vector};
use super::interleaved::{self, Multiplier, PAIRS, ROWS, Sums};
use super::neon;
use super::neon_integer::{
    DOTS, nibbles_of, plus_scaled, put, put_scaled, spread_q4, spread_q8, tile_scales, times,
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
    table: Table { interleaved: ROWS, gemm_q8, gemm_q4, peaks: &super::peak::DOTPROD, ..neon::KERNELS.table },
};

#[target_feature(enable = "neon,dotprod")]
fn gemm_q8(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>, panel: &mut Panel<'_>) {
    match x.interleaved() {
        1 => gemv_q8(w, x, out),
        // SAFETY: this function has the features of `TILE`.
        _ => unsafe { panel::gemm(&TILE, w, x, out, panel) },
    }
}

#[target_feature(enable = "neon,dotprod")]
fn gemm_q4(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>, panel: &mut Panel<'_>) {
    match x.interleaved() {
        1 => gemv_q4(w, x, out),
        // SAFETY: as above.
        _ => unsafe { panel::gemm(&TILE, w, x, out, panel) },
    }
}

const TILE: RegisterTile<1, ROWS> = RegisterTile {
    depth: PANEL_K,
    lanes: <Dots as Multiplier<ROWS, 2>>::LANES,
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

/// Two vectors of sums for each row of activations.
struct Dots;

// SAFETY: the methods need the dot product extension and are only called from the functions of this file's table, which
// have it.
unsafe impl Multiplier<ROWS, 2> for Dots {
    #[inline(always)]
    unsafe fn add_runs(sum: Sums<ROWS, 2>, w: *const i8, x: [int8x16_t; PAIRS]) -> Sums<ROWS, 2> {
        // SAFETY: the method's contract, here and below.
        unsafe {
            let sum = add_run::<0, 2>(sum, w, x);
            add_run::<1, 3>(sum, w.add(CHUNK), x)
        }
    }

    #[inline(always)]
    unsafe fn of_activations(scales: *const f32) -> [float32x4_t; ROWS] {
        // SAFETY: as above.
        unsafe {
            let (a, b) = (vld1q_f32(scales), vld1_f32(scales.add(4)));
            [
                vdupq_laneq_f32::<0>(a),
                vdupq_laneq_f32::<1>(a),
                vdupq_laneq_f32::<2>(a),
                vdupq_laneq_f32::<3>(a),
                vdupq_lane_f32::<0>(b),
                vdupq_lane_f32::<1>(b),
            ]
        }
    }

    #[inline(always)]
    unsafe fn to_lanes(rows: [[float32x4_t; 2]; ROWS]) -> [[float32x4_t; 2]; ROWS] {
        rows
    }

    #[inline(always)]
    unsafe fn to_rows(lanes: [[float32x4_t; 2]; ROWS]) -> [[float32x4_t; 2]; ROWS] {
        lanes
    }
}

/// Adds the products of a run of weights and the activations that it meets, of each pair of rows run `FIRST` and run
/// `SECOND`.
///
/// # Safety
/// As for [`dot`]; `w` points to 32 bytes.
#[inline(always)]
unsafe fn add_run<const FIRST: u32, const SECOND: u32>(
    mut sum: Sums<ROWS, 2>,
    w: *const i8,
    x: [int8x16_t; PAIRS],
) -> Sums<ROWS, 2> {
    // SAFETY: this function's contract.
    unsafe {
        let w = [vld1q_s8(w), vld1q_s8(w.add(16))];
        for p in 0..PAIRS {
            for v in 0..2 {
                sum[2 * p][v] = dot::<FIRST>(sum[2 * p][v], w[v], x[p]);
                sum[2 * p + 1][v] = dot::<SECOND>(sum[2 * p + 1][v], w[v], x[p]);
            }
        }
        sum
    }
}

vector::compiled! { "neon,dotprod"
    multiply_q8(values: &[u8], scales: &[f32], x: Columns<'_, 1>, sums: &mut [[f32; PANEL_ROWS]; ROWS]) = interleaved::multiply_q8::<ROWS, 2, Dots>;
    multiply_q4(values: &[u8], steps: &[f32], x: Columns<'_, 1>, sums: &mut [[f32; PANEL_ROWS]; ROWS]) = interleaved::multiply_q4::<ROWS, 2, Dots>;
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
            // SAFETY: the group has as many tiles and the activations as many blocks as there are scales: checked above.
            let whole = unsafe {
                let (steps, nibbles) = (steps.as_ptr().add(first).cast(), nibbles.as_ptr().add(first).cast());
                let (x, offset) = (q.as_ptr().add(first * BLOCK), offset.as_ptr().add(first));
                if first + SPAN <= scale.len() {
                    span_sums(steps, nibbles, x, offset)
                } else {
                    let mut whole = [vdupq_n_s32(0); 2];
                    for b in 0..scale.len() - first {
                        let start = vpaddlq_s16(vreinterpretq_s16_s32(vld1q_dup_s32(offset.add(b))));
                        let steps = vmovl_s8(vld1_s8(steps.add(b * Q4_STEPS)));
                        whole = add_tile(whole, nibbles.add(b * Q4_NIBBLES), x.add(b * BLOCK), start, steps);
                    }
                    whole
                }
            };
            total = plus_scaled(total, whole, [vdupq_n_f32(scale[first]); 2]);
        }
        put_scaled(out, g, total, &group);
    }
}

/// The products of a span of tiles, times their steps. The steps and the offsets of all four are loaded at once.
///
/// # Safety
/// As for [`dot`]; the pointers lead to a span of what they are named for.
#[inline(always)]
unsafe fn span_sums(
    steps: *const i8,
    nibbles: *const u8,
    x: *const i8,
    offset: *const i32,
) -> [int32x4_t; 2] {
    const { assert!(SPAN == 4) };
    // SAFETY: this function's contract.
    unsafe {
        // Both halves of an offset together, a lane each.
        let starts = vpaddlq_s16(vreinterpretq_s16_s32(vld1q_s32(offset)));
        let steps = [vld1q_s8(steps), vld1q_s8(steps.add(16))];
        let tile = |b| (nibbles.add(b * Q4_NIBBLES), x.add(b * BLOCK));
        let mut whole = [vdupq_n_s32(0); 2];
        let (nibbles, x) = tile(0);
        whole = add_tile(whole, nibbles, x, vdupq_laneq_s32::<0>(starts), vmovl_s8(vget_low_s8(steps[0])));
        let (nibbles, x) = tile(1);
        whole = add_tile(whole, nibbles, x, vdupq_laneq_s32::<1>(starts), vmovl_high_s8(steps[0]));
        let (nibbles, x) = tile(2);
        whole = add_tile(whole, nibbles, x, vdupq_laneq_s32::<2>(starts), vmovl_s8(vget_low_s8(steps[1])));
        let (nibbles, x) = tile(3);
        add_tile(whole, nibbles, x, vdupq_laneq_s32::<3>(starts), vmovl_high_s8(steps[1]))
    }
}

/// Adds the products of a tile, which begin at `start`, times its steps.
///
/// # Safety
/// As for [`dot`]; `nibbles` points to a tile's, `x` to a block.
#[inline(always)]
unsafe fn add_tile(
    whole: [int32x4_t; 2],
    nibbles: *const u8,
    x: *const i8,
    start: int32x4_t,
    steps: int16x8_t,
) -> [int32x4_t; 2] {
    // SAFETY: this function's contract; a tile holds 4 chunks of 32 bytes.
    unsafe {
        let x = [vld1q_s8(x), vld1q_s8(x.add(16))];
        let mut sum = [start; 2];
        sum = add_nibbles::<0>(sum, nibbles, x);
        sum = add_nibbles::<1>(sum, nibbles.add(CHUNK), x);
        sum = add_nibbles::<2>(sum, nibbles.add(2 * CHUNK), x);
        sum = add_nibbles::<3>(sum, nibbles.add(3 * CHUNK), x);
        // With their start they are at most 8 * 127 * 32 < 2^15, which is their low half.
        let sum = vuzp1q_s16(vreinterpretq_s16_s32(sum[0]), vreinterpretq_s16_s32(sum[1]));
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

/// Adds the products of 16 weights of 8 rows.
///
/// # Safety
/// As for [`dot`]; `w` points to them, `x` to 16 activations.
#[inline(always)]
unsafe fn add_bytes(mut sum: [int32x4_t; 2], w: *const i8, x: *const i8) -> [int32x4_t; 2] {
    // SAFETY: this function's contract.
    unsafe {
        let x = vld1q_s8(x);
        for v in 0..2 {
            let w = w.add(16 * v);
            sum[v] = dot::<0>(sum[v], vld1q_s8(w), x);
            sum[v] = dot::<1>(sum[v], vld1q_s8(w.add(CHUNK)), x);
            sum[v] = dot::<2>(sum[v], vld1q_s8(w.add(2 * CHUNK)), x);
            sum[v] = dot::<3>(sum[v], vld1q_s8(w.add(3 * CHUNK)), x);
        }
        sum
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
        for ((tile, x), x_scale) in tiles.iter().zip(q.as_chunks::<BLOCK>().0).zip(scale) {
            // SAFETY: a tile holds 8 scales and 8 chunks of 32 bytes, `x` a block.
            unsafe {
                let x = x.as_ptr();
                let w = tile.as_ptr().add(Q8_SCALES).cast();
                let sum =
                    add_bytes(add_bytes([vdupq_n_s32(0); 2], w, x), w.add(BLOCK / 2 * GROUP), x.add(16));
                total = plus_scaled(total, sum, times(tile_scales(tile), *x_scale));
            }
        }
        put(out, g, total);
    }
}
