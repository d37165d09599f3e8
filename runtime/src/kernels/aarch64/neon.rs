//! NEON as every 64-bit ARM processor has it, such as Cortex-A53 (Raspberry Pi 3 and Zero 2 W) and A72 (Pi 4).
//!
//! Its floats are those of every ARM table; its integer products are in `neon_integer`.

// Loops over `0..N`, because LLVM unrolls them into registers.
#![allow(clippy::needless_range_loop)]

use super::super::vector::{self, Lane, MAX_LANES, Simd, Unaligned};
use super::super::{
    Kernels, KvRows, Output, QuantizedRowMut, Queries, Table, TileMut, WeightRows, attention, scalar,
};
use super::neon_integer::{gemm_q4, gemm_q8};
use crate::format::block::BLOCK;
use core::arch::aarch64::*;
use half::f16;

pub(super) static KERNELS: Kernels = Kernels {
    name: "neon",
    tract: cfg!(feature = "tract-linalg"),
    table: Table {
        quantize,
        interleaved: 1,
        gemm_q8,
        gemm_q4,
        gemm_f32,
        gemm_f16,
        attend_room: |d, _| attention::room::<F32x4>(d),
        attend_f32,
        attend_f16,
        // A vector of 16-bit products takes as many instructions as one of floats.
        attend_quantized: None,
        layer_norm,
        rms_norm,
        gelu,
        gelu_mul,
        add,
        rope,
        narrow,
        peaks: &super::peak::NEON,
    },
};

/// Four floats. Its methods need NEON, which the target guarantees: only loads and stores can go wrong.
#[derive(Clone, Copy)]
pub(super) struct F32x4(float32x4_t);

// SAFETY: NEON is there.
unsafe impl Simd for F32x4 {
    const LANES: usize = 4;
    const BY_LANE: bool = true;
    // 8 rows of 2 sums, the panel's vectors and a vector of each row are 26 of 32 registers.
    const PANEL_VECTORS: usize = 2;
    const PANELS: usize = 12;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: NEON is there, here and in every method below.
        unsafe { F32x4(vdupq_n_f32(x)) }
    }
    #[inline(always)]
    unsafe fn load(x: &[f32]) -> Self {
        debug_assert!(x.len() >= 4);
        // SAFETY: the slice holds a vector (trait contract).
        unsafe { F32x4(vld1q_f32(x.as_ptr())) }
    }
    #[inline(always)]
    unsafe fn store(self, out: &mut [f32]) {
        debug_assert!(out.len() >= 4);
        // SAFETY: the slice holds a vector (trait contract).
        unsafe { vst1q_f32(out.as_mut_ptr(), self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, y: Self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { F32x4(vaddq_f32(self.0, y.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, y: Self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { F32x4(vsubq_f32(self.0, y.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, y: Self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { F32x4(vmulq_f32(self.0, y.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, y: Self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { F32x4(vdivq_f32(self.0, y.0)) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, y: Self, z: Self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { F32x4(vfmaq_f32(z.0, self.0, y.0)) }
    }
    #[inline(always)]
    unsafe fn mul_add_lane(self, y: Self, lane: usize, z: Self) -> Self {
        // SAFETY: as in `splat`. Loops over lanes are unrolled, so one arm is left.
        unsafe {
            F32x4(match lane {
                0 => vfmaq_laneq_f32::<0>(z.0, self.0, y.0),
                1 => vfmaq_laneq_f32::<1>(z.0, self.0, y.0),
                2 => vfmaq_laneq_f32::<2>(z.0, self.0, y.0),
                _ => vfmaq_laneq_f32::<3>(z.0, self.0, y.0),
            })
        }
    }
    #[inline(always)]
    unsafe fn in_register(self) -> Self {
        // 32 registers hold the sums and what meets in them: nothing has to be pinned.
        self
    }
    #[inline(always)]
    unsafe fn min(self, y: Self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { F32x4(vminq_f32(self.0, y.0)) }
    }
    #[inline(always)]
    unsafe fn max(self, y: Self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { F32x4(vmaxq_f32(self.0, y.0)) }
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { F32x4(vabsq_f32(self.0)) }
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: as in `splat`.
        unsafe { F32x4(vrndnq_f32(self.0)) }
    }
    #[inline(always)]
    unsafe fn times_exp2(self, n: Self) -> Self {
        // SAFETY: as in `splat`. The exponent's field starts at bit 23.
        unsafe {
            let bits = vaddq_s32(vreinterpretq_s32_f32(self.0), vcvtq_n_s32_f32::<23>(n.0));
            F32x4(vreinterpretq_f32_s32(bits))
        }
    }
    #[inline(always)]
    unsafe fn reduce_sum(self) -> f32 {
        // SAFETY: as in `splat`.
        unsafe { vaddvq_f32(self.0) }
    }
    #[inline(always)]
    unsafe fn reduce_max(self) -> f32 {
        // SAFETY: as in `splat`.
        unsafe { vmaxvq_f32(self.0) }
    }
    #[inline(always)]
    unsafe fn transpose(rows: &mut [Self; MAX_LANES]) {
        let [a, b, c, d, ..] = *rows;
        // SAFETY: as in `splat`. Pairs of elements, then pairs of pairs.
        unsafe {
            let turned = |x, y| {
                let (x, y) = (vreinterpretq_f64_f32(x), vreinterpretq_f64_f32(y));
                [vreinterpretq_f32_f64(vtrn1q_f64(x, y)), vreinterpretq_f32_f64(vtrn2q_f64(x, y))]
            };
            let [first, third] = turned(vtrn1q_f32(a.0, b.0), vtrn1q_f32(c.0, d.0));
            let [second, fourth] = turned(vtrn2q_f32(a.0, b.0), vtrn2q_f32(c.0, d.0));
            for (row, turned) in rows.iter_mut().zip([first, second, third, fourth]) {
                *row = F32x4(turned);
            }
        }
    }
}

vector::lanes!(F32x4, |x| F32x4(vld1q_f32(x.cast())), F32x4(load_halves(x.cast())));
vector::float_functions!(F32x4, "neon", 8);

/// Four half-precision floats, widened.
///
/// # Safety
/// 8 bytes can be read there.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load_halves(x: *const u16) -> float32x4_t {
    // SAFETY: this function's contract.
    unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x))) }
}

#[target_feature(enable = "neon")]
fn quantize(x: &[f32], span: usize, row: QuantizedRowMut<'_>) {
    let whole = x.len() / (span * BLOCK) * span;
    for (i, xs) in x[..whole * BLOCK].chunks_exact(span * BLOCK).enumerate() {
        let mut largest = [vdupq_n_f32(0.0); 4];
        for xs in xs.as_chunks::<16>().0 {
            for v in 0..4 {
                // SAFETY: four floats of the chunk's 16.
                largest[v] = vmaxq_f32(largest[v], vabsq_f32(unsafe { vld1q_f32(xs[4 * v..].as_ptr()) }));
            }
        }
        let [a, b, c, d] = largest;
        let amax = vmaxvq_f32(vmaxq_f32(vmaxq_f32(a, b), vmaxq_f32(c, d)));
        let inverse = if amax > 0.0 { 127.0 / amax } else { 0.0 };
        let scale = amax / 127.0;
        for (j, xs) in xs.as_chunks::<BLOCK>().0.iter().enumerate() {
            let (b, q) = (i * span + j, rounded(xs, inverse));
            // SAFETY: the row has a block `b`, of four runs of 8 values.
            unsafe {
                let to = row.q.as_mut_ptr();
                vst1_s8(to.add(row.run_at(4 * b)), vget_low_s8(q[0]));
                vst1_s8(to.add(row.run_at(4 * b + 1)), vget_high_s8(q[0]));
                vst1_s8(to.add(row.run_at(4 * b + 2)), vget_low_s8(q[1]));
                vst1_s8(to.add(row.run_at(4 * b + 3)), vget_high_s8(q[1]));
                *row.scale.get_unchecked_mut(row.block_at(b)) = scale;
                *row.offset.get_unchecked_mut(row.block_at(b)) = offset_of(q);
            }
        }
    }
    scalar::quantize(&x[whole * BLOCK..], span, row.skip_blocks(whole));
}

/// A block times `inverse`, to the nearest whole numbers.
#[inline(always)]
fn rounded(x: &[f32; BLOCK], inverse: f32) -> [int8x16_t; 2] {
    // SAFETY: NEON is there, and the block holds 8 vectors of four floats.
    unsafe {
        let mut fours = [vdupq_n_s16(0); 8];
        for v in 0..8 {
            let x = vmulq_n_f32(vld1q_f32(x.as_ptr().add(4 * v)), inverse);
            fours[v] = vreinterpretq_s16_s32(vcvtnq_s32_f32(x));
        }
        let [a, b, c, d, e, f, g, h] = fours;
        let low = |a, b| vreinterpretq_s8_s16(vuzp1q_s16(a, b));
        [vuzp1q_s8(low(a, b), low(c, d)), vuzp1q_s8(low(e, f), low(g, h))]
    }
}

/// See [`Kernels::quantize`].
#[inline]
#[target_feature(enable = "neon")]
fn offset_of(q: [int8x16_t; 2]) -> i32 {
    // Sums of pairs: those in even places belong to the low half of an offset, those in odd ones to the high half.
    let pairs = vpadalq_s8(vpaddlq_s8(q[0]), q[1]);
    let fours = vadd_s16(vget_low_s16(pairs), vget_high_s16(pairs));
    let sums = vadd_s16(fours, vext_s16::<2>(fours, fours));
    vget_lane_s32::<0>(vreinterpret_s32_s16(vneg_s16(vshl_n_s16::<3>(sums))))
}

#[target_feature(enable = "neon")]
fn narrow(x: &[f32], out: &mut [f16]) {
    let (xs, x_tail) = x.as_chunks::<4>();
    let (outs, out_tail) = out.as_chunks_mut::<4>();
    for (x, out) in xs.iter().zip(outs) {
        // SAFETY: both chunks hold 4 elements; f16 is two bytes.
        unsafe {
            vst1_u16(out.as_mut_ptr().cast(), vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(x.as_ptr()))))
        }
    }
    for (x, out) in x_tail.iter().zip(out_tail) {
        *out = f16::from_f32(*x);
    }
}
