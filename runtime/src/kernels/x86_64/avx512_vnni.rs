//! AVX-512 with VNNI: `avx2` with the dot products of [`vnni`](super::vnni) on 64 bytes, a run of all 16 rows of a
//! panel. Cascade Lake (2019), Ice Lake, Zen 4 (2022) and later ones.

use super::super::panel::{
    self, Columns, PANEL_BLOCK, PANEL_K, PANEL_ROWS, RUNS, RegisterTile, SPAN, check_lengths,
};
use super::super::{
    AttendQuantized, Kernels, KvRows, Output, Panel, QuantizedRows, Queries, Table, TileMut, WeightRows,
    attention_i16,
};
use super::avx2::{self, F32x8};
use super::avx2_integer::{spread_q4, spread_q8};
use super::vnni::{self, BYTE, FIRST, NIBBLE, SIGNS, Vnni};
use crate::format::block::{BLOCK, CHUNK, RUN};
use core::arch::x86_64::*;
use half::f16;

/// The table, if this CPU has what it needs.
pub(super) fn detect() -> Option<&'static Kernels> {
    avx2::detect()?;
    let has = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni");
    has.then_some(&KERNELS)
}

static KERNELS: Kernels = Kernels {
    name: "avx512-vnni",
    tract: avx2::KERNELS.tract,
    table: Table {
        gemm_q8,
        gemm_q4,
        attend_quantized: Some(AttendQuantized { f32: attend_quantized_f32, f16: attend_quantized_f16 }),
        ..avx2::KERNELS.table
    },
};

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn gemm_q8(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>, panel: &mut Panel<'_>) {
    // SAFETY: this function has the features of `Avx512Vnni` and of `TILE`.
    unsafe {
        match x.n() {
            1 => vnni::gemv_q8::<Avx512Vnni>(w, x, out),
            _ => panel::gemm(&TILE, w, x, out, panel),
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn gemm_q4(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>, panel: &mut Panel<'_>) {
    // SAFETY: as above.
    unsafe {
        match x.n() {
            1 => vnni::gemv_q4::<Avx512Vnni>(w, x, out),
            _ => panel::gemm(&TILE, w, x, out, panel),
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn attend_quantized_f32(
    q: &Queries<'_>,
    kv: &KvRows<'_, f32>,
    scale: f32,
    scratch: &mut [f32],
    out: &mut TileMut<'_>,
) {
    // SAFETY: this function has the features of `F32x8` and of `Avx512Vnni`.
    unsafe { attention_i16::attend::<F32x8, Avx512Vnni, f32, 6>(q, kv, scale, scratch, out) }
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn attend_quantized_f16(
    q: &Queries<'_>,
    kv: &KvRows<'_, f16>,
    scale: f32,
    scratch: &mut [f32],
    out: &mut TileMut<'_>,
) {
    // SAFETY: as above.
    unsafe { attention_i16::attend::<F32x8, Avx512Vnni, f16, 6>(q, kv, scale, scratch, out) }
}

/// Rows of activations of a register tile. Each has the sum of a block and that of a span (nibbles) or of all blocks
/// (bytes) in registers, and its address in another kind of register, of which there are 16.
const COLUMNS: usize = 8;

struct Avx512Vnni;

// SAFETY: the methods need AVX512-VNNI and AVX512-VL and are only called from the functions above, which have them.
unsafe impl Vnni for Avx512Vnni {
    #[inline(always)]
    unsafe fn add_bytes(sum: __m256i, w: __m256i, x: __m256i) -> __m256i {
        // SAFETY: the caller has the features (contract of the trait), here and below.
        unsafe { _mm256_dpbusd_epi32(sum, w, x) }
    }

    #[inline(always)]
    unsafe fn add_words(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: as above.
        unsafe { _mm256_dpwssd_epi32(sum, a, b) }
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

/// The sums of block `b`, which start at the offset times `UNIT`.
///
/// # Safety
/// The panel `values` and the rows `x` have a block `b`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn block_sums<const UNIT: i32>(
    values: &[u8],
    x: &Columns<'_, COLUMNS>,
    b: usize,
) -> [__m512i; COLUMNS] {
    // SAFETY: this function's contract; a block has 8 runs.
    unsafe {
        let mut sum = x.map(|(_, _, offset)| {
            let offset = _mm512_set1_epi32(*offset.as_ptr().add(b));
            _mm512_dpwssd_epi32(_mm512_setzero_si512(), _mm512_set1_epi32(UNIT), offset)
        });
        let block = values.as_ptr().add(b * PANEL_BLOCK);
        let x = x.map(|(q, _, _)| q.as_ptr().add(b * BLOCK));
        for run in 0..RUNS {
            let w = _mm512_loadu_si512(block.add(run * 2 * CHUNK).cast());
            for (sum, x) in sum.iter_mut().zip(x) {
                let x = _mm512_set1_epi32(x.add(run * RUN).cast::<i32>().read_unaligned());
                *sum = _mm512_dpbusd_epi32(*sum, w, x);
            }
        }
        sum
    }
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
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
        let mut whole = [_mm512_setzero_si512(); COLUMNS];
        for b in first..blocks.min(first + SPAN) {
            // SAFETY: `b` is below `blocks`, for which all lengths were checked.
            unsafe {
                let pairs = _mm512_loadu_si512(steps.as_ptr().add(b * PANEL_ROWS).cast());
                let steps = _mm512_and_si512(pairs, _mm512_set1_epi32(FIRST));
                for (whole, sum) in whole.iter_mut().zip(block_sums::<NIBBLE>(values, &x, b)) {
                    *whole = _mm512_dpwssd_epi32(*whole, sum, steps);
                }
            }
        }
        for ((sums, whole), x) in sums.iter_mut().zip(whole).zip(&x) {
            let scale = _mm512_set1_ps(x.1[first]);
            // SAFETY: a row of `sums` holds 16 floats.
            unsafe {
                let total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), scale, _mm512_loadu_ps(sums.as_ptr()));
                _mm512_storeu_ps(sums.as_mut_ptr(), total);
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply_q8(
    values: &[u8],
    scales: &[f32],
    x: Columns<'_, COLUMNS>,
    sums: &mut [[f32; PANEL_ROWS]; COLUMNS],
) {
    let blocks = scales.len() / PANEL_ROWS;
    check_lengths(blocks, values, &x, 1);
    // SAFETY: a row of `sums` holds 16 floats, here and at the end; `b` is below `blocks`, for which all lengths were
    // checked.
    unsafe {
        let mut totals = [_mm512_setzero_ps(); COLUMNS];
        for (total, sums) in totals.iter_mut().zip(&*sums) {
            *total = _mm512_loadu_ps(sums.as_ptr());
        }
        for b in 0..blocks {
            let w_scale = _mm512_loadu_ps(scales.as_ptr().add(b * PANEL_ROWS));
            let block = block_sums::<BYTE>(values, &x, b);
            for ((total, sum), (_, x_scale, _)) in totals.iter_mut().zip(block).zip(&x) {
                let scale = _mm512_mul_ps(w_scale, _mm512_set1_ps(*x_scale.as_ptr().add(b)));
                *total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, *total);
            }
        }
        for (total, sums) in totals.iter().zip(sums) {
            _mm512_storeu_ps(sums.as_mut_ptr(), *total);
        }
    }
}
