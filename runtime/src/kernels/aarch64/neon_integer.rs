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

const TILE: RegisterTile<COLUMNS> = RegisterTile {
    depth: DEPTH,
    spread_q8: spread_q8::<false>,
    spread_q4: spread_q4::<false>,
    multiply_q8,
    multiply_q4,
};

/// Half of 32 KiB of cache, which Cortex-A53 and A72 have.
const DEPTH: usize = 1024;

/// Bytes of a block of half a panel: 8 rows.
pub(super) const HALF_BLOCK: usize = GROUP * BLOCK;
/// Vectors of half of that: four runs.
const VECTORS: usize = HALF_BLOCK / 2 / 16;

/// Nibbles become bytes of -8 to 7, steps the differences that cumulative sums are multiplied by. `PAIRED` is for
/// `smmla`: see [`store`].
#[target_feature(enable = "neon")]
pub(super) fn spread_q4<const PAIRED: bool>(
    group: &[u8],
    tiles: Range<usize>,
    half: usize,
    values: &mut [u8],
    scales: &mut [f32],
) {
    let blocks = tiles.len();
    let (values, steps) = halves(half, blocks, values, scales);
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
        store::<PAIRED>(low_runs, first);
        store::<PAIRED>(high_runs, second);
    }
    spread_steps(&group, tiles, steps);
}

/// Bytes as they are, and their scales.
#[target_feature(enable = "neon")]
pub(super) fn spread_q8<const PAIRED: bool>(
    group: &[u8],
    tiles: Range<usize>,
    half: usize,
    values: &mut [u8],
    scales: &mut [f32],
) {
    let (values, scales) = halves(half, tiles.len(), values, scales);
    let tiles = group.as_chunks::<Q8_TILE>().0[tiles].iter();
    for ((tile, values), scales) in tiles.zip(values).zip(scales.as_chunks_mut::<GROUP>().0) {
        let chunks = &tile[Q8_SCALES..];
        for (chunks, values) in
            chunks.as_chunks::<{ HALF_BLOCK / 2 }>().0.iter().zip(values.chunks_exact_mut(HALF_BLOCK / 2))
        {
            let mut runs = [vdupq_n_s8(0); VECTORS];
            for (run, chunk) in runs.iter_mut().zip(chunks.as_chunks::<16>().0) {
                // SAFETY: the chunk holds 16 bytes.
                *run = unsafe { vld1q_s8(chunk.as_ptr().cast()) };
            }
            store::<PAIRED>(runs, values);
        }
        let [first, second] = tile_scales(tile);
        // SAFETY: a block has 8 scales.
        unsafe {
            vst1q_f32(scales.as_mut_ptr(), first);
            vst1q_f32(scales[4..].as_mut_ptr(), second);
        }
    }
}

/// A half of the panel: its blocks, and 8 scales a block. It lies in one piece, because a register tile has 8 rows.
#[target_feature(enable = "neon")]
fn halves<'a>(
    half: usize,
    blocks: usize,
    values: &'a mut [u8],
    scales: &'a mut [f32],
) -> (&'a mut [[u8; HALF_BLOCK]], &'a mut [f32]) {
    let values = &mut values.as_chunks_mut::<HALF_BLOCK>().0[half * blocks..][..blocks];
    (values, &mut scales[half * blocks * GROUP..][..blocks * GROUP])
}

/// Writes four runs of 8 rows, each of which `runs` holds in two vectors of 4 rows. `PAIRED`: as two runs twice as long,
/// the vectors of two rows each.
#[inline]
#[target_feature(enable = "neon")]
fn store<const PAIRED: bool>(runs: [int8x16_t; VECTORS], out: &mut [u8]) {
    let mut runs = runs.map(|run| vreinterpretq_u32_s8(run));
    if PAIRED {
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

/// The steps of a half of the panel, each less its successor within the span: twice side by side, as 16 bits.
#[target_feature(enable = "neon")]
fn spread_steps(group: &Q4Group<'_>, tiles: Range<usize>, out: &mut [f32]) {
    let widened = |b: usize| widened_steps(group.tiles(b..b + 1).next().expect("a tile of the group").0);
    for (b, out) in tiles.clone().zip(out.as_chunks_mut::<GROUP>().0) {
        let mut step = widened(b);
        if !(b + 1).is_multiple_of(SPAN) && b + 1 < tiles.end {
            step = vsubq_s16(step, widened(b + 1));
        }
        // SAFETY: 8 floats have the bytes of 16 numbers of 16 bits.
        unsafe {
            vst1q_s16(out.as_mut_ptr().cast(), vzip1q_s16(step, step));
            vst1q_s16(out[4..].as_mut_ptr().cast(), vzip2q_s16(step, step));
        }
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
pub(super) fn widened_steps(steps: &[u8; Q4_STEPS]) -> int16x8_t {
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
pub(super) fn add_scaled(
    sums: &mut [f32; PANEL_ROWS],
    half: usize,
    whole: [int32x4_t; 2],
    scale: [float32x4_t; 2],
) {
    let sums = &mut sums.as_chunks_mut::<4>().0[2 * half..];
    for ((sums, scale), whole) in sums.iter_mut().zip(scale).zip(whole) {
        // SAFETY: the chunk holds 4 floats.
        unsafe {
            vst1q_f32(sums.as_mut_ptr(), vfmaq_f32(vld1q_f32(sums.as_ptr()), vcvtq_f32_s32(whole), scale))
        };
    }
}

/// A run of activations (number `LANE` of 4), four times over.
#[inline]
#[target_feature(enable = "neon")]
fn run_of<const LANE: i32>(x: int8x16_t) -> int8x16_t {
    vreinterpretq_s8_s32(vdupq_laneq_s32::<LANE>(vreinterpretq_s32_s8(x)))
}

/// Adds the products of a run and 8 rows.
///
/// # Safety
/// `w` points to 32 bytes.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn add_run<const LANE: i32>(
    sum: &mut [[int16x8_t; 4]; COLUMNS],
    w: *const i8,
    x: [int8x16_t; COLUMNS],
) {
    // SAFETY: this function's contract.
    let w = unsafe { [vld1q_s8(w), vld1q_s8(w.add(16))] };
    for (sum, x) in sum.iter_mut().zip(x) {
        let x = run_of::<LANE>(x);
        for (i, w) in w.into_iter().enumerate() {
            sum[2 * i] = vmlal_s8(sum[2 * i], vget_low_s8(w), vget_low_s8(x));
            sum[2 * i + 1] = vmlal_high_s8(sum[2 * i + 1], w, x);
        }
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
    check_lengths(blocks, values, &x);
    for half in 0..2 {
        for first in (0..blocks).step_by(SPAN) {
            let mut sum = [[vdupq_n_s16(0); 4]; COLUMNS];
            let mut whole: Sums<COLUMNS> = [[vdupq_n_s32(0); 4]; COLUMNS];
            for b in first..blocks.min(first + SPAN) {
                let at = half * blocks + b;
                // SAFETY: `b` is below `blocks`, for which all lengths were checked: both halves of the panel have
                // that many blocks, and 16 steps of 16 bits a block.
                unsafe {
                    for part in 0..2 {
                        let w = values.as_ptr().add((2 * at + part) * HALF_BLOCK / 2).cast::<i8>();
                        let x = x.map(|x| vld1q_s8(x.0.as_ptr().add(b * BLOCK + part * 16)));
                        add_run::<0>(&mut sum, w, x);
                        add_run::<1>(&mut sum, w.add(CHUNK), x);
                        add_run::<2>(&mut sum, w.add(2 * CHUNK), x);
                        add_run::<3>(&mut sum, w.add(3 * CHUNK), x);
                    }
                    let steps = steps.as_ptr().add(at * GROUP).cast::<i16>();
                    let steps = [vld1q_s16(steps), vld1q_s16(steps.add(8))];
                    for (whole, sum) in whole.iter_mut().zip(sum) {
                        for (i, steps) in steps.into_iter().enumerate() {
                            let steps = [vmovl_s16(vget_low_s16(steps)), vmovl_high_s16(steps)];
                            for (j, step) in steps.into_iter().enumerate() {
                                whole[2 * i + j] =
                                    vmlaq_s32(whole[2 * i + j], vpaddlq_s16(sum[2 * i + j]), step);
                            }
                        }
                    }
                }
            }
            for ((sums, whole), x) in sums.iter_mut().zip(whole).zip(&x) {
                add_scaled(sums, half, rows_of(whole), [vdupq_n_f32(x.1[first]); 2]);
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
    check_lengths(blocks, values, &x);
    for half in 0..2 {
        for b in 0..blocks {
            let at = half * blocks + b;
            let mut whole: Sums<COLUMNS> = [[vdupq_n_s32(0); 4]; COLUMNS];
            // SAFETY: as in `multiply_q4`; 8 scales a block and half.
            unsafe {
                for part in 0..2 {
                    let w = values.as_ptr().add((2 * at + part) * HALF_BLOCK / 2).cast::<i8>();
                    let x = x.map(|x| vld1q_s8(x.0.as_ptr().add(b * BLOCK + part * 16)));
                    add_two_runs::<0, 1, _>(&mut whole, w, x);
                    add_two_runs::<2, 3, _>(&mut whole, w.add(2 * CHUNK), x);
                }
                let scales = [0, 4].map(|i| vld1q_f32(scales.as_ptr().add(at * GROUP + i)));
                for ((sums, whole), x) in sums.iter_mut().zip(whole).zip(&x) {
                    let x_scale = *x.1.as_ptr().add(b);
                    add_scaled(sums, half, rows_of(whole), scales.map(|scale| vmulq_n_f32(scale, x_scale)));
                }
            }
        }
    }
}

/// Adds the products of two neighbouring runs of 8 rows of bytes.
///
/// # Safety
/// `w` points to 64 bytes.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn add_two_runs<const A: i32, const B: i32, const N: usize>(
    sum: &mut Sums<N>,
    w: *const i8,
    x: [int8x16_t; N],
) {
    // SAFETY: this function's contract.
    let w = unsafe { [0, 16, 32, 48].map(|at| vld1q_s8(w.add(at))) };
    for (sum, x) in sum.iter_mut().zip(x) {
        let (a, b) = (run_of::<A>(x), run_of::<B>(x));
        for i in 0..2 {
            let low = vmull_s8(vget_low_s8(w[i]), vget_low_s8(a));
            let high = vmull_high_s8(w[i], a);
            sum[2 * i] = vpadalq_s16(sum[2 * i], vmlal_s8(low, vget_low_s8(w[2 + i]), vget_low_s8(b)));
            sum[2 * i + 1] = vpadalq_s16(sum[2 * i + 1], vmlal_high_s8(high, w[2 + i], b));
        }
    }
}

/// One row of activations: each tile is read once and used from registers. Nibbles stay 0 to 15, 8 too much, and the sums
/// of a block start at what the activations bring along for that.
#[target_feature(enable = "neon")]
fn gemv_q4(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>) {
    let (q, scale, offset) = x.row(0);
    assert!(q.len() == scale.len() * BLOCK && offset.len() == scale.len());
    for g in 0..w.groups() {
        let group = Q4Group::new(w.group(g));
        let mut total = [vdupq_n_f32(0.0); 2];
        let mut whole = [vdupq_n_s32(0); 4];
        for (b, (steps, nibbles)) in group.tiles(0..scale.len()).enumerate() {
            // SAFETY: a tile holds 4 chunks of 32 bytes; `b` is below the number of blocks, for which the lengths were
            // checked above.
            unsafe {
                let x = [0, 16].map(|at| vld1q_s8(q.as_ptr().add(b * BLOCK + at)));
                // In the first two of the four lanes of each row.
                let start = vreinterpretq_s16_u64(vdupq_n_u64(u64::from(*offset.as_ptr().add(b) as u32)));
                let mut sum = [start; 4];
                add_nibbles::<0>(&mut sum, nibbles.as_ptr(), x);
                add_nibbles::<1>(&mut sum, nibbles.as_ptr().add(CHUNK), x);
                add_nibbles::<2>(&mut sum, nibbles.as_ptr().add(2 * CHUNK), x);
                add_nibbles::<3>(&mut sum, nibbles.as_ptr().add(3 * CHUNK), x);
                let steps = widened_steps(steps);
                for (i, pairs) in [vzip1q_s16(steps, steps), vzip2q_s16(steps, steps)].into_iter().enumerate()
                {
                    for (j, step) in
                        [vmovl_s16(vget_low_s16(pairs)), vmovl_high_s16(pairs)].into_iter().enumerate()
                    {
                        whole[2 * i + j] = vmlaq_s32(whole[2 * i + j], vpaddlq_s16(sum[2 * i + j]), step);
                    }
                }
                if (b + 1).is_multiple_of(SPAN) || b + 1 == scale.len() {
                    total = plus_scaled(total, rows_of(whole), [vdupq_n_f32(*scale.as_ptr().add(b)); 2]);
                    whole = [vdupq_n_s32(0); 4];
                }
            }
        }
        put_scaled(out, g, total, &group);
    }
}

/// Adds the products of chunk `LANE` and two runs: its low nibbles belong to the first 16 activations.
///
/// # Safety
/// `chunk` points to 32 bytes.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn add_nibbles<const LANE: i32>(sum: &mut [int16x8_t; 4], chunk: *const u8, x: [int8x16_t; 2]) {
    let (first, second) = (run_of::<LANE>(x[0]), run_of::<LANE>(x[1]));
    for i in 0..2 {
        // SAFETY: this function's contract.
        let (low, high) = nibbles_of(unsafe { vld1q_u8(chunk.add(16 * i)) });
        sum[2 * i] = vmlal_s8(sum[2 * i], vget_low_s8(low), vget_low_s8(first));
        sum[2 * i + 1] = vmlal_high_s8(sum[2 * i + 1], low, first);
        sum[2 * i] = vmlal_s8(sum[2 * i], vget_low_s8(high), vget_low_s8(second));
        sum[2 * i + 1] = vmlal_high_s8(sum[2 * i + 1], high, second);
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
        for (b, tile) in tiles.iter().enumerate() {
            let mut whole = [[vdupq_n_s32(0); 4]];
            // SAFETY: a tile holds 8 scales and 8 chunks of 32 bytes; `b` is below the number of blocks, for which the
            // lengths were checked above.
            unsafe {
                for part in 0..2 {
                    let x = [vld1q_s8(q.as_ptr().add(b * BLOCK + part * 16))];
                    let w = tile.as_ptr().add(Q8_SCALES + part * HALF_BLOCK / 2).cast::<i8>();
                    add_two_runs::<0, 1, _>(&mut whole, w, x);
                    add_two_runs::<2, 3, _>(&mut whole, w.add(2 * CHUNK), x);
                }
                let x_scale = *scale.as_ptr().add(b);
                let scale = tile_scales(tile).map(|scale| vmulq_n_f32(scale, x_scale));
                total = plus_scaled(total, rows_of(whole[0]), scale);
            }
        }
        put(out, g, total);
    }
}
