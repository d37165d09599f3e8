//! Integer products with NEON alone: `smlal` adds eight products of bytes to sums of 16 bits.
//!
//! Weights of a run stand four to a row, so that a vector of 16 bytes is a run of four rows, and a run of activations
//! meets it four times over. Its products go to eight lanes, two rows by four places of the run.
//!
//! A nibble of -8 to 7 times an activation is at most 8 * 127, and 32 such products fit into 16 bits: as many as a
//! lane takes in a whole span of blocks. So sums are never widened into a new one at the end of a block: they go on
//! through the span, and what they are multiplied by at the end of a block is its step less the next one's, which
//! adds up to every block's own products times its own step. [`spread_steps`] takes those differences.
//!
//! Of bytes, two products fit (-128 * -127 * 2 < 2^15) before `sadalp` widens them.
// Loops over `0..N`, because LLVM unrolls them into registers; of zipped iterators it makes memory.
#![allow(clippy::needless_range_loop)]

use super::super::panel::{self, Columns, PANEL_ROWS, RegisterTile, SPAN, check_lengths};
use super::super::{Output, Panel, QuantizedRows, WeightRows};
use crate::format::block::{BLOCK, CHUNK, GROUP, Q4_STEPS, Q4Group, Q8_SCALES, Q8_TILE};
use core::arch::aarch64::*;
use core::ops::Range;

#[target_feature(enable = "neon")]
pub(super) fn gemm_q8(
    w: &WeightRows<'_>,
    x: &QuantizedRows<'_>,
    out: &mut Output<'_>,
    panel: &mut Panel<'_>,
) {
    match x.n() {
        1 => gemv_q8(w, x, out),
        // SAFETY: NEON is there.
        _ => unsafe { panel::gemm(&TILE, w, x, out, panel) },
    }
}

#[target_feature(enable = "neon")]
pub(super) fn gemm_q4(
    w: &WeightRows<'_>,
    x: &QuantizedRows<'_>,
    out: &mut Output<'_>,
    panel: &mut Panel<'_>,
) {
    match x.n() {
        1 => gemv_q4(w, x, out),
        // SAFETY: NEON is there.
        _ => unsafe { panel::gemm(&TILE, w, x, out, panel) },
    }
}

/// Rows of activations of a register tile: with 8 weight rows they take 24 of the 32 registers.
const COLUMNS: usize = 3;

const TILE: RegisterTile<COLUMNS, COLUMNS> = RegisterTile {
    depth: DEPTH,
    lanes: 1,
    spread_q8: spread_q8::<LANES>,
    spread_q4: spread_q4::<LANES>,
    multiply_q8,
    multiply_q4,
};

/// Half of 32 KiB of cache, which Cortex-A53 and A72 have.
const DEPTH: usize = 1024;

/// Bytes of a block of half a panel: 8 rows.
pub(super) const HALF_BLOCK: usize = GROUP * BLOCK;
/// Vectors of half of that: four runs.
const VECTORS: usize = HALF_BLOCK / 2 / 16;

/// How a panel is ordered, by the instruction that it is for. `smlal`: runs as they lie in the file; steps of 16 bits,
/// each twice, because a row has two lanes.
const LANES: u8 = 0;
/// `sdot`: runs as they lie; steps of 32 bits, and a row has one lane.
pub(super) const DOTS: u8 = 1;
/// `smmla`: two runs side by side of rows 0 and 1, then of rows 2 and 3, and so on; steps of 32 bits and scales, each
/// twice, because a row has a lane for each of two rows of activations.
pub(super) const MATRICES: u8 = 2;

/// Floats that the scales, or steps, of 8 rows take.
const fn scales_of(layout: u8) -> usize {
    if layout == MATRICES { 2 * GROUP } else { GROUP }
}

/// Nibbles become bytes of -8 to 7, steps the differences that cumulative sums are multiplied by.
#[target_feature(enable = "neon")]
pub(super) fn spread_q4<const LAYOUT: u8>(
    group: &[u8],
    tiles: Range<usize>,
    half: usize,
    values: &mut [u8],
    scales: &mut [f32],
) {
    let blocks = tiles.len();
    let (values, steps) = halves::<LAYOUT>(half, blocks, values, scales);
    let group = Q4Group::new(group);
    for (values, (_, nibbles)) in values.iter_mut().zip(group.tiles(tiles.clone())) {
        let mut low_runs = [vdupq_n_s8(0); VECTORS];
        let mut high_runs = low_runs;
        let runs = low_runs.iter_mut().zip(&mut high_runs);
        for (both, (low_run, high_run)) in nibbles.as_chunks::<16>().0.iter().zip(runs) {
            // SAFETY: the chunk holds 16 bytes.
            let both = unsafe { vld1q_u8(both.as_ptr()) };
            let (low, high) = nibbles_of(both);
            (*low_run, *high_run) = (vsubq_s8(low, vdupq_n_s8(8)), vsubq_s8(high, vdupq_n_s8(8)));
        }
        let (first, second) = values.split_at_mut(HALF_BLOCK / 2);
        store::<LAYOUT>(low_runs, first);
        store::<LAYOUT>(high_runs, second);
    }
    spread_steps::<LAYOUT>(&group, tiles, steps);
}

/// Bytes as they are, and their scales.
#[target_feature(enable = "neon")]
pub(super) fn spread_q8<const LAYOUT: u8>(
    group: &[u8],
    tiles: Range<usize>,
    half: usize,
    values: &mut [u8],
    scales: &mut [f32],
) {
    let (values, scales) = halves::<LAYOUT>(half, tiles.len(), values, scales);
    let tiles = group.as_chunks::<Q8_TILE>().0[tiles].iter();
    for ((tile, values), scales) in tiles.zip(values).zip(scales.chunks_exact_mut(scales_of(LAYOUT))) {
        let chunks = &tile[Q8_SCALES..];
        for (chunks, values) in
            chunks.as_chunks::<{ HALF_BLOCK / 2 }>().0.iter().zip(values.chunks_exact_mut(HALF_BLOCK / 2))
        {
            let mut runs = [vdupq_n_s8(0); VECTORS];
            for (run, chunk) in runs.iter_mut().zip(chunks.as_chunks::<16>().0) {
                // SAFETY: the chunk holds 16 bytes.
                *run = unsafe { vld1q_s8(chunk.as_ptr().cast()) };
            }
            store::<LAYOUT>(runs, values);
        }
        let of_rows = tile_scales(tile);
        let [first, second] = of_rows.map(|scales| vreinterpretq_s32_f32(scales));
        store_scales::<LAYOUT>(first, second, scales);
    }
}

/// A half of the panel: its blocks, and the scales of 8 rows a block. It lies in one piece, because a register tile has 8
/// rows.
fn halves<'a, const LAYOUT: u8>(
    half: usize,
    blocks: usize,
    values: &'a mut [u8],
    scales: &'a mut [f32],
) -> (&'a mut [[u8; HALF_BLOCK]], &'a mut [f32]) {
    let values = &mut values.as_chunks_mut::<HALF_BLOCK>().0[half * blocks..][..blocks];
    let n = blocks * scales_of(LAYOUT);
    (values, &mut scales[half * n..][..n])
}

/// Writes four runs of 8 rows, each of which `runs` holds in two vectors of 4 rows.
#[inline]
#[target_feature(enable = "neon")]
fn store<const LAYOUT: u8>(runs: [int8x16_t; VECTORS], out: &mut [u8]) {
    let mut runs = runs.map(|run| vreinterpretq_u32_s8(run));
    if LAYOUT == MATRICES {
        // Of each pair of runs, four rows and the other four.
        for i in [0, 4] {
            let [a, b, c, d] = [runs[i], runs[i + 1], runs[i + 2], runs[i + 3]];
            (runs[i], runs[i + 1]) = (vzip1q_u32(a, c), vzip2q_u32(a, c));
            (runs[i + 2], runs[i + 3]) = (vzip1q_u32(b, d), vzip2q_u32(b, d));
        }
    }
    for (run, out) in runs.into_iter().zip(out.as_chunks_mut::<16>().0) {
        // SAFETY: the chunk holds 16 bytes.
        unsafe { vst1q_u8(out.as_mut_ptr(), vreinterpretq_u8_u32(run)) };
    }
}

/// The steps of a half of the panel, each less its successor within the span.
#[inline]
#[target_feature(enable = "neon")]
fn spread_steps<const LAYOUT: u8>(group: &Q4Group<'_>, tiles: Range<usize>, out: &mut [f32]) {
    let (steps, _) = group.parts();
    for (b, out) in tiles.clone().zip(out.chunks_exact_mut(scales_of(LAYOUT))) {
        let mut step = widened_steps(&steps[b]);
        if !(b + 1).is_multiple_of(SPAN) && b + 1 < tiles.end {
            step = vsubq_s16(step, widened_steps(&steps[b + 1]));
        }
        let [first, second] = match LAYOUT {
            LANES => {
                [vreinterpretq_s32_s16(vzip1q_s16(step, step)), vreinterpretq_s32_s16(vzip2q_s16(step, step))]
            }
            _ => [vmovl_s16(vget_low_s16(step)), vmovl_high_s16(step)],
        };
        store_scales::<LAYOUT>(first, second, out);
    }
}

/// Writes scales or steps of 8 rows, in 32 bits each.
#[inline]
#[target_feature(enable = "neon")]
fn store_scales<const LAYOUT: u8>(first: int32x4_t, second: int32x4_t, out: &mut [f32]) {
    let out = &mut out[..scales_of(LAYOUT)];
    let mut put = |at: usize, x: int32x4_t| {
        // SAFETY: four floats have the bytes of four steps, and the slice is checked.
        unsafe { vst1q_s32(out[at..at + 4].as_mut_ptr().cast(), x) };
    };
    if LAYOUT == MATRICES {
        put(0, vzip1q_s32(first, first));
        put(4, vzip2q_s32(first, first));
        put(8, vzip1q_s32(second, second));
        put(12, vzip2q_s32(second, second));
    } else {
        put(0, first);
        put(4, second);
    }
}

/// The 8 scales that a tile of bytes begins with.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn tile_scales(tile: &[u8; Q8_TILE]) -> [float32x4_t; 2] {
    // SAFETY: 8 scales of 2 bytes.
    let scales = vreinterpretq_f16_u16(unsafe { vld1q_u16(tile.as_ptr().cast()) });
    [vcvt_f32_f16(vget_low_f16(scales)), vcvt_high_f32_f16(scales)]
}

/// The 8 steps of a tile of nibbles.
#[inline]
#[target_feature(enable = "neon")]
fn widened_steps(steps: &[u8; Q4_STEPS]) -> int16x8_t {
    // SAFETY: 8 bytes.
    vmovl_s8(unsafe { vld1_s8(steps.as_ptr().cast()) })
}

/// Sums of 4 rows by pairs: those of rows 0 and 1 in one vector, of 2 and 3 in the next, two lanes each.
type Sums<const N: usize> = [[int32x4_t; 4]; N];

/// The sums of 8 rows.
#[inline]
#[target_feature(enable = "neon")]
fn rows_of(sums: [int32x4_t; 4]) -> [int32x4_t; 2] {
    [vpaddq_s32(sums[0], sums[1]), vpaddq_s32(sums[2], sums[3])]
}

/// `sums += whole * scale` for one half of the rows.
#[inline]
#[target_feature(enable = "neon")]
fn add_scaled(sums: &mut [f32; PANEL_ROWS], half: usize, whole: [int32x4_t; 2], scale: [float32x4_t; 2]) {
    let sums = &mut sums.as_chunks_mut::<4>().0[2 * half..];
    for ((sums, scale), whole) in sums.iter_mut().zip(scale).zip(whole) {
        // SAFETY: the chunk holds 4 floats.
        unsafe {
            vst1q_f32(sums.as_mut_ptr(), vfmaq_f32(vld1q_f32(sums.as_ptr()), vcvtq_f32_s32(whole), scale))
        };
    }
}

/// A run of activations (number `RUN` of 4), four times over.
#[inline(always)]
fn run_of<const RUN: i32>(x: int8x16_t) -> int8x16_t {
    // SAFETY: NEON is there.
    unsafe { vreinterpretq_s8_s32(vdupq_laneq_s32::<RUN>(vreinterpretq_s32_s8(x))) }
}

/// Adds the products of run `RUN` and 8 rows.
///
/// # Safety
/// `w` points to 32 bytes.
#[inline(always)]
unsafe fn add_run<const RUN: i32>(mut sum: NarrowSums, w: *const i8, x: [int8x16_t; COLUMNS]) -> NarrowSums {
    // SAFETY: this function's contract.
    unsafe {
        let w = [vld1q_s8(w), vld1q_s8(w.add(16))];
        for t in 0..COLUMNS {
            let x = run_of::<RUN>(x[t]);
            for v in 0..2 {
                sum[t][2 * v] = vmlal_s8(sum[t][2 * v], vget_low_s8(w[v]), vget_low_s8(x));
                sum[t][2 * v + 1] = vmlal_high_s8(sum[t][2 * v + 1], w[v], x);
            }
        }
        sum
    }
}

/// Where block `b` of each row of activations lies.
///
/// # Safety
/// There are as many blocks.
#[inline(always)]
unsafe fn pointers<const N: usize>(x: &Columns<'_, N>, b: usize) -> [*const i8; N] {
    let mut pointers = [core::ptr::null(); N];
    for t in 0..N {
        // SAFETY: this function's contract.
        pointers[t] = unsafe { x[t].0.as_ptr().add(b * BLOCK) };
    }
    pointers
}

/// Sixteen activations of each row, from `at` on.
///
/// # Safety
/// There are as many.
#[inline(always)]
unsafe fn load<const N: usize>(x: [*const i8; N], at: usize) -> [int8x16_t; N] {
    // SAFETY: this function's contract.
    unsafe {
        let mut runs = [vdupq_n_s8(0); N];
        for t in 0..N {
            runs[t] = vld1q_s8(x[t].add(at));
        }
        runs
    }
}

/// A block of 8 rows of a panel, its steps, and the block of each row of activations that it meets.
#[derive(Clone, Copy)]
struct Place<const N: usize> {
    w: *const i8,
    /// 4 bytes a row.
    steps: *const f32,
    x: [*const i8; N],
}

impl<const N: usize> Place<N> {
    /// Block `b` of one half of a panel.
    ///
    /// # Safety
    /// Both halves of the panel and the rows of activations have such a block.
    #[inline(always)]
    unsafe fn of(values: &[u8], steps: &[f32], x: &Columns<'_, N>, half: usize, b: usize) -> Self {
        let at = half * (steps.len() / PANEL_ROWS) + b;
        // SAFETY: this function's contract.
        unsafe {
            Place {
                w: values.as_ptr().add(at * HALF_BLOCK).cast(),
                steps: steps.as_ptr().add(at * GROUP),
                x: pointers(x, b),
            }
        }
    }

    /// The block that comes `n` later.
    ///
    /// # Safety
    /// There is one.
    #[inline(always)]
    unsafe fn after(mut self, n: usize) -> Self {
        // SAFETY: this function's contract.
        unsafe {
            self.w = self.w.add(n * HALF_BLOCK);
            self.steps = self.steps.add(n * GROUP);
            for t in 0..N {
                self.x[t] = self.x[t].add(n * BLOCK);
            }
        }
        self
    }
}

/// Sums of 16 bits: four lanes a row.
type NarrowSums = [[int16x8_t; 4]; COLUMNS];

/// Adds a block's products to the first sums, and these times the steps to the second. Written out, because LLVM keeps
/// loops of this length.
///
/// # Safety
/// The place is one.
#[inline(always)]
unsafe fn add_scaled_block(
    (mut sum, mut whole): (NarrowSums, Sums<COLUMNS>),
    place: Place<COLUMNS>,
) -> (NarrowSums, Sums<COLUMNS>) {
    // SAFETY: this function's contract.
    unsafe {
        let w = place.w;
        let x = load(place.x, 0);
        sum = add_run::<0>(sum, w, x);
        sum = add_run::<1>(sum, w.add(CHUNK), x);
        sum = add_run::<2>(sum, w.add(2 * CHUNK), x);
        sum = add_run::<3>(sum, w.add(3 * CHUNK), x);
        let x = load(place.x, 16);
        sum = add_run::<0>(sum, w.add(4 * CHUNK), x);
        sum = add_run::<1>(sum, w.add(5 * CHUNK), x);
        sum = add_run::<2>(sum, w.add(6 * CHUNK), x);
        sum = add_run::<3>(sum, w.add(7 * CHUNK), x);
        for i in 0..2 {
            let steps = vld1q_s16(place.steps.cast::<i16>().add(i * GROUP));
            let steps = [vmovl_s16(vget_low_s16(steps)), vmovl_high_s16(steps)];
            for t in 0..COLUMNS {
                for j in 0..2 {
                    let sum = vpaddlq_s16(sum[t][2 * i + j]);
                    whole[t][2 * i + j] = vmlaq_s32(whole[t][2 * i + j], sum, steps[j]);
                }
            }
        }
        (sum, whole)
    }
}

#[target_feature(enable = "neon")]
fn multiply_q4(
    values: &[u8],
    steps: &[f32],
    x: Columns<'_, COLUMNS>,
    sums: &mut [[f32; PANEL_ROWS]; COLUMNS],
) {
    let blocks = steps.len() / PANEL_ROWS;
    check_lengths(blocks, values, &x, 1);
    for half in 0..2 {
        for first in (0..blocks).step_by(SPAN) {
            // SAFETY: both halves of the panel and the rows of activations have `blocks` blocks, which was checked, and
            // 16 steps of 16 bits a block.
            unsafe {
                let place = Place::of(values, steps, &x, half, first);
                let mut both = ([[vdupq_n_s16(0); 4]; COLUMNS], [[vdupq_n_s32(0); 4]; COLUMNS]);
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
                    add_scaled(&mut sums[t], half, rows_of(both.1[t]), [scale; 2]);
                }
            }
        }
    }
}

#[target_feature(enable = "neon")]
fn multiply_q8(
    values: &[u8],
    scales: &[f32],
    x: Columns<'_, COLUMNS>,
    sums: &mut [[f32; PANEL_ROWS]; COLUMNS],
) {
    let blocks = scales.len() / PANEL_ROWS;
    check_lengths(blocks, values, &x, 1);
    for half in 0..2 {
        for b in 0..blocks {
            let at = half * blocks + b;
            // SAFETY: as in `multiply_q4`; 8 scales a block and half.
            unsafe {
                let w = values.as_ptr().add(at * HALF_BLOCK).cast();
                let sum = add_bytes([[vdupq_n_s32(0); 4]; COLUMNS], w, pointers(&x, b));
                let scales = scales.as_ptr().add(at * GROUP);
                let scales = [vld1q_f32(scales), vld1q_f32(scales.add(4))];
                for t in 0..COLUMNS {
                    add_scaled(&mut sums[t], half, rows_of(sum[t]), times(scales, *x[t].1.as_ptr().add(b)));
                }
            }
        }
    }
}

/// Adds the products of a block and 8 rows of bytes.
///
/// # Safety
/// `w` points to [`HALF_BLOCK`] bytes, `x` to a block of each row of activations.
#[inline(always)]
unsafe fn add_bytes<const N: usize>(mut sum: Sums<N>, w: *const i8, x: [*const i8; N]) -> Sums<N> {
    // SAFETY: this function's contract.
    unsafe {
        let run = load(x, 0);
        sum = add_two_runs::<0, 1, N>(sum, w, run);
        sum = add_two_runs::<2, 3, N>(sum, w.add(2 * CHUNK), run);
        let run = load(x, 16);
        sum = add_two_runs::<0, 1, N>(sum, w.add(4 * CHUNK), run);
        add_two_runs::<2, 3, N>(sum, w.add(6 * CHUNK), run)
    }
}

/// Adds the products of two neighbouring runs of 8 rows of bytes.
///
/// # Safety
/// `w` points to 64 bytes.
#[inline(always)]
unsafe fn add_two_runs<const A: i32, const B: i32, const N: usize>(
    mut sum: Sums<N>,
    w: *const i8,
    x: [int8x16_t; N],
) -> Sums<N> {
    // SAFETY: this function's contract.
    unsafe {
        let w = [vld1q_s8(w), vld1q_s8(w.add(16)), vld1q_s8(w.add(32)), vld1q_s8(w.add(48))];
        for t in 0..N {
            let (a, b) = (run_of::<A>(x[t]), run_of::<B>(x[t]));
            for v in 0..2 {
                let low = vmull_s8(vget_low_s8(w[v]), vget_low_s8(a));
                let low = vmlal_s8(low, vget_low_s8(w[2 + v]), vget_low_s8(b));
                let high = vmlal_high_s8(vmull_high_s8(w[v], a), w[2 + v], b);
                sum[t][2 * v] = vpadalq_s16(sum[t][2 * v], low);
                sum[t][2 * v + 1] = vpadalq_s16(sum[t][2 * v + 1], high);
            }
        }
        sum
    }
}

/// Both vectors times a number.
#[inline(always)]
pub(super) unsafe fn times(x: [float32x4_t; 2], y: f32) -> [float32x4_t; 2] {
    // SAFETY: NEON is there.
    unsafe { [vmulq_n_f32(x[0], y), vmulq_n_f32(x[1], y)] }
}

/// One row of activations: each tile is read once and used from registers. Nibbles stay 0 to 15, 8 too much, and the sums
/// of a block start at what the activations bring along for that.
#[target_feature(enable = "neon")]
fn gemv_q4(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>) {
    let (q, scale, offset) = x.row(0);
    assert!(q.len() == scale.len() * BLOCK && offset.len() == scale.len());
    for g in 0..w.groups() {
        let group = Q4Group::new(w.group(g));
        let (steps, nibbles) = group.parts();
        assert_eq!(steps.len(), scale.len());
        let mut total = [vdupq_n_f32(0.0); 2];
        for first in (0..scale.len()).step_by(SPAN) {
            let tiles = first..scale.len().min(first + SPAN);
            let mut whole = [vdupq_n_s32(0); 4];
            let tiles = steps[tiles.clone()].iter().zip(&nibbles[tiles.clone()]).zip(tiles);
            for ((steps, nibbles), b) in tiles {
                // SAFETY: `b` is below the number of blocks, for which the lengths were checked above; a tile holds 4
                // chunks of 32 bytes.
                unsafe {
                    let x = q.as_ptr().add(b * BLOCK);
                    let x = [vld1q_s8(x), vld1q_s8(x.add(16))];
                    // In the first two of the four lanes of each row.
                    let start = u64::from(*offset.as_ptr().add(b) as u32);
                    let mut sum = [vreinterpretq_s16_u64(vdupq_n_u64(start)); 4];
                    sum = add_nibbles::<0>(sum, nibbles.as_ptr(), x);
                    sum = add_nibbles::<1>(sum, nibbles.as_ptr().add(CHUNK), x);
                    sum = add_nibbles::<2>(sum, nibbles.as_ptr().add(2 * CHUNK), x);
                    sum = add_nibbles::<3>(sum, nibbles.as_ptr().add(3 * CHUNK), x);
                    let steps = widened_steps(steps);
                    let pairs = [vzip1q_s16(steps, steps), vzip2q_s16(steps, steps)];
                    for i in 0..2 {
                        let steps = [vmovl_s16(vget_low_s16(pairs[i])), vmovl_high_s16(pairs[i])];
                        for j in 0..2 {
                            whole[2 * i + j] =
                                vmlaq_s32(whole[2 * i + j], vpaddlq_s16(sum[2 * i + j]), steps[j]);
                        }
                    }
                }
            }
            total = plus_scaled(total, rows_of(whole), [vdupq_n_f32(scale[first]); 2]);
        }
        put_scaled(out, g, total, &group);
    }
}

/// Adds the products of chunk `RUN` and two runs: its low nibbles belong to the first 16 activations.
///
/// # Safety
/// `chunk` points to 32 bytes.
#[inline(always)]
unsafe fn add_nibbles<const RUN: i32>(
    mut sum: [int16x8_t; 4],
    chunk: *const u8,
    x: [int8x16_t; 2],
) -> [int16x8_t; 4] {
    // SAFETY: this function's contract.
    unsafe {
        let (first, second) = (run_of::<RUN>(x[0]), run_of::<RUN>(x[1]));
        for v in 0..2 {
            let (low, high) = nibbles_of(vld1q_u8(chunk.add(16 * v)));
            sum[2 * v] = vmlal_s8(sum[2 * v], vget_low_s8(low), vget_low_s8(first));
            sum[2 * v + 1] = vmlal_high_s8(sum[2 * v + 1], low, first);
            sum[2 * v] = vmlal_s8(sum[2 * v], vget_low_s8(high), vget_low_s8(second));
            sum[2 * v + 1] = vmlal_high_s8(sum[2 * v + 1], high, second);
        }
        sum
    }
}

/// The low and the high nibbles of bytes, from 0 to 15.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn nibbles_of(both: uint8x16_t) -> (int8x16_t, int8x16_t) {
    let low = vandq_u8(both, vdupq_n_u8(15));
    (vreinterpretq_s8_u8(low), vreinterpretq_s8_u8(vshrq_n_u8::<4>(both)))
}

/// `total + whole * scale`
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn plus_scaled(
    total: [float32x4_t; 2],
    whole: [int32x4_t; 2],
    scale: [float32x4_t; 2],
) -> [float32x4_t; 2] {
    [
        vfmaq_f32(total[0], vcvtq_f32_s32(whole[0]), scale[0]),
        vfmaq_f32(total[1], vcvtq_f32_s32(whole[1]), scale[1]),
    ]
}

/// The results of group `g`, times its rows' scales.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn put_scaled(out: &mut Output<'_>, g: usize, total: [float32x4_t; 2], group: &Q4Group<'_>) {
    // SAFETY: a group has 8 row scales of 4 bytes, and NEON loads take any alignment.
    let scales = unsafe { [0, 16].map(|at| vld1q_f32(group.scales()[at..].as_ptr().cast())) };
    put(out, g, [vmulq_f32(total[0], scales[0]), vmulq_f32(total[1], scales[1])]);
}

/// The results of group `g`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn put(out: &mut Output<'_>, g: usize, total: [float32x4_t; 2]) {
    let mut rows = [0.0; GROUP];
    for (rows, total) in rows.as_chunks_mut::<4>().0.iter_mut().zip(total) {
        // SAFETY: the chunk holds 4 floats.
        unsafe { vst1q_f32(rows.as_mut_ptr(), total) };
    }
    out.put_vectors(0, g * GROUP, rows);
}

/// As [`gemv_q4`].
#[target_feature(enable = "neon")]
fn gemv_q8(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>) {
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
                let [sum] = add_bytes([[vdupq_n_s32(0); 4]], w, [x.as_ptr()]);
                total = plus_scaled(total, rows_of(sum), times(tile_scales(tile), *x_scale));
            }
        }
        put(out, g, total);
    }
}
