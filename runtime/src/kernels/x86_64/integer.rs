//! Integer products with AVX2: `vpmaddubsw` multiplies unsigned by signed bytes and adds pairs to 16 bits.
//!
//! Nibbles are unsigned (0 to 15), so eight products of pairs fit in 16 bits (15 * 127 * 2 * 8 < 2^15) before they must
//! be widened, and no sign has to be moved around; that every weight counts 8 too much is put right by starting the
//! sums of a block at -8 times the activations' sum, which the activations bring along. Signed bytes take the
//! magnitude of the weight and the activation with the weight's sign, one product of pairs at a time.

use super::super::panel::{self, Columns, PANEL_BLOCK, PANEL_ROWS, RegisterTile};
use super::super::{Panel, QuantizedRows, TileMut, WeightRows};
use crate::format::WeightFormat;
use crate::format::block::{BLOCK, CHUNK, GROUP, Q4_TILE, Q8_TILE, RUN, SCALES};
use core::arch::x86_64::*;

/// Runs of a block.
const RUNS: usize = BLOCK / RUN;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn gemm_q8(
    w: &WeightRows<'_>,
    x: &QuantizedRows<'_>,
    out: &mut TileMut<'_>,
    panel: &mut Panel<'_>,
) {
    if x.n() == 1 {
        return gemv::<false>(w, x, out);
    }
    // SAFETY: this function has the features of `Avx2`.
    unsafe { panel::gemm::<COLUMNS, Avx2>(w, x, out, panel) }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn gemm_q4(
    w: &WeightRows<'_>,
    x: &QuantizedRows<'_>,
    out: &mut TileMut<'_>,
    panel: &mut Panel<'_>,
) {
    if x.n() == 1 {
        return gemv::<true>(w, x, out);
    }
    // SAFETY: this function has the features of `Avx2`.
    unsafe { panel::gemm::<COLUMNS, Avx2>(w, x, out, panel) }
}

/// Rows of activations of a register tile: with 16 weight rows they take 8 of the 16 registers.
const COLUMNS: usize = 4;

struct Avx2;

// SAFETY: the methods need AVX2, FMA and F16C and are only called from the functions above, which have them.
unsafe impl RegisterTile<COLUMNS> for Avx2 {
    #[inline(always)]
    unsafe fn spread(format: WeightFormat, tiles: &[u8], half: usize, values: &mut [u8], scales: &mut [f32]) {
        // SAFETY: the caller has the features (contract of the trait).
        unsafe {
            match format {
                WeightFormat::Q4 => spread_q4(tiles, half, values, scales),
                _ => spread_q8(tiles, half, values, scales),
            }
        }
    }

    #[inline(always)]
    unsafe fn multiply(
        format: WeightFormat,
        values: &[u8],
        scales: &[f32],
        x: Columns<'_, COLUMNS>,
        sums: &mut [[f32; PANEL_ROWS]; COLUMNS],
    ) {
        // SAFETY: as in `spread`.
        unsafe {
            match format {
                WeightFormat::Q4 => multiply::<true>(values, scales, x, sums),
                _ => multiply::<false>(values, scales, x, sums),
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn spread_q4(tiles: &[u8], half: usize, values: &mut [u8], scales: &mut [f32]) {
    let low = _mm256_set1_epi8(15);
    let blocks =
        values.as_chunks_mut::<PANEL_BLOCK>().0.iter_mut().zip(scales.as_chunks_mut::<PANEL_ROWS>().0);
    for (tile, (values, scales)) in tiles.as_chunks::<Q4_TILE>().0.iter().zip(blocks) {
        // SAFETY: a tile holds 8 scales and 4 chunks of 32 bytes, the panel's block 8 runs of two halves of 32.
        unsafe {
            _mm256_storeu_ps(scales.as_mut_ptr().add(half * GROUP), tile_scales(tile.as_ptr()));
            let out = values.as_mut_ptr().add(half * CHUNK);
            for c in 0..RUNS / 2 {
                let both = _mm256_loadu_si256(tile.as_ptr().add(SCALES + c * CHUNK).cast());
                let high = _mm256_and_si256(_mm256_srli_epi16::<4>(both), low);
                _mm256_storeu_si256(out.add(c * 2 * CHUNK).cast(), _mm256_and_si256(both, low));
                _mm256_storeu_si256(out.add((c + RUNS / 2) * 2 * CHUNK).cast(), high);
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn spread_q8(tiles: &[u8], half: usize, values: &mut [u8], scales: &mut [f32]) {
    let blocks =
        values.as_chunks_mut::<PANEL_BLOCK>().0.iter_mut().zip(scales.as_chunks_mut::<PANEL_ROWS>().0);
    for (tile, (values, scales)) in tiles.as_chunks::<Q8_TILE>().0.iter().zip(blocks) {
        // SAFETY: a tile holds 8 scales.
        unsafe { _mm256_storeu_ps(scales.as_mut_ptr().add(half * GROUP), tile_scales(tile.as_ptr())) };
        for (out, chunk) in values.chunks_exact_mut(2 * CHUNK).zip(tile[SCALES..].chunks_exact(CHUNK)) {
            out[half * CHUNK..][..CHUNK].copy_from_slice(chunk);
        }
    }
}

/// The 8 scales that `tile` begins with.
///
/// # Safety
/// 16 bytes can be read there.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn tile_scales(tile: *const u8) -> __m256 {
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

#[target_feature(enable = "avx2,fma,f16c")]
fn multiply<const NIBBLES: bool>(
    values: &[u8],
    scales: &[f32],
    x: Columns<'_, COLUMNS>,
    sums: &mut [[f32; PANEL_ROWS]; COLUMNS],
) {
    let blocks = scales.len() / PANEL_ROWS;
    assert!(values.len() == blocks * PANEL_BLOCK);
    assert!(x.iter().all(|(q, s, o)| q.len() == blocks * BLOCK && s.len() == blocks && o.len() == blocks));
    let ones = _mm256_set1_epi16(1);
    // SAFETY: `b` is below `blocks`, for which all lengths were just checked; the offsets inside a block are constants
    // below its size.
    unsafe {
        let mut total = [[_mm256_setzero_ps(); 2]; COLUMNS];
        for (total, sums) in total.iter_mut().zip(&*sums) {
            *total = [_mm256_loadu_ps(sums.as_ptr()), _mm256_loadu_ps(sums.as_ptr().add(GROUP))];
        }
        for b in 0..blocks {
            let block = values.as_ptr().add(b * PANEL_BLOCK);
            let mut sum = [[_mm256_setzero_si256(); 2]; COLUMNS];
            if NIBBLES {
                for (sum, x) in sum.iter_mut().zip(&x) {
                    *sum = [_mm256_set1_epi32(*x.2.as_ptr().add(b)); 2];
                }
            }
            for run in 0..RUNS {
                let w = [0, CHUNK].map(|half| _mm256_loadu_si256(block.add(run * 2 * CHUNK + half).cast()));
                for (sum, x) in sum.iter_mut().zip(&x) {
                    let x = x.0.as_ptr().add(b * BLOCK + run * RUN).cast::<i32>();
                    let x = _mm256_set1_epi32(x.read_unaligned());
                    for (sum, w) in sum.iter_mut().zip(w) {
                        *sum = add_products::<NIBBLES>(*sum, w, x, ones);
                    }
                    pin!(sum[0]);
                    pin!(sum[1]);
                }
            }
            let w_scale = [0, GROUP].map(|half| _mm256_loadu_ps(scales.as_ptr().add(b * PANEL_ROWS + half)));
            for ((total, sum), x) in total.iter_mut().zip(sum).zip(&x) {
                let x_scale = _mm256_set1_ps(*x.1.as_ptr().add(b));
                for ((total, sum), w_scale) in total.iter_mut().zip(sum).zip(w_scale) {
                    let sum = if NIBBLES { _mm256_madd_epi16(sum, ones) } else { sum };
                    let scale = _mm256_mul_ps(w_scale, x_scale);
                    *total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, *total);
                }
            }
        }
        for (total, sums) in total.iter().zip(sums) {
            _mm256_storeu_ps(sums.as_mut_ptr(), total[0]);
            _mm256_storeu_ps(sums.as_mut_ptr().add(GROUP), total[1]);
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
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn gemv<const NIBBLES: bool>(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut TileMut<'_>) {
    let (q, scale, offset) = x.row(0);
    let tile_bytes = if NIBBLES { Q4_TILE } else { Q8_TILE };
    assert!(q.len() == scale.len() * BLOCK && offset.len() == scale.len());
    let (ones, low) = (_mm256_set1_epi16(1), _mm256_set1_epi8(15));
    for (g, out) in out.row(0).chunks_mut(GROUP).enumerate() {
        let group = w.group(g);
        assert_eq!(group.len(), scale.len() * tile_bytes);
        let mut total = _mm256_setzero_ps();
        for b in 0..scale.len() {
            // SAFETY: `b` is below the number of blocks, for which all lengths were checked above; the offsets inside
            // a tile are constants below its size.
            unsafe {
                let tile = group.as_ptr().add(b * tile_bytes);
                let run = |i: usize| {
                    let x = q.as_ptr().add(b * BLOCK + i * RUN).cast::<i32>();
                    _mm256_set1_epi32(x.read_unaligned())
                };
                let chunk = |i: usize| _mm256_loadu_si256(tile.add(SCALES + i * CHUNK).cast());
                let sum = if NIBBLES {
                    let mut sum = _mm256_set1_epi32(*offset.as_ptr().add(b));
                    for c in 0..RUNS / 2 {
                        let both = chunk(c);
                        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(both), low);
                        sum = add_products::<true>(sum, _mm256_and_si256(both, low), run(c), ones);
                        sum = add_products::<true>(sum, high, run(c + RUNS / 2), ones);
                    }
                    _mm256_madd_epi16(sum, ones)
                } else {
                    let mut sum = _mm256_setzero_si256();
                    for c in 0..RUNS {
                        sum = add_products::<false>(sum, chunk(c), run(c), ones);
                    }
                    sum
                };
                let scale = _mm256_mul_ps(tile_scales(tile), _mm256_set1_ps(*scale.as_ptr().add(b)));
                total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, total);
            }
        }
        let mut rows = [0.0; GROUP];
        // SAFETY: `rows` holds 8 floats.
        unsafe { _mm256_storeu_ps(rows.as_mut_ptr(), total) };
        out.copy_from_slice(&rows[..out.len()]);
    }
}
