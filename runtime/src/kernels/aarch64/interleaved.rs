//! Products of interleaved rows of activations, written once over the instruction that multiplies: `sdot` or `smmla`.
//!
//! A register tile is 8 weight rows by [`ROWS`] rows of activations: 12 vectors of sums of a block, and 12 of a span
//! (nibbles) or of all blocks (bytes), which leaves the 32 registers 8 for what is multiplied. The activations of a tile
//! lie in the order in which it takes them, so that three pointers lead to all that it reads.
//!
//! Sums of nibbles go on through a span of blocks, as [`neon_integer`](super::neon_integer) explains.
// Loops over `0..N`, because LLVM unrolls them into registers; of zipped iterators it makes memory.
#![allow(clippy::needless_range_loop)]

use super::super::panel::{Columns, PANEL_ROWS, SPAN, check_lengths};
use super::neon_integer::HALF_BLOCK;
use crate::format::block::{BLOCK, GROUP};
use core::arch::aarch64::*;

/// Rows of activations of a register tile, interleaved.
pub(super) const ROWS: usize = super::super::MOST_INTERLEAVED;
/// Values of them that belong to a block.
const BLOCKS: usize = ROWS * BLOCK;
/// Weights and activations that are multiplied at a time, of each row.
const RUN: usize = 8;
/// Vectors of that many activations of all rows, two rows each.
pub(super) const PAIRS: usize = ROWS / 2;

/// Sums of `X` vectors of rows of activations by `W` vectors of weight rows.
pub(super) type Sums<const X: usize, const W: usize> = [[int32x4_t; W]; X];

/// An instruction that multiplies, and how it wants its sums: `X * W` vectors for 6 by 8 rows.
///
/// # Safety
/// Implementors state the CPU features that their methods need; whoever calls them, or a function that is generic over
/// them, has those enabled.
pub(super) unsafe trait Multiplier<const X: usize, const W: usize> {
    /// Lanes that a weight row has in a sum.
    const LANES: usize = 4 * W / GROUP;

    /// Adds the products of 8 weights of 8 rows and 8 activations of 6.
    ///
    /// # Safety
    /// `w` points to 64 bytes.
    unsafe fn add_runs(sum: Sums<X, W>, w: *const i8, x: [int8x16_t; PAIRS]) -> Sums<X, W>;
    /// Scales of 6 rows of activations, each for the lanes that its sums have.
    ///
    /// # Safety
    /// `scales` points to 6.
    unsafe fn of_activations(scales: *const f32) -> [float32x4_t; X];
    /// Sums of 8 weight rows for each row of activations, brought into the order of the lanes.
    unsafe fn to_lanes(rows: [[float32x4_t; 2]; ROWS]) -> [[float32x4_t; W]; X];
    /// And back.
    unsafe fn to_rows(lanes: [[float32x4_t; W]; X]) -> [[float32x4_t; 2]; ROWS];
}

/// Adds the products of a block and 8 rows. Written out, because LLVM keeps loops of this length.
///
/// # Safety
/// As for [`Multiplier`]; `w` points to [`HALF_BLOCK`] bytes, `x` to [`BLOCKS`].
#[inline(always)]
unsafe fn add_block<const X: usize, const W: usize, M: Multiplier<X, W>>(
    mut sum: Sums<X, W>,
    w: *const i8,
    x: *const i8,
) -> Sums<X, W> {
    // SAFETY: this function's contract.
    unsafe {
        sum = M::add_runs(sum, w, load(x));
        sum = M::add_runs(sum, w.add(RUN * GROUP), load(x.add(RUN * ROWS)));
        sum = M::add_runs(sum, w.add(2 * RUN * GROUP), load(x.add(2 * RUN * ROWS)));
        M::add_runs(sum, w.add(3 * RUN * GROUP), load(x.add(3 * RUN * ROWS)))
    }
}

/// 8 activations of each row.
///
/// # Safety
/// There are as many.
#[inline(always)]
unsafe fn load(x: *const i8) -> [int8x16_t; PAIRS] {
    // SAFETY: this function's contract.
    unsafe { [vld1q_s8(x), vld1q_s8(x.add(16)), vld1q_s8(x.add(32))] }
}

/// A block of 8 rows of a panel, its steps, and the block of each row of activations that it meets.
#[derive(Clone, Copy)]
struct Place<const W: usize> {
    w: *const i8,
    /// `W` vectors.
    steps: *const f32,
    x: *const i8,
}

impl<const W: usize> Place<W> {
    /// The block that comes `n` later.
    ///
    /// # Safety
    /// There is one.
    #[inline(always)]
    unsafe fn after(self, n: usize) -> Self {
        // SAFETY: this function's contract.
        unsafe {
            Place {
                w: self.w.add(n * HALF_BLOCK),
                steps: self.steps.add(n * 4 * W),
                x: self.x.add(n * BLOCKS),
            }
        }
    }
}

/// Adds a block's products to the first sums, and these times the steps to the second.
///
/// # Safety
/// As for [`Multiplier`]; the place is one.
#[inline(always)]
unsafe fn add_scaled_block<const X: usize, const W: usize, M: Multiplier<X, W>>(
    (sum, mut whole): (Sums<X, W>, Sums<X, W>),
    place: Place<W>,
) -> (Sums<X, W>, Sums<X, W>) {
    // SAFETY: this function's contract.
    unsafe {
        let sum = add_block::<X, W, M>(sum, place.w, place.x);
        for j in 0..W {
            let steps = vld1q_s32(place.steps.add(4 * j).cast());
            for i in 0..X {
                whole[i][j] = vmlaq_s32(whole[i][j], sum[i][j], steps);
            }
        }
        (sum, whole)
    }
}

/// [`Multiply`](super::super::panel::Multiply) of nibbles.
///
/// # Safety
/// As for [`Multiplier`].
#[inline(always)]
pub(super) unsafe fn multiply_q4<const X: usize, const W: usize, M: Multiplier<X, W>>(
    values: &[u8],
    steps: &[f32],
    x: Columns<'_, 1>,
    sums: &mut [[f32; PANEL_ROWS]; ROWS],
) {
    let blocks = steps.len() / (PANEL_ROWS * M::LANES);
    check_lengths(blocks, values, &x, ROWS);
    let [(q, scales, _)] = x;
    for half in 0..2 {
        let at = half * blocks;
        // SAFETY: both halves of the panel and the rows of activations have `blocks` blocks, which was checked.
        unsafe {
            let mut totals = M::to_lanes(load_sums(sums, half));
            for first in (0..blocks).step_by(SPAN) {
                let place = Place::<W> {
                    w: values.as_ptr().add((at + first) * HALF_BLOCK).cast(),
                    steps: steps.as_ptr().add((at + first) * 4 * W),
                    x: q.as_ptr().add(first * BLOCKS),
                };
                let zero = [[vdupq_n_s32(0); W]; X];
                let mut both = (zero, zero);
                if first + SPAN <= blocks {
                    both = add_scaled_block::<X, W, M>(both, place);
                    both = add_scaled_block::<X, W, M>(both, place.after(1));
                    both = add_scaled_block::<X, W, M>(both, place.after(2));
                    both = add_scaled_block::<X, W, M>(both, place.after(3));
                } else {
                    for n in 0..blocks - first {
                        both = add_scaled_block::<X, W, M>(both, place.after(n));
                    }
                }
                let scale = M::of_activations(scales.as_ptr().add(first * ROWS));
                for i in 0..X {
                    for j in 0..W {
                        totals[i][j] = vfmaq_f32(totals[i][j], vcvtq_f32_s32(both.1[i][j]), scale[i]);
                    }
                }
            }
            store_sums(M::to_rows(totals), sums, half);
        }
    }
}

/// [`Multiply`](super::super::panel::Multiply) of bytes.
///
/// # Safety
/// As for [`Multiplier`].
#[inline(always)]
pub(super) unsafe fn multiply_q8<const X: usize, const W: usize, M: Multiplier<X, W>>(
    values: &[u8],
    scales: &[f32],
    x: Columns<'_, 1>,
    sums: &mut [[f32; PANEL_ROWS]; ROWS],
) {
    let blocks = scales.len() / (PANEL_ROWS * M::LANES);
    check_lengths(blocks, values, &x, ROWS);
    let [(q, x_scales, _)] = x;
    for half in 0..2 {
        let at = half * blocks;
        // SAFETY: as in `multiply_q4`.
        unsafe {
            let mut totals = M::to_lanes(load_sums(sums, half));
            for b in 0..blocks {
                let w = values.as_ptr().add((at + b) * HALF_BLOCK).cast();
                let sum = add_block::<X, W, M>([[vdupq_n_s32(0); W]; X], w, q.as_ptr().add(b * BLOCKS));
                let scales = scales.as_ptr().add((at + b) * 4 * W);
                let x_scales = M::of_activations(x_scales.as_ptr().add(b * ROWS));
                for j in 0..W {
                    let scale = vld1q_f32(scales.add(4 * j));
                    for i in 0..X {
                        let scaled = vmulq_f32(vcvtq_f32_s32(sum[i][j]), scale);
                        totals[i][j] = vfmaq_f32(totals[i][j], scaled, x_scales[i]);
                    }
                }
            }
            store_sums(M::to_rows(totals), sums, half);
        }
    }
}

/// The sums of one half of the weight rows.
#[inline(always)]
unsafe fn load_sums(sums: &[[f32; PANEL_ROWS]; ROWS], half: usize) -> [[float32x4_t; 2]; ROWS] {
    // SAFETY: NEON is there; a half holds two vectors of 4 floats.
    unsafe {
        let mut rows = [[vdupq_n_f32(0.0); 2]; ROWS];
        for t in 0..ROWS {
            let at = sums[t].as_ptr().add(half * GROUP);
            rows[t] = [vld1q_f32(at), vld1q_f32(at.add(4))];
        }
        rows
    }
}

/// Puts them back.
#[inline(always)]
unsafe fn store_sums(rows: [[float32x4_t; 2]; ROWS], sums: &mut [[f32; PANEL_ROWS]; ROWS], half: usize) {
    for t in 0..ROWS {
        // SAFETY: as in `load_sums`.
        unsafe {
            let at = sums[t].as_mut_ptr().add(half * GROUP);
            vst1q_f32(at, rows[t][0]);
            vst1q_f32(at.add(4), rows[t][1]);
        }
    }
}
