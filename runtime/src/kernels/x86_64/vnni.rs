//! What the integer products with VNNI have in common. Its two instructions add to each 32-bit lane
//! * `vpdpbusd`: four products of unsigned by signed bytes: one weight row's run, exactly;
//! * `vpdpwssd`: two products of signed numbers of 16 bits.
//!
//! Weights are the unsigned factor: nibbles as they stand (8 too much), bytes with their highest bit turned over (128
//! too much). That is put right by starting the sums of a block at -8 or -128 times the activations' sum, which the
//! activations bring along as two halves ([`Kernels::quantize`](super::super::Kernels::quantize)): one `vpdpwssd` by
//! [`NIBBLE`] or [`BYTE`] joins them. Before and after that a sum stays below 255 * 127 * 32 * 2, far from 2^31.
//!
//! With its start, the sum of a block of nibbles is at most 8 * 127 * 32 < 2^15: it *is* its low half, the high one
//! only repeats the sign. So one `vpdpwssd` by the pairs (step, 0) multiplies it by the steps and adds it to the sums
//! of a span, which stay integers.
//!
//! A row of activations alone is bound by memory, which 32 bytes at a time keep up with: those loops are here, for
//! processors with either encoding of the instructions.

use super::super::panel::{RUNS, SPAN};
use super::super::vector::PairProduct;
use super::super::{Output, QuantizedRows, WeightRows};
use super::avx2::F32x8;
use super::avx2_integer::{Q4_SPAN, prefetch, rows_of, step_pairs, tile_scales};
use crate::format::block::{BLOCK, CHUNK, GROUP, Q4Group, Q8_SCALES, Q8_TILE, RUN};
use core::arch::x86_64::*;

/// What an offset is multiplied by to start the sums of a block of nibbles.
pub(super) const NIBBLE: i32 = pair(1, 1);
/// The same for bytes: 16 times as much.
pub(super) const BYTE: i32 = pair(16, 16);
/// Takes the first of a pair of steps and leaves 0 for the second.
pub(super) const FIRST: i32 = pair(-1, 0);
/// The highest bit of four bytes.
pub(super) const SIGNS: i32 = i32::from_ne_bytes([0x80; 4]);

/// Two factors of `vpdpwssd`.
const fn pair(first: i16, second: i16) -> i32 {
    (second as i32) << 16 | first as u16 as i32
}

/// The two instructions, on 32 bytes.
///
/// # Safety
/// Implementors state the CPU features that the methods need; whoever calls them, or a function that is generic over
/// them, has those and AVX2, FMA and F16C.
pub(super) unsafe trait Vnni {
    /// `vpdpbusd`: `w` unsigned, `x` signed.
    unsafe fn add_bytes(sum: __m256i, w: __m256i, x: __m256i) -> __m256i;
    /// `vpdpwssd`
    unsafe fn add_words(sum: __m256i, a: __m256i, b: __m256i) -> __m256i;
}

// SAFETY: as for `Vnni`.
unsafe impl<I: Vnni> PairProduct<F32x8> for I {
    #[inline(always)]
    unsafe fn add(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller has the features (contract of the trait).
        unsafe { I::add_words(sum, a, b) }
    }
}

/// Four activations, for all lanes.
///
/// # Safety
/// `x` points to them.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn run_of(x: *const i8) -> __m256i {
    // SAFETY: this function's contract.
    unsafe { _mm256_set1_epi32(x.cast::<i32>().read_unaligned()) }
}

/// One row of activations: each tile is read once and used from registers. Two sums a block, so that less waits for the
/// previous product.
///
/// # Safety
/// The features of `V` are enabled.
#[inline(always)]
pub(super) unsafe fn gemv_q4<V: Vnni>(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>) {
    let (q, scale, offset) = x.row(0);
    assert!(q.len() == scale.len() * BLOCK && offset.len() == scale.len());
    for g in 0..w.groups() {
        let bytes = w.group(g);
        let group = Q4Group::new(bytes);
        let tile_bytes = bytes.len().div_ceil(scale.len());
        // SAFETY: the caller has the features (this function's contract). A group has 8 row scales, a tile 8 steps and
        // 4 chunks of 32 bytes; `b` is below the number of blocks, for which the lengths were checked above.
        unsafe {
            let (low, first) = (_mm256_set1_epi8(15), _mm256_set1_epi32(FIRST));
            let mut total = _mm256_setzero_ps();
            let mut whole = _mm256_setzero_si256();
            for (b, (steps, nibbles)) in group.tiles(0..scale.len()).enumerate() {
                if b.is_multiple_of(SPAN) {
                    prefetch::<Q4_SPAN>(bytes.as_ptr().wrapping_add(b * tile_bytes));
                }
                let x = q.as_ptr().add(b * BLOCK);
                let offset = _mm256_set1_epi32(*offset.as_ptr().add(b));
                let mut sum = [
                    V::add_words(_mm256_setzero_si256(), offset, _mm256_set1_epi32(NIBBLE)),
                    _mm256_setzero_si256(),
                ];
                for c in 0..RUNS / 2 {
                    let both = _mm256_loadu_si256(nibbles.as_ptr().add(c * CHUNK).cast());
                    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(both), low);
                    sum[0] = V::add_bytes(sum[0], _mm256_and_si256(both, low), run_of(x.add(c * RUN)));
                    sum[1] = V::add_bytes(sum[1], high, run_of(x.add(BLOCK / 2 + c * RUN)));
                }
                let sum = _mm256_add_epi32(sum[0], sum[1]);
                whole = V::add_words(whole, sum, _mm256_and_si256(step_pairs(steps), first));
                if (b + 1).is_multiple_of(SPAN) || b + 1 == scale.len() {
                    let x_scale = _mm256_set1_ps(*scale.as_ptr().add(b));
                    total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), x_scale, total);
                    whole = _mm256_setzero_si256();
                }
            }
            let total = _mm256_mul_ps(total, _mm256_loadu_ps(group.scales().as_ptr().cast()));
            out.put_vectors(0, g * GROUP, rows_of(total));
        }
    }
}

/// As [`gemv_q4`].
///
/// # Safety
/// The features of `V` are enabled.
#[inline(always)]
pub(super) unsafe fn gemv_q8<V: Vnni>(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>) {
    let (q, scale, offset) = x.row(0);
    assert!(q.len() == scale.len() * BLOCK && offset.len() == scale.len());
    for g in 0..w.groups() {
        let tiles = w.group(g).as_chunks::<Q8_TILE>().0;
        assert_eq!(tiles.len(), scale.len());
        // SAFETY: the caller has the features (this function's contract). A tile holds 8 scales and 8 chunks of 32
        // bytes; `b` is below the number of blocks, for which the lengths were checked above.
        unsafe {
            let signs = _mm256_set1_epi32(SIGNS);
            let mut total = _mm256_setzero_ps();
            for (b, tile) in tiles.iter().enumerate() {
                prefetch::<Q8_TILE>(tile.as_ptr());
                let x = q.as_ptr().add(b * BLOCK);
                let offset = _mm256_set1_epi32(*offset.as_ptr().add(b));
                let mut sum = [
                    V::add_words(_mm256_setzero_si256(), offset, _mm256_set1_epi32(BYTE)),
                    _mm256_setzero_si256(),
                ];
                for c in 0..RUNS {
                    let chunk = _mm256_loadu_si256(tile.as_ptr().add(Q8_SCALES + c * CHUNK).cast());
                    let chunk = _mm256_xor_si256(chunk, signs);
                    sum[c % 2] = V::add_bytes(sum[c % 2], chunk, run_of(x.add(c * RUN)));
                }
                let sum = _mm256_add_epi32(sum[0], sum[1]);
                let scale = _mm256_mul_ps(tile_scales(tile.as_ptr()), _mm256_set1_ps(*scale.as_ptr().add(b)));
                total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, total);
            }
            out.put_vectors(0, g * GROUP, rows_of(total));
        }
    }
}
