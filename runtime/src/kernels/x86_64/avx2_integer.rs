//! Integer products with AVX2: `vpmaddubsw` multiplies unsigned by signed bytes and adds pairs to 16 bits.
//!
//! Nibbles are unsigned (0 to 15), so eight products of pairs fit in 16 bits (15 * 127 * 2 * 8 < 2^15) before they must
//! be widened, and no sign has to be moved around; that every weight counts 8 too much is put right by starting the
//! sums of a block at -8 times the activations' sum, which the activations bring along. Signed bytes take the
//! magnitude of the weight and the activation with the weight's sign, one product of pairs at a time.

use super::super::panel::{
    self, Columns, PANEL_BLOCK, PANEL_K, PANEL_ROWS, RUNS, RegisterTile, SPAN, check_lengths,
};
use super::super::{Output, Panel, QuantizedRows, WeightRows};
use super::avx2_q4;
use crate::format::block::{BLOCK, CHUNK, GROUP, Q4_NIBBLES, Q4_STEPS, Q4Group, Q8_SCALES, Q8_TILE, RUN};
use core::arch::x86_64::*;
use core::ops::Range;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn gemm_q8(
    w: &WeightRows<'_>,
    x: &QuantizedRows<'_>,
    out: &mut Output<'_>,
    panel: &mut Panel<'_>,
) {
    if x.n() == 1 {
        return gemv_q8(w, x, out);
    }
    // SAFETY: this function has the features of `TILE`.
    unsafe { panel::gemm(&TILE, w, x, out, panel) }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn gemm_q4(
    w: &WeightRows<'_>,
    x: &QuantizedRows<'_>,
    out: &mut Output<'_>,
    panel: &mut Panel<'_>,
) {
    if x.n() == 1 {
        return gemv_q4(w, x, out);
    }
    // SAFETY: this function has the features of `TILE`.
    unsafe { panel::gemm(&TILE, w, x, out, panel) }
}

/// Rows of activations of a register tile: with 16 weight rows they take 8 of the 16 registers.
pub(super) const COLUMNS: usize = 4;

const TILE: RegisterTile<COLUMNS, COLUMNS> =
    RegisterTile { depth: PANEL_K, lanes: 1, spread_q8: spread_q8::<0>, spread_q4, multiply_q8, multiply_q4 };

/// Nibbles become bytes of 0 to 15, steps pairs of equal numbers of 16 bits: the second factors of `vpmaddwd`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn spread_q4(
    group: &[u8],
    tiles: Range<usize>,
    half: usize,
    values: &mut [u8],
    scales: &mut [f32],
) {
    let low = _mm256_set1_epi8(15);
    let blocks =
        values.as_chunks_mut::<PANEL_BLOCK>().0.iter_mut().zip(scales.as_chunks_mut::<PANEL_ROWS>().0);
    for ((values, scales), (steps, nibbles)) in blocks.zip(Q4Group::new(group).tiles(tiles)) {
        // SAFETY: a tile holds 8 steps and 4 chunks of 32 bytes, the panel's block two halves of 32 bytes of steps and
        // 8 runs of two halves of 32.
        unsafe {
            _mm256_storeu_si256(scales.as_mut_ptr().add(half * GROUP).cast(), step_pairs(steps));
            let out = values.as_mut_ptr().add(half * CHUNK);
            for c in 0..RUNS / 2 {
                let both = _mm256_loadu_si256(nibbles.as_ptr().add(c * CHUNK).cast());
                let high = _mm256_and_si256(_mm256_srli_epi16::<4>(both), low);
                _mm256_storeu_si256(out.add(c * 2 * CHUNK).cast(), _mm256_and_si256(both, low));
                _mm256_storeu_si256(out.add((c + RUNS / 2) * 2 * CHUNK).cast(), high);
            }
        }
    }
}

/// Signed bytes and their scales, with the bits of `TURNED` turned over in every four.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn spread_q8<const TURNED: i32>(
    group: &[u8],
    tiles: Range<usize>,
    half: usize,
    values: &mut [u8],
    scales: &mut [f32],
) {
    let turned = _mm256_set1_epi32(TURNED);
    let blocks =
        values.as_chunks_mut::<PANEL_BLOCK>().0.iter_mut().zip(scales.as_chunks_mut::<PANEL_ROWS>().0);
    for (tile, (values, scales)) in group.as_chunks::<Q8_TILE>().0[tiles].iter().zip(blocks) {
        // SAFETY: a tile holds 8 scales and 8 chunks of 32 bytes, the panel's block two halves of 8 scales and 8
        // runs of two halves of 32 bytes.
        unsafe {
            _mm256_storeu_ps(scales.as_mut_ptr().add(half * GROUP), tile_scales(tile.as_ptr()));
            for c in 0..RUNS {
                let chunk = _mm256_loadu_si256(tile.as_ptr().add(Q8_SCALES + c * CHUNK).cast());
                let out = values.as_mut_ptr().add((2 * c + half) * CHUNK);
                _mm256_storeu_si256(out.cast(), _mm256_xor_si256(chunk, turned));
            }
        }
    }
}

/// Each of 8 steps twice, as 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn step_pairs(steps: &[u8; Q4_STEPS]) -> __m256i {
    let steps = _mm_cvtsi64_si128(i64::from_le_bytes(*steps));
    _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(steps, steps))
}

/// The 8 scales that `tile` begins with.
///
/// # Safety
/// 16 bytes can be read there.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) unsafe fn tile_scales(tile: *const u8) -> __m256 {
    // SAFETY: this function's contract.
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(tile.cast())) }
}

/// Keeps a sum in a register and in order. Without it the compiler re-associates the whole block's additions, runs out
/// of registers and spills: measured, 76 instead of 108 GMAC/s.
macro_rules! pin {
    ($sum:expr) => {
        // SAFETY: no instruction at all; the register is read and written as it is.
        core::arch::asm!("/* {0} */", inout(ymm_reg) $sum, options(pure, nomem, nostack, preserves_flags))
    };
}
pub(super) use pin;

/// Sums of a register tile: of each row of activations, two vectors of weight rows.
type Sums = [[__m256i; 2]; COLUMNS];

/// Adds the products of one block.
///
/// # Safety
/// `block` points to a block of a panel, `x` to a block of each row of activations.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_block<const NIBBLES: bool>(block: *const u8, x: [*const i8; COLUMNS], mut sum: Sums) -> Sums {
    let ones = _mm256_set1_epi16(1);
    for run in 0..RUNS {
        // SAFETY: the runs of a block, of both: this function's contract.
        unsafe {
            let w = [0, CHUNK].map(|half| _mm256_loadu_si256(block.add(run * 2 * CHUNK + half).cast()));
            for (sum, x) in sum.iter_mut().zip(x) {
                let x = _mm256_set1_epi32(x.add(run * RUN).cast::<i32>().read_unaligned());
                for (sum, w) in sum.iter_mut().zip(w) {
                    *sum = add_products::<NIBBLES>(*sum, w, x, ones);
                }
                pin!(sum[0]);
                pin!(sum[1]);
            }
        }
    }
    sum
}

#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_q4(
    values: &[u8],
    steps: &[f32],
    x: Columns<'_, COLUMNS>,
    sums: &mut [[f32; PANEL_ROWS]; COLUMNS],
) {
    let blocks = steps.len() / PANEL_ROWS;
    check_lengths(blocks, values, &x, 1);
    let spans = blocks / SPAN;
    // SAFETY: panel and rows hold `blocks` blocks, which was checked.
    unsafe { avx2_q4::add_spans(values, steps, &x, spans, sums) };
    // What is left of a row whose length is no multiple of a span.
    for first in (spans * SPAN..blocks).step_by(SPAN) {
        // At most 8 * 127 * 32 a block before the step of at most 128: far from 2^31.
        let mut whole: Sums = [[_mm256_setzero_si256(); 2]; COLUMNS];
        for b in first..blocks.min(first + SPAN) {
            // SAFETY: `b` is below `blocks`, for which all lengths were checked.
            unsafe {
                let offsets = x.map(|x| [_mm256_set1_epi32(*x.2.as_ptr().add(b)); 2]);
                let q = x.map(|x| x.0.as_ptr().add(b * BLOCK));
                let sum = add_block::<true>(values.as_ptr().add(b * PANEL_BLOCK), q, offsets);
                let steps = [0, GROUP]
                    .map(|half| _mm256_loadu_si256(steps.as_ptr().add(b * PANEL_ROWS + half).cast()));
                for (whole, sum) in whole.iter_mut().zip(sum) {
                    for ((whole, sum), steps) in whole.iter_mut().zip(sum).zip(steps) {
                        *whole = _mm256_add_epi32(*whole, _mm256_madd_epi16(sum, steps));
                    }
                }
            }
        }
        for ((sums, whole), x) in sums.iter_mut().zip(whole).zip(&x) {
            add_scaled(sums, whole, [_mm256_set1_ps(x.1[first]); 2]);
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_q8(
    values: &[u8],
    scales: &[f32],
    x: Columns<'_, COLUMNS>,
    sums: &mut [[f32; PANEL_ROWS]; COLUMNS],
) {
    let blocks = scales.len() / PANEL_ROWS;
    check_lengths(blocks, values, &x, 1);
    for b in 0..blocks {
        // SAFETY: `b` is below `blocks`, for which all lengths were checked.
        unsafe {
            let q = x.map(|x| x.0.as_ptr().add(b * BLOCK));
            let zero = [[_mm256_setzero_si256(); 2]; COLUMNS];
            let sum = add_block::<false>(values.as_ptr().add(b * PANEL_BLOCK), q, zero);
            let w_scales = [0, GROUP].map(|half| _mm256_loadu_ps(scales.as_ptr().add(b * PANEL_ROWS + half)));
            for ((sums, sum), x) in sums.iter_mut().zip(sum).zip(&x) {
                let x_scale = _mm256_set1_ps(*x.1.as_ptr().add(b));
                add_scaled(sums, sum, w_scales.map(|w_scale| _mm256_mul_ps(w_scale, x_scale)));
            }
        }
    }
}

/// `sums += sum * scale`
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn add_scaled(sums: &mut [f32; PANEL_ROWS], sum: [__m256i; 2], scale: [__m256; 2]) {
    for ((sums, sum), scale) in sums.as_chunks_mut::<GROUP>().0.iter_mut().zip(sum).zip(scale) {
        // SAFETY: the chunk holds 8 floats.
        unsafe {
            let total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, _mm256_loadu_ps(sums.as_ptr()));
            _mm256_storeu_ps(sums.as_mut_ptr(), total);
        }
    }
}

/// Four products a row: to sums of 16 bits for nibbles, of 32 bits for bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn add_products<const NIBBLES: bool>(sum: __m256i, w: __m256i, x: __m256i, ones: __m256i) -> __m256i {
    if NIBBLES {
        _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, x))
    } else {
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
        _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones))
    }
}

/// One row of activations: each tile is read once and used from registers.
#[target_feature(enable = "avx2,fma,f16c")]
fn gemv_q4(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>) {
    let (q, scale, offset) = x.row(0);
    assert!(q.len() == scale.len() * BLOCK && offset.len() == scale.len());
    let (ones, low) = (_mm256_set1_epi16(1), _mm256_set1_epi8(15));
    for g in 0..w.groups() {
        let bytes = w.group(g);
        let group = Q4Group::new(bytes);
        let tile_bytes = bytes.len().div_ceil(scale.len());
        let mut total = _mm256_setzero_ps();
        let mut whole = _mm256_setzero_si256();
        for (b, (steps, nibbles)) in group.tiles(0..scale.len()).enumerate() {
            // SAFETY: a tile holds 4 chunks of 32 bytes; `b` is below the number of blocks, for which the lengths were
            // checked above.
            unsafe {
                let run = |i: usize| {
                    let x = q.as_ptr().add(b * BLOCK + i * RUN).cast::<i32>();
                    _mm256_set1_epi32(x.read_unaligned())
                };
                if b.is_multiple_of(SPAN) {
                    prefetch::<Q4_SPAN>(bytes.as_ptr().wrapping_add(b * tile_bytes));
                }
                let mut sum = _mm256_set1_epi32(*offset.as_ptr().add(b));
                for c in 0..RUNS / 2 {
                    let both = _mm256_loadu_si256(nibbles.as_ptr().add(c * CHUNK).cast());
                    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(both), low);
                    sum = add_products::<true>(sum, _mm256_and_si256(both, low), run(c), ones);
                    sum = add_products::<true>(sum, high, run(c + RUNS / 2), ones);
                }
                whole = _mm256_add_epi32(whole, _mm256_madd_epi16(sum, step_pairs(steps)));
                if (b + 1).is_multiple_of(SPAN) || b + 1 == scale.len() {
                    let x_scale = _mm256_set1_ps(*scale.as_ptr().add(b));
                    total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), x_scale, total);
                    whole = _mm256_setzero_si256();
                }
            }
        }
        // SAFETY: a group has 8 row scales.
        let total = unsafe { _mm256_mul_ps(total, _mm256_loadu_ps(group.scales().as_ptr().cast())) };
        out.put_vectors(0, g * GROUP, rows_of(total));
    }
}

/// As [`gemv_q4`].
#[target_feature(enable = "avx2,fma,f16c")]
fn gemv_q8(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>) {
    let (q, scale, _) = x.row(0);
    assert!(q.len() == scale.len() * BLOCK);
    let ones = _mm256_set1_epi16(1);
    for g in 0..w.groups() {
        let tiles = w.group(g).as_chunks::<Q8_TILE>().0;
        assert_eq!(tiles.len(), scale.len());
        let mut total = _mm256_setzero_ps();
        for (b, tile) in tiles.iter().enumerate() {
            // SAFETY: a tile holds 8 scales and 8 chunks of 32 bytes; `b` is below the number of blocks, for which the
            // lengths were checked above.
            unsafe {
                prefetch::<Q8_TILE>(tile.as_ptr());
                let mut sum = _mm256_setzero_si256();
                for c in 0..RUNS {
                    let chunk = _mm256_loadu_si256(tile.as_ptr().add(Q8_SCALES + c * CHUNK).cast());
                    let x = q.as_ptr().add(b * BLOCK + c * RUN).cast::<i32>().read_unaligned();
                    sum = add_products::<false>(sum, chunk, _mm256_set1_epi32(x), ones);
                }
                let scale = _mm256_mul_ps(tile_scales(tile.as_ptr()), _mm256_set1_ps(*scale.as_ptr().add(b)));
                total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, total);
            }
        }
        out.put_vectors(0, g * GROUP, rows_of(total));
    }
}

/// Asks for the `BYTES` that will be read a little later; the next group follows without a gap. Measured: without it one
/// core reads 13 GB/s of weights from memory, with it 20, as much as a loop that does nothing else. In `Q4` groups, which
/// begin with all steps, the place is counted as if those were spread among the tiles: asking ahead of the nibbles alone
/// leaves out one line in fifteen, which costs two cores a tenth of their speed.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn prefetch<const BYTES: usize>(now: *const u8) {
    for line in (0..BYTES).step_by(64) {
        // Beyond the end of the matrix this is no more than a wasted hint.
        _mm_prefetch::<_MM_HINT_T0>(now.wrapping_add(PREFETCH_AHEAD + line).cast());
    }
}

/// Bytes of as many tiles as share a scale of activations, their steps included.
pub(super) const Q4_SPAN: usize = SPAN * (Q4_STEPS + Q4_NIBBLES);
/// Bytes between the weights being used and those asked for.
const PREFETCH_AHEAD: usize = 8192;

/// The rows of a vector.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn rows_of(rows: __m256) -> [f32; GROUP] {
    let mut all = [0.0; GROUP];
    // SAFETY: `all` holds 8 floats.
    unsafe { _mm256_storeu_ps(all.as_mut_ptr(), rows) };
    all
}
