//! One kernel at a shape of PaliGemma 3B, called as often as asked: what `count` counts the instructions of.
//!
//! Without arguments it lists the kernels: name, units of work of a call, calls to count.

use half::f16;
use pg_runtime::Kernels;
use pg_runtime::format::WeightFormat;
use pg_runtime::kernels::{
    KvRows, KvSlice, Output, Panel, QuantizedRows, Queries, TileMut, WeightRows, span,
};

/// A kernel with what it works on.
struct Subject {
    name: &'static str,
    /// Products, or values, of a call.
    work: usize,
    /// Calls that are enough to drown what else a process does.
    calls: usize,
    /// Takes the memory, and gives the call.
    prepare: fn(&'static Kernels) -> Box<dyn FnMut()>,
}

const SUBJECTS: [Subject; 22] = [
    gemm("gemm q4, 1024 rows of 2048, 264 columns", 1024 * 2048 * 264, |k| {
        product(k, WeightFormat::Q4, 1024, 2048, 264)
    }),
    gemm("gemm q8, 1024 rows of 2048, 264 columns", 1024 * 2048 * 264, |k| {
        product(k, WeightFormat::Q8, 1024, 2048, 264)
    }),
    gemm("gemm q4, 1152 rows of 1152, 256 columns", 1152 * 1152 * 256, |k| {
        product(k, WeightFormat::Q4, 1152, 1152, 256)
    }),
    gemm("gemm q8, 1152 rows of 1152, 256 columns", 1152 * 1152 * 256, |k| {
        product(k, WeightFormat::Q8, 1152, 1152, 256)
    }),
    gemm("gemm q4, 2048 rows of 2048, 1 column", 2048 * 2048, |k| {
        product(k, WeightFormat::Q4, 2048, 2048, 1)
    }),
    gemm("gemm q8, 2048 rows of 2048, 1 column", 2048 * 2048, |k| {
        product(k, WeightFormat::Q8, 2048, 2048, 1)
    }),
    gemm("gemm q4, 512 rows of 16384, 1 column", 512 * 16_384, |k| {
        product(k, WeightFormat::Q4, 512, 16_384, 1)
    }),
    gemm("gemm q8, 512 rows of 16384, 1 column", 512 * 16_384, |k| {
        product(k, WeightFormat::Q8, 512, 16_384, 1)
    }),
    gemm("gemm f16, 1152 rows of 1152, 256 columns", 1152 * 1152 * 256, |k| product_f16(k, 1152, 1152, 256)),
    gemm("gemm f16, 2048 rows of 2048, 1 column", 2048 * 2048, |k| product_f16(k, 2048, 2048, 1)),
    small("quantize 2048 for q4", 2048, |k| quantize(k, WeightFormat::Q4)),
    small("quantize 2048 for q8", 2048, |k| quantize(k, WeightFormat::Q8)),
    gemm("attend f32, 256 queries, 256 keys, width 72", 2 * 256 * 256 * 72, |k| {
        attend_f32(k, 256, 1, 256, 72, false)
    }),
    gemm("attend f32 quantized, 256 queries, 256 keys, width 72", 2 * 256 * 256 * 72, |k| {
        attend_f32(k, 256, 1, 256, 72, true)
    }),
    gemm("attend f16, 264 by 8 queries, 264 keys, width 256", 2 * 264 * 8 * 264 * 256, |k| {
        attend_f16(k, 264, 8, 264, 256, false)
    }),
    gemm("attend f16 quantized, 264 by 8 queries, 264 keys, width 256", 2 * 264 * 8 * 264 * 256, |k| {
        attend_f16(k, 264, 8, 264, 256, true)
    }),
    gemm("attend f16, 8 queries, 288 keys, width 256", 2 * 8 * 288 * 256, |k| {
        attend_f16(k, 1, 8, 288, 256, false)
    }),
    small("gelu_mul 16384", 16_384, |k| {
        let (mut gate, up) = (floats(16_384, 1), floats(16_384, 2));
        Box::new(move || k.gelu_mul(&mut gate, &up))
    }),
    small("gelu 4304", 4304, |k| {
        let mut x = floats(4304, 1);
        Box::new(move || k.gelu(&mut x))
    }),
    small("layer_norm 1152", 1152, |k| {
        let (x, w, b, mut out) = (floats(1152, 1), floats(1152, 2), floats(1152, 3), vec![0.0; 1152]);
        Box::new(move || k.layer_norm(&x, &w, &b, 1e-6, &mut out))
    }),
    small("rms_norm 2048", 2048, |k| {
        let (x, w, mut out) = (floats(2048, 1), floats(2048, 2), vec![0.0; 2048]);
        Box::new(move || k.rms_norm(&x, &w, 1e-6, &mut out))
    }),
    small("narrow 2048 to f16", 2048, |k| {
        let (x, mut out) = (floats(2048, 1), vec![f16::ZERO; 2048]);
        Box::new(move || k.narrow(&x, &mut out))
    }),
];

const fn gemm(name: &'static str, work: usize, prepare: fn(&'static Kernels) -> Box<dyn FnMut()>) -> Subject {
    Subject { name, work, calls: 1, prepare }
}

const fn small(
    name: &'static str,
    work: usize,
    prepare: fn(&'static Kernels) -> Box<dyn FnMut()>,
) -> Subject {
    Subject { name, work, calls: 100, prepare }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [table, name, calls] = &arguments[..] else {
        for s in SUBJECTS {
            println!("{}\t{}\t{}", s.name, s.work, s.calls);
        }
        return;
    };
    let Some(kernels) = Kernels::by_name(table) else {
        eprintln!("the table {table} does not run here");
        std::process::exit(2);
    };
    let subject = SUBJECTS.iter().find(|s| s.name == name).expect("a kernel of the list");
    let mut call = (subject.prepare)(kernels);
    for _ in 0..calls.parse().expect("a number of calls") {
        call();
    }
}

/// Values between -1 and 1; no kernel's way depends on them.
fn floats(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Bytes that repeat after an odd number: any byte is a weight, and those of a scale are small numbers often enough.
fn weights(format: WeightFormat, k: usize, rows: usize) -> Vec<u8> {
    (0..format.matrix_bytes(k, rows)).map(|i| (i % 251 % 60) as u8).collect()
}

fn product(
    kernels: &'static Kernels,
    format: WeightFormat,
    rows: usize,
    k: usize,
    n: usize,
) -> Box<dyn FnMut()> {
    let weights = weights(format, k, rows);
    let (x, layout) = (floats(n * k, 1), kernels.layout(n, k, span(format)));
    let (mut q, mut scale, mut offset) =
        (vec![0; layout.values()], vec![0.0; layout.blocks()], vec![0; layout.blocks()]);
    kernels.quantize_rows(&x, &layout, &mut q, &mut scale, &mut offset);
    let mut out = vec![0.0; n * rows];
    let mut panel = (vec![0; Panel::VALUES], vec![0.0; Panel::SCALES], vec![0.0; Panel::SUMS]);
    Box::new(move || {
        let w = WeightRows::new(format, &weights, k, rows);
        let x = QuantizedRows::new(layout, &q, &scale, &offset);
        let mut panel = Panel::new(&mut panel.0, &mut panel.1, &mut panel.2);
        let mut out = Output::new(TileMut::new(&mut out, n, rows), None);
        kernels.gemm_quantized(&w, &x, &mut out, &mut panel);
    })
}

/// By tract-linalg where the table leaves it that, which is never so for one column.
fn product_f16(kernels: &'static Kernels, rows: usize, k: usize, n: usize) -> Box<dyn FnMut()> {
    let (weights, x, mut out) = (weights(WeightFormat::F16, k, rows), floats(n * k, 1), vec![0.0; n * rows]);
    let (mut work, mut buffer) = (kernels.float_work(), vec![0.0; kernels.float_buffer_len(k)]);
    Box::new(move || {
        let w = WeightRows::new(WeightFormat::F16, &weights, k, rows);
        let mut out = Output::new(TileMut::new(&mut out, n, rows), None);
        kernels.gemm_float(&w, &x, &mut out, &mut work, &mut buffer);
    })
}

fn quantize(kernels: &'static Kernels, format: WeightFormat) -> Box<dyn FnMut()> {
    let x = floats(2048, 1);
    let layout = kernels.layout(1, 2048, span(format));
    let (mut q, mut scale, mut offset) =
        (vec![0; layout.values()], vec![0.0; layout.blocks()], vec![0; layout.blocks()]);
    Box::new(move || kernels.quantize_rows(&x, &layout, &mut q, &mut scale, &mut offset))
}

fn attend_f32(
    kernels: &'static Kernels,
    positions: usize,
    heads: usize,
    n_keys: usize,
    d: usize,
    quantized: bool,
) -> Box<dyn FnMut()> {
    let (keys, values) = (floats(n_keys * d, 2), floats(n_keys * d, 3));
    let mut attend = attend(kernels, positions, heads, n_keys, d, quantized);
    Box::new(move || attend(&KvSlice::F32(KvRows::new(&keys, &values, n_keys, d, d))))
}

fn attend_f16(
    kernels: &'static Kernels,
    positions: usize,
    heads: usize,
    n_keys: usize,
    d: usize,
    quantized: bool,
) -> Box<dyn FnMut()> {
    let [keys, values] = [2, 3].map(|seed| {
        let halves: Vec<f16> = floats(n_keys * d, seed).into_iter().map(f16::from_f32).collect();
        halves
    });
    let mut attend = attend(kernels, positions, heads, n_keys, d, quantized);
    Box::new(move || attend(&KvSlice::F16(KvRows::new(&keys, &values, n_keys, d, d))))
}

fn attend(
    kernels: &'static Kernels,
    positions: usize,
    heads: usize,
    n_keys: usize,
    d: usize,
    quantized: bool,
) -> impl FnMut(&KvSlice<'_>) {
    let width = heads * d;
    let (q, mut out) = (floats(positions * width, 1), vec![0.0; positions * width]);
    let mut scratch = vec![0.0; kernels.attend_room(d, n_keys)];
    move |kv| {
        let q = Queries::new(&q, positions, width, heads, d);
        let scale = 1.0 / (d as f32).sqrt();
        let mut out = TileMut::new(&mut out, positions, width);
        if quantized {
            kernels.attend_quantized(&q, kv, scale, &mut scratch, &mut out);
        } else {
            kernels.attend(&q, kv, scale, &mut scratch, &mut out, None);
        }
    }
}
