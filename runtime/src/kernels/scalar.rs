//! The specification: every operation in its plainest form, on any machine.

use super::attention_i16::{KEYS, PROBABILITY, TINY, VALUE, largest_factor};
use super::peak::{Operands, Peak, VALUES};
use super::{
    AttendQuantized, Kernels, KvRows, Output, QuantizedRowMut, QuantizedRows, Queries, Table, TileMut,
    WeightRows,
};
use crate::format::block::{self, BLOCK, RUN};
use half::f16;

pub(super) static KERNELS: Kernels = Kernels {
    name: "scalar",
    tract: false,
    table: Table {
        quantize,
        interleaved: 1,
        gemm_q8: |w, x, out, _| gemm_quantized(w, x, out),
        gemm_q4: |w, x, out, _| gemm_quantized(w, x, out),
        gemm_f32: |w, x, out| gemm_float(w, x, out, f32::from_le_bytes),
        gemm_f16: |w, x, out| gemm_float(w, x, out, |b| f16::from_le_bytes(b).to_f32()),
        attend_room: |d, n_keys| n_keys.max(d + KEYS),
        attend_f32: attend,
        attend_f16: attend,
        attend_quantized: Some(AttendQuantized { f32: attend_quantized, f16: attend_quantized }),
        layer_norm,
        rms_norm,
        gelu: |x| x.iter_mut().for_each(|v| *v = gelu(*v)),
        gelu_mul: |gate, up| gate.iter_mut().zip(up).for_each(|(g, u)| *g = gelu(*g) * u),
        add: |x, y| x.iter_mut().zip(y).for_each(|(a, b)| *a += b),
        rope,
        narrow: |x, out| out.iter_mut().zip(x).for_each(|(o, v)| *o = f16::from_f32(*v)),
        peaks: &PEAKS,
    },
};

/// What the compiler makes of plain loops, as it does of the products above.
static PEAKS: [Peak; 2] = [
    Peak {
        operands: Operands::Int8,
        name: "scalar",
        macs: 64,
        run: |passes| products(passes, &VALUES.a.map(i32::from)),
    },
    Peak {
        operands: Operands::Int4,
        name: "scalar, nibbles",
        macs: 64,
        run: |passes| products(passes, &VALUES.nibbles.map(i32::from)),
    },
];

fn products(passes: u64, a: &[i32; 64]) -> i32 {
    let b = VALUES.b.map(i32::from);
    (0..passes).fold(0i32, |sum, _| {
        // As if they were new: the compiler may not multiply once for all passes.
        let (a, b) = core::hint::black_box((a, &b));
        sum.wrapping_add(a.iter().zip(b).map(|(a, b)| a * b).sum())
    })
}

pub(super) fn quantize(x: &[f32], span: usize, mut row: QuantizedRowMut<'_>) {
    for (i, xs) in x.chunks(span * BLOCK).enumerate() {
        let amax = xs.iter().fold(0f32, |m, v| m.max(v.abs()));
        let inverse = if amax > 0.0 { 127.0 / amax } else { 0.0 };
        for (j, xs) in xs.chunks(BLOCK).enumerate() {
            let mut q = [0; BLOCK];
            for (q, v) in q.iter_mut().zip(xs) {
                *q = libm::rintf(v * inverse) as i8;
            }
            row.put(i * span + j, &q, amax / 127.0, offset_of(&q));
        }
    }
}

/// See [`Kernels::quantize`]. A half holds 16 values of at most 127: it cannot overflow.
fn offset_of(q: &[i8]) -> i32 {
    let mut halves = [0i16; 2];
    for (i, &q) in q.iter().enumerate() {
        halves[i % RUN / 2] -= 8 * i16::from(q);
    }
    i32::from(halves[1]) << 16 | i32::from(halves[0] as u16)
}

fn gemm_quantized(w: &WeightRows<'_>, x: &QuantizedRows<'_>, out: &mut Output<'_>) {
    let (format, rows) = (w.format(), w.format().group_rows());
    for r in 0..w.rows() {
        let group = w.group(r / rows);
        for t in 0..x.n() {
            let (q, scale, _) = x.row(t);
            let mut acc = 0.0;
            for (b, (q, x_scale)) in q.as_chunks::<BLOCK>().0.iter().zip(scale).enumerate() {
                let (w_scale, weights) = block::read_block(format, group, b, r % rows);
                let dot: i32 = weights.iter().zip(q).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
                acc += w_scale * x_scale * dot as f32;
            }
            out.put(t, r, &[acc]);
        }
    }
}

fn gemm_float<const N: usize>(
    w: &WeightRows<'_>,
    x: &[f32],
    out: &mut Output<'_>,
    read: impl Fn([u8; N]) -> f32,
) {
    for (t, x) in x.chunks_exact(w.k()).enumerate() {
        for r in 0..w.rows() {
            let sum = w.group(r).as_chunks::<N>().0.iter().zip(x).map(|(b, v)| read(*b) * v).sum();
            out.put(t, r, &[sum]);
        }
    }
}

fn attend<T: Copy + Into<f32>>(
    q: &Queries<'_>,
    kv: &KvRows<'_, T>,
    scale: f32,
    scratch: &mut [f32],
    out: &mut TileMut<'_>,
    mut totals: Option<&mut [[f32; 2]]>,
) {
    let scores = &mut scratch[..kv.n()];
    for r in 0..q.len() {
        for (j, score) in scores.iter_mut().enumerate() {
            *score = scale * q.row(r).iter().zip(kv.key(j)).map(|(a, &b)| a * b.into()).sum::<f32>();
        }
        let [max, sum] = softmax(scores);
        if let Some(totals) = &mut totals {
            totals[r] = [max, sum];
        }
        let (position, head) = q.place(r);
        let out = &mut out.row(position)[head * q.d_head()..][..q.d_head()];
        out.fill(0.0);
        for (j, p) in scores.iter().enumerate() {
            for (o, &v) in out.iter_mut().zip(kv.value(j)) {
                *o += p * v.into();
            }
        }
    }
}

/// What [`super::attention_i16`] computes.
fn attend_quantized<T: Copy + Into<f32>>(
    q: &Queries<'_>,
    kv: &KvRows<'_, T>,
    scale: f32,
    scratch: &mut [f32],
    out: &mut TileMut<'_>,
) {
    let d = q.d_head();
    let (query, p) = scratch[..d + KEYS].split_at_mut(d);
    let limit = largest_factor(d);
    for r in 0..q.len() {
        let largest = largest(q.row(r).iter().copied());
        query.iter_mut().zip(q.row(r)).for_each(|(o, v)| *o = libm::rintf(v * (limit / largest)));
        let scale = scale * largest / limit;
        let (position, head) = q.place(r);
        let out = &mut out.row(position)[head * d..][..d];
        out.fill(0.0);
        let (mut max, mut sum) = (f32::NEG_INFINITY, 0.0);
        for first in (0..kv.n()).step_by(KEYS) {
            let block = kv.slice(first..kv.n().min(first + KEYS));
            let p = &mut p[..block.n()];
            for (j, p) in p.iter_mut().enumerate() {
                let [dot, key_scale] = integers_by(query, || block.key(j).iter().map(|&v| v.into()), limit);
                *p = dot * (key_scale * scale);
            }
            let block_max = p.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v));
            p.iter_mut().for_each(|p| *p = libm::rintf(PROBABILITY * libm::expf(*p - block_max)));
            let so_far = max;
            max = so_far.max(block_max);
            let (factor, weight) = (libm::expf(so_far - max), libm::expf(block_max - max) / PROBABILITY);
            sum = factor * sum + weight * p.iter().sum::<f32>();
            for (c, out) in out.iter_mut().enumerate() {
                let column = || (0..block.n()).map(|j| block.value(j)[c].into());
                let [dot, value_scale] = integers_by(p, column, VALUE);
                *out = factor * *out + weight * value_scale * dot;
            }
        }
        out.iter_mut().for_each(|o| *o /= sum);
    }
}

/// The sum of `a`, whole numbers already, times `b` quantized so that its largest magnitude becomes `limit`, and what `b`
/// has been divided by.
fn integers_by<I: Iterator<Item = f32>>(a: &[f32], b: impl Fn() -> I, limit: f32) -> [f32; 2] {
    let largest = largest(b());
    let products = a.iter().zip(b()).map(|(&a, b)| a as i32 * libm::rintf(b * (limit / largest)) as i32);
    [products.sum::<i32>() as f32, largest / limit]
}

fn largest(x: impl Iterator<Item = f32>) -> f32 {
    x.fold(TINY, |m, v| m.max(v.abs()))
}

/// The largest value and the sum of exponentials are returned.
fn softmax(x: &mut [f32]) -> [f32; 2] {
    let max = x.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v));
    let mut sum = 0.0;
    for v in x.iter_mut() {
        *v = libm::expf(*v - max);
        sum += *v;
    }
    x.iter_mut().for_each(|v| *v /= sum);
    [max, sum]
}

fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let n = x.len() as f32;
    let mean = x.iter().sum::<f32>() / n;
    let variance = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / n;
    let inverse = 1.0 / libm::sqrtf(variance + eps);
    for (((o, v), w), b) in out.iter_mut().zip(x).zip(weight).zip(bias) {
        *o = (v - mean) * inverse * w + b;
    }
}

fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let mean = x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32;
    let inverse = 1.0 / libm::sqrtf(mean + eps);
    for ((o, v), w) in out.iter_mut().zip(x).zip(weight) {
        *o = v * inverse * w;
    }
}

/// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`
pub(super) fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + libm::tanhf(0.797_884_6 * (x + 0.044_715 * x * x * x)))
}

fn rope(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (low, high) = x.split_at_mut(cos.len());
    for (((a, b), c), s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
    }
}
