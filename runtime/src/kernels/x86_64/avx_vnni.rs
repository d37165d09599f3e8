//! AVX-VNNI: `avx2` with the dot products of [`vnni`](super::vnni) on 32 bytes, for processors without AVX-512: Alder
//! Lake (2021) and its small cores, which are sold alone as N-series, and later ones.

use super::super::panel::{
    self, Columns, PANEL_BLOCK, PANEL_K, PANEL_ROWS, RUNS, RegisterTile, SPAN, check_lengths,
};
use super::super::{
    AttendQuantized, Kernels, KvRows, Output, Panel, QuantizedRows, Queries, Table, TileMut, WeightRows,
    attention_i16,
};
use super::avx2::{self, F32x8};
use super::avx2_integer::{add_scaled, pin, spread_q4, spread_q8};
use super::vnni::{self, BYTE, FIRST, NIBBLE, SIGNS, Vnni, run_of};
use crate::format::block::{BLOCK, CHUNK, GROUP, RUN};
use core::arch::x86_64::*;
use half::f16;

/// The table, if this CPU has what it needs.
pub(super) fn detect() -> Option<&'static Kernels> {
    avx2::detect()?;
    is_x86_feature_detected!("avxvnni").then_some(&KERNELS)
}

static KERNELS: Kernels = Kernels {
    name: "avx-vnni",
    tract: avx2::KERNELS.tract,
    table: Table {
        gemm_q8,
        gemm_q4,
        attend_quantized: Some(AttendQuantized { f32: attend_quantized_f32, f16: attend_quantized_f16 }),
        ..avx2::KERNELS.table
    },
};

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn gemm_q8(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>, panel: &mut Panel<'_>) {
    // SAFETY: this function has the features of `AvxVnni` and of `TILE`.
    unsafe {
        match x.n() {
            1 => vnni::gemv_q8::<AvxVnni>(w, x, out),
            _ => panel::gemm(&TILE, w, x, out, panel),
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn gemm_q4(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>, panel: &mut Panel<'_>) {
    // SAFETY: as above.
    unsafe {
        match x.n() {
            1 => vnni::gemv_q4::<AvxVnni>(w, x, out),
            _ => panel::gemm(&TILE, w, x, out, panel),
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn attend_quantized_f32(
    q: &Queries<'_>,
    kv: &KvRows<'_, f32>,
    scale: f32,
    scratch: &mut [f32],
    out: &mut TileMut<'_>,
) {
    // SAFETY: this function has the features of `F32x8` and of `AvxVnni`.
    unsafe { attention_i16::attend::<F32x8, AvxVnni, f32, 6>(q, kv, scale, scratch, out) }
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn attend_quantized_f16(
    q: &Queries<'_>,
    kv: &KvRows<'_, f16>,
    scale: f32,
    scratch: &mut [f32],
    out: &mut TileMut<'_>,
) {
    // SAFETY: as above.
    unsafe { attention_i16::attend::<F32x8, AvxVnni, f16, 6>(q, kv, scale, scratch, out) }
}

/// Rows of activations of a register tile: with 16 weight rows they take 12 of the 16 registers, as many sums as it
/// takes to start two products a cycle although each takes five.
const COLUMNS: usize = 6;

struct AvxVnni;

// SAFETY: the methods need AVX-VNNI and are only called from the functions above, which have it and the others.
unsafe impl Vnni for AvxVnni {
    #[inline(always)]
    unsafe fn add_bytes(sum: __m256i, w: __m256i, x: __m256i) -> __m256i {
        // SAFETY: the caller has the features (contract of the trait), here and below.
        unsafe { _mm256_dpbusd_avx_epi32(sum, w, x) }
    }

    #[inline(always)]
    unsafe fn add_words(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: as above.
        unsafe { _mm256_dpwssd_avx_epi32(sum, a, b) }
    }
}

const TILE: RegisterTile<COLUMNS, COLUMNS> = RegisterTile {
    depth: PANEL_K,
    lanes: 1,
    spread_q8: spread_q8::<SIGNS>,
    spread_q4,
    multiply_q8,
    multiply_q4,
};

/// Sums of a register tile: of each row of activations, two vectors of weight rows.
type Sums = [[__m256i; 2]; COLUMNS];

/// The sums of block `b`, which start at the offset times `UNIT`.
///
/// # Safety
/// The panel `values` and the rows `x` have a block `b`.
#[inline]
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn block_sums<const UNIT: i32>(values: &[u8], x: &Columns<'_, COLUMNS>, b: usize) -> Sums {
    // SAFETY: this function's contract; a block has 8 runs, in the panel of two halves.
    unsafe {
        let mut sum = x.map(|(_, _, offset)| {
            let offset = _mm256_set1_epi32(*offset.as_ptr().add(b));
            [_mm256_dpwssd_avx_epi32(_mm256_setzero_si256(), offset, _mm256_set1_epi32(UNIT)); 2]
        });
        let block = values.as_ptr().add(b * PANEL_BLOCK);
        let x = x.map(|(q, _, _)| q.as_ptr().add(b * BLOCK));
        for run in 0..RUNS {
            let w = [0, CHUNK].map(|half| _mm256_loadu_si256(block.add(run * 2 * CHUNK + half).cast()));
            for (sum, x) in sum.iter_mut().zip(x) {
                let x = run_of(x.add(run * RUN));
                *sum = [_mm256_dpbusd_avx_epi32(sum[0], w[0], x), _mm256_dpbusd_avx_epi32(sum[1], w[1], x)];
                pin!(sum[0]);
                pin!(sum[1]);
            }
        }
        sum
    }
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
fn multiply_q4(
    values: &[u8],
    steps: &[f32],
    x: Columns<'_, COLUMNS>,
    sums: &mut [[f32; PANEL_ROWS]; COLUMNS],
) {
    let blocks = steps.len() / PANEL_ROWS;
    check_lengths(blocks, values, &x, 1);
    for first in (0..blocks).step_by(SPAN) {
        // At most 8 * 127 * 32 a block before the step of at most 128: far from 2^31.
        let mut whole: Sums = [[_mm256_setzero_si256(); 2]; COLUMNS];
        for b in first..blocks.min(first + SPAN) {
            // SAFETY: `b` is below `blocks`, for which all lengths were checked.
            unsafe {
                let sum = block_sums::<NIBBLE>(values, &x, b);
                let steps = [0, GROUP].map(|half| {
                    let pairs = _mm256_loadu_si256(steps.as_ptr().add(b * PANEL_ROWS + half).cast());
                    _mm256_and_si256(pairs, _mm256_set1_epi32(FIRST))
                });
                for (whole, sum) in whole.iter_mut().zip(sum) {
                    *whole = [
                        _mm256_dpwssd_avx_epi32(whole[0], sum[0], steps[0]),
                        _mm256_dpwssd_avx_epi32(whole[1], sum[1], steps[1]),
                    ];
                }
            }
        }
        for ((sums, whole), x) in sums.iter_mut().zip(whole).zip(&x) {
            let scale = _mm256_set1_ps(x.1[first]);
            add_scaled(sums, whole, [scale; 2]);
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
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
            let sum = block_sums::<BYTE>(values, &x, b);
            let w_scales = [0, GROUP].map(|half| _mm256_loadu_ps(scales.as_ptr().add(b * PANEL_ROWS + half)));
            for ((sums, sum), x) in sums.iter_mut().zip(sum).zip(&x) {
                let x_scale = _mm256_set1_ps(*x.1.as_ptr().add(b));
                add_scaled(sums, sum, w_scales.map(|w_scale| _mm256_mul_ps(w_scale, x_scale)));
            }
        }
    }
}
