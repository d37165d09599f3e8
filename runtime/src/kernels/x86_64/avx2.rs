//! AVX2 with FMA and F16C: every x86 processor since Haswell (2013) and Excavator (2015).
//!
//! Integer products: `maddubs` multiplies unsigned with signed bytes. `Q4` feeds its nibbles unsigned (0..15) and
//! takes 8 * (sum of activations) off once a block; `Q8` moves the weight's sign to the activation. Neither can
//! saturate: 2 * 15 * 127 and 2 * 128 * 127 are below 2^15.

use super::super::vector::{self, Lane, Simd};
use super::super::{Kernels, KvRows, QuantizedRows, Table, TileMut, WeightRows};
use crate::format::block::{BLOCK, Q4_BYTES, Q8_BYTES, QUANTS};
use core::arch::x86_64::*;
use half::f16;

/// The table, if this CPU has what it needs.
pub(in super::super) fn detect() -> Option<&'static Kernels> {
    let has = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    has.then_some(&KERNELS)
}

static KERNELS: Kernels = Kernels {
    name: "avx2",
    tract: cfg!(feature = "tract-linalg"),
    table: Table {
        quantize,
        gemm_q8,
        gemm_q4,
        gemm_f32,
        gemm_f16,
        attend_f32,
        attend_f16,
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
struct F32x8(__m256);

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
    unsafe fn round(self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { F32x8(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)) }
    }
    #[inline(always)]
    unsafe fn exp2_whole(self) -> Self {
        // SAFETY: as in `splat`. The biased exponent goes into place by a shift.
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(self.0), _mm256_set1_epi32(127));
            F32x8(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased)))
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
}

impl Lane<F32x8> for f32 {
    #[inline(always)]
    unsafe fn load(x: &[f32]) -> F32x8 {
        // SAFETY: the caller has the features and gives a vector's worth of elements, here and below.
        unsafe { F32x8::load(x) }
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Lane<F32x8> for f16 {
    #[inline(always)]
    unsafe fn load(x: &[f16]) -> F32x8 {
        debug_assert!(x.len() >= 8);
        // SAFETY: as above; f16 is two bytes.
        unsafe { F32x8(_mm256_cvtph_ps(_mm_loadu_si128(x.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }
}

/// A little-endian float in the mapped file, of any alignment.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Unaligned<const N: usize>([u8; N]);

impl Lane<F32x8> for Unaligned<4> {
    #[inline(always)]
    unsafe fn load(x: &[Self]) -> F32x8 {
        // SAFETY: as above; 8 elements of 4 bytes, and the load takes any alignment.
        unsafe { F32x8(_mm256_loadu_ps(x.as_ptr().cast())) }
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_le_bytes(self.0)
    }
}

impl Lane<F32x8> for Unaligned<2> {
    #[inline(always)]
    unsafe fn load(x: &[Self]) -> F32x8 {
        // SAFETY: as above; 8 elements of 2 bytes, and the load takes any alignment.
        unsafe { F32x8(_mm256_cvtph_ps(_mm_loadu_si128(x.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        f16::from_le_bytes(self.0).to_f32()
    }
}

impl<const N: usize> Unaligned<N> {
    #[inline(always)]
    fn row(bytes: &[u8]) -> &[Self] {
        let chunks = bytes.as_chunks::<N>().0;
        // SAFETY: `Unaligned<N>` is a transparent wrapper of `[u8; N]`.
        unsafe { core::slice::from_raw_parts(chunks.as_ptr().cast(), chunks.len()) }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn quantize(x: &[f32], q: &mut [i8], scale: &mut [f32], sum: &mut [f32]) {
    let blocks = x.len() / BLOCK;
    for i in 0..blocks {
        let xs = &x[i * BLOCK..][..BLOCK];
        let qs = &mut q[i * BLOCK..][..BLOCK];
        // SAFETY: `xs` holds 32 floats, `qs` 32 bytes.
        unsafe {
            let v = [0, 8, 16, 24].map(|o| _mm256_loadu_ps(xs.as_ptr().add(o)));
            let sign = _mm256_set1_ps(-0.0);
            let m01 = _mm256_max_ps(_mm256_andnot_ps(sign, v[0]), _mm256_andnot_ps(sign, v[1]));
            let m23 = _mm256_max_ps(_mm256_andnot_ps(sign, v[2]), _mm256_andnot_ps(sign, v[3]));
            let amax = F32x8(_mm256_max_ps(m01, m23)).reduce_max();
            let inverse = _mm256_set1_ps(if amax > 0.0 { 127.0 / amax } else { 0.0 });
            scale[i] = amax / 127.0;
            let w = v.map(|v| _mm256_cvtps_epi32(_mm256_mul_ps(v, inverse)));
            let total = _mm256_add_epi32(_mm256_add_epi32(w[0], w[1]), _mm256_add_epi32(w[2], w[3]));
            sum[i] = reduce_i32(total) as f32;
            let halves = _mm256_packs_epi16(_mm256_packs_epi32(w[0], w[1]), _mm256_packs_epi32(w[2], w[3]));
            // The packs work within 128-bit lanes; this puts the groups of four back in order.
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            _mm256_storeu_si256(qs.as_mut_ptr().cast(), _mm256_permutevar8x32_epi32(halves, order));
        }
    }
    let done = blocks * BLOCK;
    super::super::scalar::quantize(&x[done..], &mut q[done..], &mut scale[blocks..], &mut sum[blocks..]);
}

#[target_feature(enable = "avx2")]
fn reduce_i32(x: __m256i) -> i32 {
    let x = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
    let x = _mm_add_epi32(x, _mm_unpackhi_epi64(x, x));
    _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32::<1>(x)))
}

/// Rows of activations that share one pass over a weight row.
const ROWS: usize = 4;

#[target_feature(enable = "avx2,fma,f16c")]
fn gemm_q8(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut TileMut<'_>) {
    each_group(w, x, out, dot_q8, dot_q8)
}

#[target_feature(enable = "avx2,fma,f16c")]
fn gemm_q4(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut TileMut<'_>) {
    each_group(w, x, out, dot_q4, dot_q4)
}

type DotRows<const N: usize> = unsafe fn(&[u8], [(&[i8], &[f32], &[f32]); N]) -> [f32; N];

/// Walks the activations four at a time, the rest one at a time, over all weight rows.
#[inline(always)]
fn each_group(
    w: &WeightRows<'_>,
    x: &QuantizedRows<'_>,
    out: &mut TileMut<'_>,
    four: DotRows<ROWS>,
    one: DotRows<1>,
) {
    let grouped = x.n() - x.n() % ROWS;
    for t in (0..grouped).step_by(ROWS) {
        let xs = [x.row(t), x.row(t + 1), x.row(t + 2), x.row(t + 3)];
        for r in 0..w.rows() {
            // SAFETY: both callers have the features; rows belong together (`Kernels::gemm_quantized`).
            let dots = unsafe { four(w.row(r), xs) };
            for (i, dot) in dots.into_iter().enumerate() {
                out.row(t + i)[r] = dot;
            }
        }
    }
    for t in grouped..x.n() {
        let out = out.row(t);
        for (r, out) in out.iter_mut().enumerate() {
            // SAFETY: as above.
            [*out] = unsafe { one(w.row(r), [x.row(t)]) };
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn dot_q8<const N: usize>(w: &[u8], x: [(&[i8], &[f32], &[f32]); N]) -> [f32; N] {
    let mut acc = [_mm256_setzero_ps(); N];
    let ones = _mm256_set1_epi16(1);
    for (b, block) in w.as_chunks::<Q8_BYTES>().0.iter().enumerate() {
        let w_scale = f16_scale(block);
        // SAFETY: a block holds 32 bytes after its scale.
        let weights = unsafe { _mm256_loadu_si256(block.as_ptr().add(QUANTS).cast()) };
        let magnitude = _mm256_abs_epi8(weights);
        for (acc, (q, scale, _)) in acc.iter_mut().zip(x) {
            // SAFETY: an activation row has as many blocks as the weight row.
            let q = unsafe { _mm256_loadu_si256(q[b * BLOCK..][..BLOCK].as_ptr().cast()) };
            let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(q, weights));
            let sums = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, ones));
            *acc = _mm256_fmadd_ps(sums, _mm256_set1_ps(w_scale * scale[b]), *acc);
        }
    }
    // SAFETY: this function has the features.
    acc.map(|v| unsafe { F32x8(v).reduce_sum() })
}

#[target_feature(enable = "avx2,fma,f16c")]
fn dot_q4<const N: usize>(w: &[u8], x: [(&[i8], &[f32], &[f32]); N]) -> [f32; N] {
    let mut acc = [_mm256_setzero_ps(); N];
    let mut offset = [0f32; N];
    let ones = _mm256_set1_epi16(1);
    let low = _mm256_set1_epi8(15);
    for (b, block) in w.as_chunks::<Q4_BYTES>().0.iter().enumerate() {
        let w_scale = f16_scale(block);
        // SAFETY: a block holds 16 bytes after its scale.
        let packed = unsafe { _mm_loadu_si128(block.as_ptr().add(QUANTS).cast()) };
        let both = _mm256_set_m128i(_mm_srli_epi16::<4>(packed), packed);
        let nibbles = _mm256_and_si256(both, low);
        for ((acc, offset), (q, scale, sum)) in acc.iter_mut().zip(&mut offset).zip(x) {
            // SAFETY: an activation row has as many blocks as the weight row.
            let q = unsafe { _mm256_loadu_si256(q[b * BLOCK..][..BLOCK].as_ptr().cast()) };
            let sums = _mm256_cvtepi32_ps(_mm256_madd_epi16(_mm256_maddubs_epi16(nibbles, q), ones));
            let scale = w_scale * scale[b];
            *acc = _mm256_fmadd_ps(sums, _mm256_set1_ps(scale), *acc);
            *offset += scale * sum[b];
        }
    }
    core::array::from_fn(|i| {
        // SAFETY: this function has the features.
        let total = unsafe { F32x8(acc[i]).reduce_sum() };
        total - 8.0 * offset[i]
    })
}

#[target_feature(enable = "f16c")]
fn f16_scale(block: &[u8]) -> f32 {
    let bits = u16::from_le_bytes([block[0], block[1]]);
    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits))))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn gemm_f32(w: &WeightRows<'_>, x: &[f32], out: &mut TileMut<'_>) {
    gemm_float::<4>(w, x, out)
}

#[target_feature(enable = "avx2,fma,f16c")]
fn gemm_f16(w: &WeightRows<'_>, x: &[f32], out: &mut TileMut<'_>) {
    gemm_float::<2>(w, x, out)
}

#[inline(always)]
fn gemm_float<const BYTES: usize>(w: &WeightRows<'_>, x: &[f32], out: &mut TileMut<'_>)
where
    Unaligned<BYTES>: Lane<F32x8>,
{
    for (t, x) in x.chunks_exact(w.k()).enumerate() {
        let out = out.row(t);
        let grouped = out.len() - out.len() % ROWS;
        for r in (0..grouped).step_by(ROWS) {
            let rows = [r, r + 1, r + 2, r + 3].map(|r| Unaligned::<BYTES>::row(w.row(r)));
            // SAFETY: both callers have the features; a row holds as many weights as `x` values.
            let dots = unsafe { vector::dots::<F32x8, _, ROWS>(rows, x) };
            out[r..r + ROWS].copy_from_slice(&dots);
        }
        for (r, out) in out.iter_mut().enumerate().skip(grouped) {
            // SAFETY: as above.
            [*out] = unsafe { vector::dots::<F32x8, _, 1>([Unaligned::<BYTES>::row(w.row(r))], x) };
        }
    }
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

/// Instantiates functions of [`vector`] with this file's features.
macro_rules! instances {
    ($($name:ident($($arg:ident: $ty:ty),*) = $generic:expr;)*) => {$(
        #[target_feature(enable = "avx2,fma,f16c")]
        fn $name($($arg: $ty),*) {
            // SAFETY: this function has the features that `F32x8` needs; `Kernels` checked the lengths.
            unsafe { $generic($($arg),*) }
        }
    )*};
}
instances! {
    attend_f32(q: &[f32], kv: &KvRows<'_, f32>, scale: f32, scores: &mut [f32], out: &mut [f32]) = vector::attend::<F32x8, f32>;
    attend_f16(q: &[f32], kv: &KvRows<'_, f16>, scale: f32, scores: &mut [f32], out: &mut [f32]) = vector::attend::<F32x8, f16>;
    layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) = vector::layer_norm::<F32x8>;
    rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) = vector::rms_norm::<F32x8>;
    gelu(x: &mut [f32]) = vector::gelu_in_place::<F32x8>;
    gelu_mul(gate: &mut [f32], up: &[f32]) = vector::gelu_mul::<F32x8>;
    add(x: &mut [f32], y: &[f32]) = vector::add::<F32x8>;
    rope(x: &mut [f32], cos: &[f32], sin: &[f32]) = vector::rope::<F32x8>;
}
