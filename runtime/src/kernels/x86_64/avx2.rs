//! AVX2 with FMA and F16C: every x86 processor since Haswell (2013) and Excavator (2015).
//!
//! Its floats are those of every x86 table; its integer products are in `avx2_integer`.

use super::super::vector::{self, Lane, MAX_LANES, Pair, PairProduct, Pairs, Simd, Unaligned};
use super::super::{
    AttendQuantized, Kernels, KvRows, Output, QuantizedRowMut, Queries, Table, TileMut, WeightRows,
    attention, attention_i16, scalar,
};
use super::avx2_integer::{gemm_q4, gemm_q8, pin};
use crate::format::block::BLOCK;
use core::arch::x86_64::*;
use half::f16;

/// The table, if this CPU has what it needs.
pub(super) fn detect() -> Option<&'static Kernels> {
    let has = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    has.then_some(&KERNELS)
}

pub(super) static KERNELS: Kernels = Kernels {
    name: "avx2",
    tract: cfg!(feature = "tract-linalg"),
    table: Table {
        quantize,
        interleaved: 1,
        gemm_q8,
        gemm_q4,
        gemm_f32,
        gemm_f16,
        attend_room: |d, n_keys| attention::room::<F32x8>(d).max(attention_i16::room::<F32x8>(d, n_keys)),
        attend_f32,
        attend_f16,
        attend_quantized: Some(AttendQuantized { f32: attend_quantized_f32, f16: attend_quantized_f16 }),
        layer_norm,
        rms_norm,
        gelu,
        gelu_mul,
        add,
        rope,
        narrow,
        peaks: &super::peak::AVX2,
    },
};

/// Eight floats. Its methods need AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(super) struct F32x8(__m256);

// SAFETY: every method needs AVX2, FMA and F16C, and is only called from the `target_feature` functions below.
unsafe impl Simd for F32x8 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller has the features (trait contract), here and in every method below.
        unsafe { F32x8(_mm256_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(x: &[f32]) -> Self {
        debug_assert!(x.len() >= 8);
        // SAFETY: as in `splat`; the slice holds a vector (trait contract).
        unsafe { F32x8(_mm256_loadu_ps(x.as_ptr())) }
    }
    #[inline(always)]
    unsafe fn store(self, out: &mut [f32]) {
        debug_assert!(out.len() >= 8);
        // SAFETY: as in `splat`; the slice holds a vector (trait contract).
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, y: Self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { F32x8(_mm256_add_ps(self.0, y.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, y: Self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { F32x8(_mm256_sub_ps(self.0, y.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, y: Self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { F32x8(_mm256_mul_ps(self.0, y.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, y: Self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { F32x8(_mm256_div_ps(self.0, y.0)) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, y: Self, z: Self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { F32x8(_mm256_fmadd_ps(self.0, y.0, z.0)) }
    }
    #[inline(always)]
    unsafe fn in_register(self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { F32x8(pinned(self.0)) }
    }
    #[inline(always)]
    unsafe fn min(self, y: Self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { F32x8(_mm256_min_ps(self.0, y.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, y: Self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { F32x8(_mm256_max_ps(self.0, y.0)) }
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { F32x8(_mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0)) }
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { F32x8(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)) }
    }
    #[inline(always)]
    unsafe fn times_exp2(self, n: Self) -> Self {
        // SAFETY: as in `splat`. The biased exponent goes into place by a shift.
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n.0), _mm256_set1_epi32(127));
            self.mul(F32x8(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))))
        }
    }
    #[inline(always)]
    unsafe fn reduce_sum(self) -> f32 {
        // SAFETY: as in `splat`.
        unsafe {
            let x = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        }
    }
    #[inline(always)]
    unsafe fn reduce_max(self) -> f32 {
        // SAFETY: as in `splat`.
        unsafe {
            let x = _mm_max_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        }
    }
    #[inline(always)]
    unsafe fn transpose(rows: &mut [Self; MAX_LANES]) {
        let [a, b, c, d, e, f, g, h, ..] = *rows;
        // SAFETY: as in `splat`. Squares of four by four within 128-bit lanes, then the lanes.
        unsafe {
            for (i, [a, b, c, d]) in [[a, b, c, d], [e, f, g, h]].into_iter().enumerate() {
                let (ab, cd) = (_mm256_unpacklo_ps(a.0, b.0), _mm256_unpacklo_ps(c.0, d.0));
                rows[4 * i] = F32x8(_mm256_shuffle_ps::<0x44>(ab, cd));
                rows[4 * i + 1] = F32x8(_mm256_shuffle_ps::<0xee>(ab, cd));
                let (ab, cd) = (_mm256_unpackhi_ps(a.0, b.0), _mm256_unpackhi_ps(c.0, d.0));
                rows[4 * i + 2] = F32x8(_mm256_shuffle_ps::<0x44>(ab, cd));
                rows[4 * i + 3] = F32x8(_mm256_shuffle_ps::<0xee>(ab, cd));
            }
            for i in 0..4 {
                let (low, high) = (rows[i].0, rows[4 + i].0);
                rows[i] = F32x8(_mm256_permute2f128_ps::<0x20>(low, high));
                rows[4 + i] = F32x8(_mm256_permute2f128_ps::<0x31>(low, high));
            }
        }
    }
}

// SAFETY: as above.
unsafe impl Pairs for F32x8 {
    type Whole = __m256i;

    #[inline(always)]
    unsafe fn zero() -> __m256i {
        // SAFETY: the caller has the features (trait contract), here and in every method below.
        unsafe { _mm256_setzero_si256() }
    }
    #[inline(always)]
    unsafe fn load_pairs(x: &[Pair]) -> __m256i {
        debug_assert!(x.len() >= 8);
        // SAFETY: as in `zero`; the slice holds 8 pairs of 4 bytes (trait contract).
        unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }
    }
    #[inline(always)]
    unsafe fn splat_pair([first, second]: Pair) -> __m256i {
        // SAFETY: as in `zero`.
        unsafe { _mm256_set1_epi32(i32::from(second) << 16 | i32::from(first as u16)) }
    }
    #[inline(always)]
    unsafe fn from_whole(x: __m256i) -> Self {
        // SAFETY: as in `zero`.
        unsafe { F32x8(_mm256_cvtepi32_ps(x)) }
    }
    #[inline(always)]
    unsafe fn store_pairs(first: Self, second: Self, out: &mut [Pair]) {
        debug_assert!(out.len() >= 8);
        // SAFETY: as in `zero`; the slice holds 8 pairs of 4 bytes (trait contract).
        unsafe {
            let second = _mm256_slli_epi32::<16>(_mm256_cvtps_epi32(second.0));
            let pairs = _mm256_blend_epi16::<0xaa>(_mm256_cvtps_epi32(first.0), second);
            _mm256_storeu_si256(out.as_mut_ptr().cast(), pairs);
        }
    }
    #[inline(always)]
    unsafe fn store_row(first: Self, second: Self, out: &mut [Pair]) {
        debug_assert!(out.len() >= 8);
        // SAFETY: as in `zero`; the slice holds 8 pairs of 4 bytes (trait contract).
        unsafe {
            let packed = _mm256_packs_epi32(_mm256_cvtps_epi32(first.0), _mm256_cvtps_epi32(second.0));
            // The pack works within 128-bit lanes; this puts the fours back in order.
            _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_permute4x64_epi64::<0xd8>(packed));
        }
    }
}

/// `vpmaddwd` and an addition.
struct MultiplyAndAdd;

// SAFETY: as for `F32x8`.
unsafe impl PairProduct<F32x8> for MultiplyAndAdd {
    #[inline(always)]
    unsafe fn add(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller has the features (trait contract).
        unsafe { add_pair_products(sum, a, b) }
    }
}

/// See [`pin`].
#[inline]
#[target_feature(enable = "avx2")]
fn pinned(mut sum: __m256) -> __m256 {
    // SAFETY: no instruction at all.
    unsafe { pin!(sum) };
    sum
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_pair_products(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
    let mut sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
    // SAFETY: see `pin`.
    unsafe { pin!(sum) };
    sum
}

vector::lanes!(
    F32x8,
    |x| F32x8(_mm256_loadu_ps(x.cast())),
    F32x8(_mm256_cvtph_ps(_mm_loadu_si128(x.cast())))
);

#[target_feature(enable = "avx2,fma,f16c")]
fn quantize(x: &[f32], span: usize, mut row: QuantizedRowMut<'_>) {
    let QuantizedRowMut { q, scale, offset, .. } = &mut row;
    let whole = x.len() / (span * BLOCK) * span;
    for first in (0..whole).step_by(span) {
        let xs = &x[first * BLOCK..][..span * BLOCK];
        let qs = &mut q[first * BLOCK..][..span * BLOCK];
        // SAFETY: the chunks hold 8 floats; a block is 32 floats and 32 bytes.
        unsafe {
            let mut largest = _mm256_setzero_ps();
            for xs in xs.as_chunks::<8>().0 {
                let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), _mm256_loadu_ps(xs.as_ptr()));
                largest = _mm256_max_ps(largest, magnitude);
            }
            let amax = F32x8(largest).reduce_max();
            let inverse = _mm256_set1_ps(if amax > 0.0 { 127.0 / amax } else { 0.0 });
            scale[first..first + span].fill(amax / 127.0);
            let blocks = xs.as_chunks::<BLOCK>().0.iter().zip(qs.as_chunks_mut::<BLOCK>().0);
            for ((xs, qs), offset) in blocks.zip(&mut offset[first..]) {
                let w = [0, 8, 16, 24]
                    .map(|o| _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(xs.as_ptr().add(o)), inverse)));
                let halves =
                    _mm256_packs_epi16(_mm256_packs_epi32(w[0], w[1]), _mm256_packs_epi32(w[2], w[3]));
                // The packs work within 128-bit lanes; this puts the groups of four back in order.
                let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
                let q = _mm256_permutevar8x32_epi32(halves, order);
                _mm256_storeu_si256(qs.as_mut_ptr().cast(), q);
                *offset = offset_of(q);
            }
        }
    }
    scalar::quantize(&x[whole * BLOCK..], span, row.skip_blocks(whole));
}

/// See [`Kernels::quantize`].
#[target_feature(enable = "avx2")]
fn offset_of(q: __m256i) -> i32 {
    // Sums of pairs: numbers of 16 bits whose places are even for the low half of an offset and odd for the high one.
    let pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(8), q);
    let x = _mm_add_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
    let x = _mm_add_epi16(x, _mm_unpackhi_epi64(x, x));
    let x = _mm_add_epi16(x, _mm_shuffle_epi32::<1>(x));
    _mm_cvtsi128_si32(_mm_sub_epi16(_mm_setzero_si128(), x))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn narrow(x: &[f32], out: &mut [f16]) {
    let whole = x.len() - x.len() % 8;
    for (xs, os) in x[..whole].chunks_exact(8).zip(out[..whole].chunks_exact_mut(8)) {
        // SAFETY: both chunks hold 8 elements; f16 is two bytes.
        unsafe {
            let v = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_loadu_ps(xs.as_ptr()));
            _mm_storeu_si128(os.as_mut_ptr().cast(), v);
        }
    }
    for (o, v) in out[whole..].iter_mut().zip(&x[whole..]) {
        *o = f16::from_f32(*v);
    }
}

vector::float_functions!(F32x8, "avx2,fma,f16c", 4);
vector::compiled! { "avx2,fma,f16c"
    attend_quantized_f32(q: &Queries<'_>, kv: &KvRows<'_, f32>, scale: f32, scratch: &mut [f32], out: &mut TileMut<'_>) = attention_i16::attend::<F32x8, MultiplyAndAdd, f32, 6>;
    attend_quantized_f16(q: &Queries<'_>, kv: &KvRows<'_, f16>, scale: f32, scratch: &mut [f32], out: &mut TileMut<'_>) = attention_i16::attend::<F32x8, MultiplyAndAdd, f16, 6>;
}
