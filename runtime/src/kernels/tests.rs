//! Every table that runs here against the scalar one: all operations, awkward lengths, misaligned starts.

use super::*;
use crate::format::block::GROUP;
use crate::self_test::{
    Activations, FLOAT_TOLERANCE, Numbers, QUANTIZED_TOLERANCE, Room, SUM_TOLERANCE, first_difference,
};
use half::f16;

/// Rows, columns and depths with every remainder that a kernel could mishandle.
const LENGTHS: [usize; 14] = [1, 2, 3, 7, 8, 9, 16, 31, 32, 33, 64, 72, 100, 257];

fn others() -> Vec<&'static Kernels> {
    Kernels::available().into_iter().filter(|k| k.name() != "scalar").collect()
}

/// `scalar`, each time with another operation that is wrong: what the self-test has to find.
pub(crate) fn wrong_tables() -> Vec<(&'static str, &'static Kernels)> {
    static WRONG: [(&str, Kernels); 6] = {
        const fn wrong(table: Table) -> Kernels {
            Kernels { name: "wrong", tract: false, table }
        }
        [
            // One value of the last vector is left out.
            (
                "add",
                wrong(Table {
                    add: |x, y| x[..y.len() - 1].iter_mut().zip(y).for_each(|(a, b)| *a += b),
                    ..scalar::KERNELS.table
                }),
            ),
            (
                "gelu",
                wrong(Table {
                    gelu: |x| x.iter_mut().for_each(|v| *v = v.max(0.0)),
                    ..scalar::KERNELS.table
                }),
            ),
            (
                "narrow",
                wrong(Table {
                    narrow: |x, out| out.iter_mut().zip(x).for_each(|(o, v)| *o = f16::from_f32(*v * 1.001)),
                    ..scalar::KERNELS.table
                }),
            ),
            (
                "gemm_quantized",
                wrong(Table { gemm_q4: |_, _, out, _| out.put(0, 0, &[0.0]), ..scalar::KERNELS.table }),
            ),
            (
                "gemm_float",
                wrong(Table { gemm_f32: |_, _, out| out.put(0, 0, &[f32::NAN]), ..scalar::KERNELS.table }),
            ),
            (
                "attend_quantized",
                wrong(Table {
                    attend_quantized: Some(AttendQuantized {
                        f32: |_, _, _, _, out| out.row(0)[0] = 2.0,
                        f16: |_, _, _, _, out| out.row(0)[0] = 2.0,
                    }),
                    ..scalar::KERNELS.table
                }),
            ),
        ]
    };
    WRONG.iter().map(|(operation, table)| (*operation, table)).collect()
}

#[track_caller]
fn assert_close(what: &str, expected: &[f32], found: &[f32], tolerance: f32) {
    let wide = |x: &[f32]| x.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    if let Some(i) = first_difference(&wide(expected), &wide(found), tolerance) {
        panic!("{what}[{i}]: expected {}, found {}", expected[i], found[i]);
    }
}

/// A copy of `x` that starts `offset` elements into an allocation.
fn shifted<T: Copy + Default>(x: &[T], offset: usize) -> Vec<T> {
    let mut v = alloc::vec![T::default(); offset];
    v.extend_from_slice(x);
    v
}

#[test]
fn tables_are_found_by_name_and_unknown_ones_refused() {
    for k in Kernels::available() {
        assert!(core::ptr::eq(Kernels::by_name(k.name()).unwrap(), k));
    }
    let refused = Kernels::choose(Some("pdp11")).unwrap_err().to_string();
    assert!(refused.contains("pdp11") && refused.contains("scalar"), "{refused}");
    // Whoever reads a log of the tests wants to know which tables they met.
    let found: Vec<&str> = Kernels::available().iter().map(|k| k.name()).collect();
    println!("kernel tables: {}", found.join(", "));
    // Emulators of a certain processor are told to be that one: a feature that goes unnoticed is a failure.
    if let Ok(expected) = std::env::var("PG_EXPECTED_ISA") {
        assert_eq!(Kernels::detect().name(), expected);
    }
    #[cfg(target_arch = "aarch64")]
    {
        let has = [
            ("scalar", true),
            ("neon", true),
            ("neon-dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
            ("neon-i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
        ];
        let expected: Vec<&str> = has.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect();
        assert_eq!(found, expected, "the best one last");
    }
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl");
        let expected = [
            ("scalar", true),
            ("avx2", avx2),
            ("avx-vnni", avx2 && is_x86_feature_detected!("avxvnni")),
            ("avx512-vnni", avx2 && avx512 && is_x86_feature_detected!("avx512vnni")),
        ];
        let expected: Vec<&str> =
            expected.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect();
        assert_eq!(found, expected, "the best one last");
        assert_eq!(Some(&Kernels::detect().name()), expected.last());
    }
}

#[test]
fn activations_are_quantized_to_the_same_bits() {
    let mut numbers = Numbers(1);
    for n in LENGTHS {
        for (offset, span) in [(0, 1), (1, 1), (2, 4), (3, 4), (0, 3)] {
            let mut x = shifted(&numbers.floats(n), offset);
            x[offset] = if n % 2 == 0 { 0.0 } else { 3.5 };
            let x = &x[offset..];
            let expected = unpacked(&Activations::of(&scalar::KERNELS, x, n, span), 0);
            assert!(expected.0[n..].iter().all(|&q| q == 0), "padding");
            for (i, v) in x.iter().enumerate() {
                let error = (v - expected.1[i / BLOCK] * f32::from(expected.0[i])).abs();
                assert!(error <= expected.1[i / BLOCK] * 0.5001, "{v}: error {error}");
            }
            // Of several rows, of which the last bundle is not full, each is where the layout says.
            let rows: Vec<f32> = (0..7).flat_map(|_| x.iter().copied()).collect();
            for k in others() {
                for made in [Activations::of(k, x, n, span), Activations::of(k, &rows, n, span)] {
                    for t in 0..made.layout.n() {
                        assert_eq!(
                            unpacked(&made, t),
                            expected,
                            "{} n {n} offset {offset} row {t}",
                            k.name()
                        );
                    }
                }
            }
        }
    }
}

/// Values, scales and offsets of row `t`, wherever they lie.
fn unpacked(x: &Activations, t: usize) -> (Vec<i8>, Vec<f32>, Vec<i32>) {
    let together = x.layout.interleaved();
    let first = t / together * x.layout.bundle_blocks();
    let blocks = x.layout.bundle_blocks() / together;
    let value = |i: usize| x.q[first * BLOCK + (i / 8 * together + t % together) * 8 + i % 8];
    let at = |b: usize| first + b * together + t % together;
    (
        (0..blocks * BLOCK).map(value).collect(),
        (0..blocks).map(|b| x.scale[at(b)]).collect(),
        (0..blocks).map(|b| x.offset[at(b)]).collect(),
    )
}

/// With scales of one every product and sum is a whole number below 2^24, so that floats are exact and any
/// difference is a wrong integer product.
#[test]
fn integer_products_agree_to_the_bit() {
    let mut numbers = Numbers(2);
    for format in [WeightFormat::Q8, WeightFormat::Q4] {
        for k in [1, 31, 32, 33, 64, 96, 588, 1000, 2100] {
            for (n, rows) in [(1, 1), (1, 9), (1, 16), (2, 3), (3, 8), (4, 24), (5, 17), (9, 40)] {
                let offset = rows % 4;
                let padded = format.padded(k);
                let w = shifted(&numbers.weights(format, k, rows, Some(1.0)), offset);
                // Quantizing whole numbers of which one is 127 changes nothing, and gives scales of one.
                let x: Vec<f32> = (0..n * padded)
                    .map(|i| {
                        if i % BLOCK == i / BLOCK % BLOCK {
                            127.0
                        } else {
                            (numbers.next() % 255) as f32 - 127.0
                        }
                    })
                    .collect();
                let run = |kernels: &Kernels| {
                    let x = Activations::of(kernels, &x, padded, span(format));
                    let q = shifted(&x.q, offset);
                    assert!((0..n).all(|t| unpacked(&x, t).1.iter().all(|&s| s == 1.0)));
                    let mut out = alloc::vec![0.0; n * rows];
                    kernels.gemm_quantized(
                        &WeightRows::new(format, &w[offset..], k, rows),
                        &QuantizedRows::new(x.layout, &q[offset..], &x.scale, &x.offset),
                        &mut Output::new(TileMut::new(&mut out, n, rows), None),
                        &mut Room::new().panel(),
                    );
                    out
                };
                let expected = run(&scalar::KERNELS);
                for kernels in others() {
                    assert_eq!(
                        run(kernels),
                        expected,
                        "{} {format:?} k {k} n {n} rows {rows}",
                        kernels.name()
                    );
                }
            }
        }
    }
}

/// Wherever the rows begin among those that are interleaved.
#[test]
fn some_of_the_rows_have_the_same_products() {
    let mut numbers = Numbers(8);
    let (k, columns) = (96, 9);
    for format in [WeightFormat::Q8, WeightFormat::Q4] {
        let w = numbers.weights(format, k, columns, None);
        let w = WeightRows::new(format, &w, k, columns);
        for n in [2, 5, 6, 7, 13] {
            let x = numbers.floats(n * k);
            for kernels in Kernels::available() {
                let x = Activations::of(kernels, &x, k, span(format));
                let run = |first: usize| {
                    let mut out = alloc::vec![0.0; (n - first) * columns];
                    let mut output = Output::new(TileMut::new(&mut out, n - first, columns), None);
                    let x = x.rows().rows_from(first);
                    kernels.gemm_quantized(&w, &x, &mut output, &mut Room::new().panel());
                    out
                };
                let all = run(0);
                for first in 1..n {
                    let what = alloc::format!("{} {format:?} n {n} from {first}", kernels.name());
                    assert_close(&what, &all[first * columns..], &run(first), SUM_TOLERANCE);
                    let twice = x.rows().rows_from(1).rows_from(first - 1);
                    assert_eq!(
                        (twice.n(), twice.skipped()),
                        (n - first, x.rows().rows_from(first).skipped())
                    );
                }
            }
        }
    }
}

#[test]
fn results_go_to_their_places_with_what_is_added() {
    const N: usize = 4;
    let mut numbers = Numbers(5);
    let (n, columns) = (3, 11);
    let (bias, before) = (numbers.floats(columns), numbers.floats(n * columns));
    let results = numbers.floats(n * columns.next_multiple_of(N));
    for (with_bias, add) in [(false, false), (true, false), (false, true), (true, true)] {
        let run = |vectors: bool| {
            let mut out = before.clone();
            let (tile, bias) = (TileMut::new(&mut out, n, columns), with_bias.then_some(&bias[..]));
            let mut output = if add { Output::add_to(tile, bias) } else { Output::new(tile, bias) };
            for (i, results) in results.as_chunks::<N>().0.iter().enumerate() {
                let (t, first) = (i / columns.div_ceil(N), i % columns.div_ceil(N) * N);
                if vectors { output.put_vectors(t, first, *results) } else { output.put(t, first, results) }
            }
            out
        };
        for (i, (one, vectors)) in run(false).into_iter().zip(run(true)).enumerate() {
            let (t, c) = (i / columns, i % columns);
            let mut expected = results[t * columns.next_multiple_of(N) + c];
            if with_bias {
                expected += bias[c];
            }
            if add {
                expected += before[i];
            }
            assert_eq!((one, vectors), (expected, expected), "row {t} column {c} {with_bias} {add}");
        }
    }
}

#[test]
fn products_with_real_scales_agree() {
    let mut numbers = Numbers(3);
    for format in WeightFormat::ALL {
        for k in LENGTHS {
            for (n, rows) in [(1, 5), (3, 2), (8, 33), (300, 17)] {
                let w = numbers.weights(format, k, rows, None);
                let x = numbers.floats(n * k);
                let w = WeightRows::new(format, &w, k, rows);
                let (bias, before) = (numbers.floats(rows), numbers.floats(n * rows));
                let run = |kernels: &Kernels| {
                    let mut out = before.clone();
                    let cut = rows / 2 / GROUP * GROUP;
                    let (left, right) = TileMut::new(&mut out, n, rows).split_columns(cut);
                    for (tile, part) in [(left, 0..cut), (right, cut..rows)] {
                        let mut out = Output::add_to(tile, Some(&bias[part.clone()]));
                        if format.is_quantized() {
                            let x = Activations::of(kernels, &x, k, span(format));
                            kernels.gemm_quantized(
                                &w.slice(part),
                                &x.rows(),
                                &mut out,
                                &mut Room::new().panel(),
                            );
                        } else {
                            let mut buffer = alloc::vec![0.0; kernels.float_buffer_len(k)];
                            let mut work = kernels.float_work();
                            kernels.gemm_float(&w.slice(part), &x, &mut out, &mut work, &mut buffer);
                        }
                    }
                    out
                };
                let expected = run(&scalar::KERNELS);
                for kernels in others() {
                    let what = alloc::format!("{} {format:?} k {k} n {n} rows {rows}", kernels.name());
                    assert_close(&what, &expected, &run(kernels), SUM_TOLERANCE);
                }
            }
        }
    }
}

/// What `attend` makes of `positions` times `heads` queries; everything around its operands is not a number.
fn framed(
    k: &Kernels,
    q: &Queries<'_>,
    kv: &KvSlice<'_>,
    positions: usize,
    attend: impl FnOnce(&mut [f32], &mut TileMut<'_>),
) -> Vec<f32> {
    let width = q.len() / positions * q.d_head();
    let mut whole = alloc::vec![f32::NAN; positions * (width + 1)];
    let mut scratch = alloc::vec![f32::NAN; k.attend_room(q.d_head(), kv.n())];
    let (mut out, _) = TileMut::new(&mut whole, positions, width + 1).split_columns(width);
    attend(&mut scratch, &mut out);
    let out = whole.chunks(width + 1).flat_map(|row| {
        assert!(row[width].is_nan(), "written past a row");
        &row[..width]
    });
    out.copied().collect()
}

/// Attention in floats, and the totals.
fn attend(k: &Kernels, q: &Queries<'_>, kv: &KvSlice<'_>, positions: usize) -> (Vec<f32>, Vec<[f32; 2]>) {
    let mut totals = alloc::vec![[f32::NAN; 2]; q.len()];
    let out = framed(k, q, kv, positions, |scratch, out| {
        k.attend(q, kv, 0.7, scratch, out, Some(&mut totals));
    });
    (out, totals)
}

/// Attention in integers.
fn attend_quantized(k: &Kernels, q: &Queries<'_>, kv: &KvSlice<'_>, positions: usize) -> Vec<f32> {
    framed(k, q, kv, positions, |scratch, out| k.attend_quantized(q, kv, 0.7, scratch, out))
}

fn attention_case(numbers: &mut Numbers, d: usize, n: usize, positions: usize, heads: usize) {
    let stride = d + n % 3;
    let (keys, values) = (numbers.floats(n * stride), numbers.floats(n * stride));
    let q_stride = heads * d + positions % 3;
    let q = numbers.floats(positions * q_stride);
    let q = Queries::new(&q, positions, q_stride, heads, d);
    let narrow = |x: &[f32]| x.iter().map(|&v| f16::from_f32(v)).collect::<Vec<_>>();
    let (keys16, values16) = (narrow(&keys), narrow(&values));
    let slices = [
        KvSlice::F32(KvRows::new(&keys, &values, n, stride, d)),
        KvSlice::F16(KvRows::new(&keys16, &values16, n, stride, d)),
    ];
    for kv in slices {
        let expected = attend(&scalar::KERNELS, &q, &kv, positions);
        for k in others() {
            let what = alloc::format!("{} d {d} keys {n} positions {positions} heads {heads}", k.name());
            let found = attend(k, &q, &kv, positions);
            assert_close(&what, &expected.0, &found.0, SUM_TOLERANCE);
            assert_close(&what, expected.1.as_flattened(), found.1.as_flattened(), SUM_TOLERANCE);
        }
    }
}

#[test]
fn attention_agrees() {
    let mut numbers = Numbers(6);
    // Every number of keys within a panel and around the ends of blocks.
    for n in (1..=70).chain([95, 96, 97, 130, 191, 192, 193, 289]) {
        attention_case(&mut numbers, 9, n, 3, 2);
        attention_case(&mut numbers, 72, n, 5, 1);
    }
    for d in [1, 2, 7, 8, 9, 15, 16, 17, 24, 25, 31, 32, 33, 64, 72, 100, 256, 300] {
        for n in [1, 5, 17, 96, 101] {
            attention_case(&mut numbers, d, n, 1, 8);
            attention_case(&mut numbers, d, n, 7, 1);
        }
    }
    for positions in (1..20).chain([31, 32, 33, 100, 250, 600]) {
        attention_case(&mut numbers, 10, 20, positions, 1);
        attention_case(&mut numbers, 16, 100, positions, 3);
    }
}

/// Attention in double precision.
fn attend_exactly(q: &Queries<'_>, kv: &KvRows<'_, f32>, scale: f32) -> Vec<f64> {
    let mut out = Vec::new();
    for r in 0..q.len() {
        let dot = |k: &[f32]| q.row(r).iter().zip(k).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let scores: Vec<f64> = (0..kv.n()).map(|j| f64::from(scale) * dot(kv.key(j))).collect();
        let max = scores.iter().fold(f64::NEG_INFINITY, |m, &s| m.max(s));
        let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
        for c in 0..kv.d_head() {
            let terms = scores.iter().enumerate().map(|(j, s)| (s - max).exp() * f64::from(kv.value(j)[c]));
            out.push(terms.sum::<f64>() / sum);
        }
    }
    out
}

#[test]
fn room_for_wide_heads_and_many_keys_does_for_less() {
    for k in Kernels::available() {
        for d in 1..3000 {
            assert!(k.attend_room(d, 9) <= k.attend_room(d + 1, 9), "{} {d}", k.name());
        }
        assert!(k.attend_room(9, 5) <= k.attend_room(9, 6));
    }
}

#[test]
fn quantized_attention_agrees() {
    let mut numbers = Numbers(7);
    let mut case = |d: usize, n: usize, positions: usize, heads: usize| {
        let stride = d + n % 3;
        let (keys, values) = (numbers.floats(n * stride), numbers.floats(n * stride));
        let q_stride = heads * d + positions % 3;
        let q = numbers.floats(positions * q_stride);
        let q = Queries::new(&q, positions, q_stride, heads, d);
        let narrow = |x: &[f32]| x.iter().map(|&v| f16::from_f32(v)).collect::<Vec<_>>();
        let (keys16, values16) = (narrow(&keys), narrow(&values));
        let kv = KvRows::new(&keys, &values, n, stride, d);
        let exact: Vec<f32> = attend_exactly(&q, &kv, 0.7).into_iter().map(|v| v as f32).collect();
        let slices = [KvSlice::F32(kv), KvSlice::F16(KvRows::new(&keys16, &values16, n, stride, d))];
        for kv in slices {
            let expected = attend_quantized(&scalar::KERNELS, &q, &kv, positions);
            assert_close("scalar, beside the exact one", &exact, &expected, 2e-3);
            let (in_floats, _) = attend(&scalar::KERNELS, &q, &kv, positions);
            for k in others() {
                let what = alloc::format!("{} d {d} keys {n} positions {positions} heads {heads}", k.name());
                let found = attend_quantized(k, &q, &kv, positions);
                match k.table.attend_quantized {
                    Some(_) => assert_close(&what, &expected, &found, QUANTIZED_TOLERANCE),
                    None => assert_close(&what, &in_floats, &found, SUM_TOLERANCE),
                }
            }
        }
    };
    // Every number of keys within a panel and around the ends of blocks.
    for n in (1..=40).chain([63, 64, 65, 95, 96, 97, 130, 191, 192, 193, 289]) {
        case(9, n, 3, 2);
        case(72, n, 5, 1);
    }
    for d in [1, 2, 7, 8, 9, 15, 16, 17, 24, 25, 31, 32, 33, 64, 72, 100, 256, 300] {
        for n in [1, 5, 17, 96, 101] {
            case(d, n, 1, 8);
            case(d, n, 7, 1);
        }
    }
    for positions in (1..20).chain([47, 48, 49, 100, 250, 600]) {
        case(10, 20, positions, 1);
        case(16, 100, positions, 3);
    }
}

/// Errors beside double precision, each as a part of the largest value: what rounding to integers costs, where all
/// probabilities are alike, where few are large, and where a large one stands beside very many small ones.
#[test]
fn quantized_attention_is_nearly_exact() {
    let mut numbers = Numbers(9);
    for (d, n, size) in [(72, 256, 1.0), (72, 256, 8.0), (72, 1024, 3.0), (256, 264, 1.0), (256, 264, 6.0)] {
        let positions = 20;
        let sum_of_four = |n: usize, numbers: &mut Numbers| {
            (0..n).map(|_| (0..4).map(|_| numbers.float()).sum()).collect::<Vec<f32>>()
        };
        let (keys, values) = (sum_of_four(n * d, &mut numbers), sum_of_four(n * d, &mut numbers));
        // Scores get a standard deviation of `size`, so that the largest are about three times that.
        let by = size / (1.33 * 0.7 * (d as f32).sqrt());
        let q: Vec<f32> = sum_of_four(positions * d, &mut numbers).iter().map(|v| v * by).collect();
        let q = Queries::new(&q, positions, d, 1, d);
        let kv = KvRows::new(&keys, &values, n, d, d);
        let exact = attend_exactly(&q, &kv, 0.7);
        let rms =
            |x: &mut dyn Iterator<Item = f64>| (x.map(|v| v * v).sum::<f64>() / exact.len() as f64).sqrt();
        let size_of_values = rms(&mut exact.iter().copied());
        for k in Kernels::available() {
            let error = |found: &[f32]| {
                let errors = found.iter().zip(&exact).map(|(&a, b)| f64::from(a) - b);
                rms(&mut errors.clone()) / size_of_values
            };
            let kv = KvSlice::F32(kv);
            let floats = error(&attend(k, &q, &kv, positions).0);
            let integers = error(&attend_quantized(k, &q, &kv, positions));
            println!("{} d {d} keys {n} size {size}: {floats:.1e} and {integers:.1e}", k.name());
            assert!(integers < 1e-3, "{} d {d} keys {n} size {size}: {integers}", k.name());
        }
    }
}

/// A query's result does not depend on the queries beside it, and so not on how a team shares them.
#[test]
fn attention_is_the_same_to_the_bit_however_queries_are_cut() {
    let mut numbers = Numbers(8);
    for (d, n, positions, heads) in [(72, 300, 257, 1), (256, 130, 41, 8), (9, 50, 13, 3)] {
        let width = heads * d;
        let (keys, values, q) =
            (numbers.floats(n * d), numbers.floats(n * d), numbers.floats(positions * width));
        let kv = KvSlice::F32(KvRows::new(&keys, &values, n, d, d));
        for k in Kernels::available() {
            let run = |first: usize, positions: usize| {
                let q = Queries::new(&q[first * width..], positions, width, heads, d);
                let quantized = attend_quantized(k, &q, &kv, positions);
                [attend(k, &q, &kv, positions).0, quantized]
            };
            let whole = run(0, positions);
            for cut in [1, 2, 3, 4, 5, positions / 2] {
                let (before, after) = (run(0, cut), run(cut, positions - cut));
                for i in 0..2 {
                    let joined = [&before[i][..], &after[i]].concat();
                    assert_eq!(joined, whole[i], "{} cut {cut}", k.name());
                }
            }
        }
    }
}

#[test]
fn one_overwhelming_score_gives_its_value_and_no_nan() {
    let mut keys = [1e4f32, -1e4, 0.0, 30.0, 1.0].repeat(50);
    keys[205] = 2e4;
    let values: Vec<f32> = (5..255).map(|v| v as f32).collect();
    for k in Kernels::available() {
        for n in [5, 205, 206, 250] {
            let kv = KvSlice::F32(KvRows::new(&keys, &values, n, 1, 1));
            let q = Queries::new(&[1.0], 1, 1, 1, 1);
            let (out, _) = attend(k, &q, &kv, 1);
            let tied = (0..n).filter(|&j| keys[j] == keys[..n].iter().fold(0.0, |m: f32, &v| m.max(v)));
            let tied: Vec<f32> = tied.map(|j| values[j]).collect();
            let mean = [tied.iter().sum::<f32>() / tied.len() as f32];
            assert_close(k.name(), &mean, &out, FLOAT_TOLERANCE);
            assert_close(k.name(), &mean, &attend_quantized(k, &q, &kv, 1), QUANTIZED_TOLERANCE);
        }
    }
}

#[test]
fn quantized_attention_survives_any_numbers() {
    const HUGE: f32 = f32::MAX;
    let (d, n, positions) = (9, 101, 7);
    let plain = Numbers(10).floats(positions * d);
    for k in Kernels::available() {
        let run = |q: f32, key: f32, value: f32| {
            // One of each in the place given, or all of them where it is zero.
            let fill = |n: usize, x: f32| {
                let mut all: Vec<f32> = plain.iter().cycle().take(n).copied().collect();
                if x == 0.0 {
                    all.fill(x)
                } else {
                    all[n / 2] = x
                }
                all
            };
            let (q, keys, values) = (fill(positions * d, q), fill(n * d, key), fill(n * d, value));
            let kv = KvSlice::F32(KvRows::new(&keys, &values, n, d, d));
            let out = attend_quantized(k, &Queries::new(&q, positions, d, 1, d), &kv, positions);
            let mean = |c: usize| values.iter().skip(c).step_by(d).sum::<f32>() / n as f32;
            (out, (0..positions * d).map(|i| mean(i % d)).collect::<Vec<f32>>())
        };
        // Scores that are all alike give the mean of the values, and values of zero give zero.
        for (q, key) in [(0.0, 0.5), (0.5, 0.0), (0.0, 0.0), (1e-38, 1e-38)] {
            let (out, mean) = run(q, key, if q == 1e-38 { 0.0 } else { 0.5 });
            assert_close(k.name(), &mean, &out, QUANTIZED_TOLERANCE);
        }
        assert!(run(0.5, 0.5, 0.0).0.iter().all(|&v| v == 0.0), "{}", k.name());
        assert!(run(1e4, 1e4, 1e4).0.iter().all(|v| v.is_finite()), "{}", k.name());
        // Any result, but no panic.
        for x in [HUGE, -HUGE, f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            run(x, 0.5, 0.5);
            run(0.5, x, 0.5);
            run(0.5, 0.5, x);
            run(x, x, x);
        }
    }
}

#[test]
fn strips_give_every_element_to_one_holder() {
    for (rows, strips, width) in [(1, 1, 1), (5, 3, 2), (4, 1, 7), (1, 6, 3)] {
        for parts in 1..6 {
            let mut out = alloc::vec![-1.0; rows * strips * width];
            let mut all = Strips::new(TileMut::new(&mut out, rows, strips * width), width);
            for part in 0..parts {
                let share = crate::threads::partition::share(rows * strips, parts, 1, part);
                for (strip, first, mut tile) in all.cut(share.len()) {
                    for t in 0..tile.n_rows() {
                        for (c, v) in tile.row(t).iter_mut().enumerate() {
                            assert_eq!(*v, -1.0, "given out twice");
                            *v = ((first + t) * strips * width + strip * width + c) as f32;
                        }
                    }
                }
            }
            let expected: Vec<f32> = (0..rows * strips * width).map(|i| i as f32).collect();
            assert_eq!(out, expected);
        }
    }
}

#[test]
fn row_operations_agree() {
    let mut numbers = Numbers(7);
    for n in LENGTHS {
        for offset in 0..3 {
            let x = shifted(&numbers.floats(n), offset);
            let y = shifted(&numbers.floats(n), offset);
            let z = shifted(&numbers.floats(n), offset);
            let (x, y, z) = (&x[offset..], &y[offset..], &z[offset..]);
            type Op<'a> = (&'a str, &'a dyn Fn(&Kernels) -> Vec<f32>);
            let ops: [Op<'_>; 6] = [
                ("layer_norm", &|k| {
                    let mut out = alloc::vec![0.0; n];
                    k.layer_norm(x, y, z, 1e-6, &mut out);
                    // A single value minus its mean is all rounding error: only its sign of life is compared.
                    if n == 1 { alloc::vec![z[0]] } else { out }
                }),
                ("rms_norm", &|k| {
                    let mut out = alloc::vec![0.0; n];
                    k.rms_norm(x, y, 1e-6, &mut out);
                    out
                }),
                ("gelu", &|k| {
                    let mut out: Vec<f32> = x.iter().map(|v| v * 12.0).collect();
                    k.gelu(&mut out);
                    out
                }),
                ("gelu_mul", &|k| {
                    let mut out: Vec<f32> = x.iter().map(|v| v * 5.0).collect();
                    k.gelu_mul(&mut out, y);
                    out
                }),
                ("add", &|k| {
                    let mut out = x.to_vec();
                    k.add(&mut out, y);
                    out
                }),
                ("rope", &|k| {
                    let mut out = [x, y].concat();
                    let (c, s): (Vec<f32>, Vec<f32>) = z.iter().map(|a| (a.cos(), a.sin())).unzip();
                    k.rope(&mut out, &c, &s);
                    out
                }),
            ];
            for (name, op) in ops {
                let expected = op(&scalar::KERNELS);
                for k in others() {
                    let tolerance = if name.ends_with("norm") { SUM_TOLERANCE } else { FLOAT_TOLERANCE };
                    assert_close(&alloc::format!("{} {name} n {n}", k.name()), &expected, &op(k), tolerance);
                }
            }
            for k in others() {
                let run = |k: &Kernels| {
                    let mut out = alloc::vec![f16::ZERO; n];
                    k.narrow(x, &mut out);
                    out
                };
                assert_eq!(run(k), run(&scalar::KERNELS), "{} narrow", k.name());
            }
        }
    }
}

#[test]
fn gelu_stays_in_its_range_on_saturating_tails() {
    for k in Kernels::available() {
        let mut x: Vec<f32> = (-4000..4000).map(|i| i as f32 * 0.05).chain([1e30, -1e30]).collect();
        let before = x.clone();
        k.gelu(&mut x);
        for (b, a) in before.iter().zip(&x) {
            let bounds = if *b > 0.0 { 0.0..=*b } else { -0.171..=0.0 };
            assert!(bounds.contains(a), "{} gelu({b}) = {a}", k.name());
        }
    }
}
