//! Every kernel table that runs here against `scalar`, once: a processor, an emulator or a compiler that multiplies wrongly is
//! found before a model is believed.
//!
//! Few cases of awkward lengths, in well under a second; the tests beside the tables go through all of them. The tolerances and
//! the operands of both are here.

use crate::format::WeightFormat;
use crate::format::block::{self, BLOCK, GROUP};
use crate::kernels::{
    Kernels, KvRows, KvSlice, Output, Panel, QuantizedRows, Queries, RowLayout, TileMut, WeightRows, span,
};
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::fmt;
use half::f16;

/// Largest relative difference (to the largest magnitude in play, or one) allowed between two float tables.
pub(crate) const FLOAT_TOLERANCE: f32 = 2e-6;
/// The same where sums of `k` products in another order are compared.
pub(crate) const SUM_TOLERANCE: f32 = 2e-5;
/// The same of attention in integers: where a sum is rounded to another whole number, tables differ by a digit of one probability.
pub(crate) const QUANTIZED_TOLERANCE: f32 = 3e-4;

/// Rows that fill no vector and no block, and one more than several of either.
const LENGTHS: [usize; 4] = [1, 7, 33, 101];

/// What a table did differently from `scalar`.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// The table's name.
    pub table: &'static str,
    /// The operation, by the name of the method of [`Kernels`].
    pub operation: &'static str,
    /// Sizes of the operands.
    pub sizes: String,
    /// Place of the first value that differs.
    pub index: usize,
    /// What `scalar` says.
    pub expected: f64,
    /// What the table says.
    pub found: f64,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { table, operation, sizes, index, expected, found } = self;
        write!(
            f,
            "kernel table {table} computes wrongly: {operation} ({sizes}), value {index}: expected {expected}, found {found}"
        )
    }
}

impl core::error::Error for Mismatch {}

/// A table that agreed with `scalar`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// The table's name.
    pub table: &'static str,
    /// Values that were compared.
    pub values: usize,
}

/// Runs every operation of every table that this machine has.
///
/// # Errors
/// The first difference.
pub fn run() -> Result<Vec<Agreed>, Mismatch> {
    compare(&Kernels::available())
}

/// The same with the tables given, of which the first is the one to agree with.
fn compare(tables: &[&'static Kernels]) -> Result<Vec<Agreed>, Mismatch> {
    let Some((specification, others)) = tables.split_first() else { return Ok(Vec::new()) };
    let expected = cases(specification);
    others
        .iter()
        .map(|kernels| {
            let mut values = 0;
            for (expected, found) in expected.iter().zip(cases(kernels)) {
                if let Some(index) = first_difference(&expected.values, &found.values, expected.tolerance) {
                    return Err(Mismatch {
                        table: kernels.name(),
                        operation: expected.operation,
                        sizes: found.sizes,
                        index,
                        expected: expected.values[index],
                        found: found.values[index],
                    });
                }
                values += found.values.len();
            }
            Ok(Agreed { table: kernels.name(), values })
        })
        .collect()
}

/// Place of the first value that is further off than `tolerance` times the largest magnitude, or one: the operands are of that size.
pub(crate) fn first_difference(expected: &[f64], found: &[f64], tolerance: f32) -> Option<usize> {
    let size = expected.iter().fold(1f64, |m, v| m.max(v.abs()));
    // What is not a number is no agreement.
    let agrees = |(e, f): (&f64, &f64)| (e - f).abs() <= f64::from(tolerance) * size;
    expected.iter().zip(found).position(|pair| !agrees(pair))
}

/// Results of one operation; exact ones have no tolerance.
struct Case {
    operation: &'static str,
    sizes: String,
    tolerance: f32,
    values: Vec<f64>,
}

impl Case {
    fn new<T: Copy + Into<f64>>(
        operation: &'static str,
        sizes: String,
        tolerance: f32,
        values: &[T],
    ) -> Self {
        Case { operation, sizes, tolerance, values: values.iter().map(|&v| v.into()).collect() }
    }
}

/// The same operands for every table.
fn cases(k: &Kernels) -> Vec<Case> {
    let mut numbers = Numbers(11);
    let mut cases = Vec::new();
    for n in LENGTHS {
        rows(k, n, &mut numbers, &mut cases);
        for format in WeightFormat::ALL {
            product(k, format, n, &mut numbers, &mut cases);
        }
    }
    for (d, keys, positions, heads) in [(9, 17, 3, 2), (72, 97, 2, 1), (33, 5, 1, 8)] {
        attention(k, [d, keys, positions, heads], &mut numbers, &mut cases);
    }
    cases
}

/// Operations on one row of `n` values.
fn rows(k: &Kernels, n: usize, numbers: &mut Numbers, cases: &mut Vec<Case>) {
    let [x, y, z] = [(); 3].map(|()| numbers.floats(n));
    let sizes = || format!("{n} values");
    let mut floats = |operation, tolerance, values: &[f32]| {
        cases.push(Case::new(operation, sizes(), tolerance, values));
    };
    let mut out = vec![0.0; n];
    // A single value minus its mean is all rounding error.
    if n > 1 {
        k.layer_norm(&x, &y, &z, 1e-6, &mut out);
        floats("layer_norm", SUM_TOLERANCE, &out);
    }
    k.rms_norm(&x, &y, 1e-6, &mut out);
    floats("rms_norm", SUM_TOLERANCE, &out);
    let mut out: Vec<f32> = x.iter().map(|v| v * 12.0).collect();
    k.gelu(&mut out);
    floats("gelu", FLOAT_TOLERANCE, &out);
    let mut out: Vec<f32> = x.iter().map(|v| v * 5.0).collect();
    k.gelu_mul(&mut out, &y);
    floats("gelu_mul", FLOAT_TOLERANCE, &out);
    let mut out = x.clone();
    k.add(&mut out, &y);
    floats("add", FLOAT_TOLERANCE, &out);
    let mut out = [&x[..], &y].concat();
    let (cos, sin): (Vec<f32>, Vec<f32>) = z.iter().map(|&a| (libm::cosf(a), libm::sinf(a))).unzip();
    k.rope(&mut out, &cos, &sin);
    floats("rope", FLOAT_TOLERANCE, &out);
    let mut out = vec![f16::ZERO; n];
    k.narrow(&x, &mut out);
    cases.push(Case::new("narrow", sizes(), 0.0, &out));
    let made = Activations::of(k, &x, n, 4);
    cases.push(Case::new("quantize", sizes(), 0.0, &made.q));
    cases.push(Case::new("quantize, scales", sizes(), 0.0, &made.scale));
    cases.push(Case::new("quantize, offsets", sizes(), 0.0, &made.offset));
}

/// Products of rows of `depth` values: one, as in decoding, and some, as in a prefix.
fn product(
    kernels: &Kernels,
    format: WeightFormat,
    depth: usize,
    numbers: &mut Numbers,
    cases: &mut Vec<Case>,
) {
    for (n, columns) in [(1, 19), (7, 9)] {
        let (bytes, x) = (numbers.weights(format, depth, columns, None), numbers.floats(n * depth));
        let weights = WeightRows::new(format, &bytes, depth, columns);
        let mut out = vec![f32::NAN; n * columns];
        let mut output = Output::new(TileMut::new(&mut out, n, columns), None);
        let operation = if format.is_quantized() {
            let x = Activations::of(kernels, &x, depth, span(format));
            kernels.gemm_quantized(&weights, &x.rows(), &mut output, &mut Room::new().panel());
            "gemm_quantized"
        } else {
            let mut buffer = vec![0.0; kernels.float_buffer_len(depth)];
            kernels.gemm_float(&weights, &x, &mut output, &mut kernels.float_work(), &mut buffer);
            "gemm_float"
        };
        let sizes = format!("{} weights, {depth} x {columns}, {n} rows", format.name());
        cases.push(Case::new(operation, sizes, SUM_TOLERANCE, &out));
    }
}

fn attention(
    k: &Kernels,
    [d, n, positions, heads]: [usize; 4],
    numbers: &mut Numbers,
    cases: &mut Vec<Case>,
) {
    let (keys, values, q) =
        (numbers.floats(n * d), numbers.floats(n * d), numbers.floats(positions * heads * d));
    let q = Queries::new(&q, positions, heads * d, heads, d);
    let narrow = |x: &[f32]| x.iter().map(|&v| f16::from_f32(v)).collect::<Vec<_>>();
    let (keys16, values16) = (narrow(&keys), narrow(&values));
    let slices = [
        ("f32", KvSlice::F32(KvRows::new(&keys, &values, n, d, d))),
        ("f16", KvSlice::F16(KvRows::new(&keys16, &values16, n, d, d))),
    ];
    for (precision, kv) in slices {
        let sizes = format!("{n} keys in {precision}, {positions} positions, {heads} heads of {d}");
        let mut scratch = vec![f32::NAN; k.attend_room(d, n)];
        let mut out = vec![f32::NAN; positions * heads * d];
        let mut totals = vec![[f32::NAN; 2]; q.len()];
        let mut tile = TileMut::new(&mut out, positions, heads * d);
        k.attend(&q, &kv, 0.7, &mut scratch, &mut tile, Some(&mut totals));
        cases.push(Case::new("attend", sizes.clone(), SUM_TOLERANCE, &out));
        cases.push(Case::new("attend, totals", sizes.clone(), SUM_TOLERANCE, totals.as_flattened()));
        let mut tile = TileMut::new(&mut out, positions, heads * d);
        k.attend_quantized(&q, &kv, 0.7, &mut scratch, &mut tile);
        // In floats it is `attend`, and was compared.
        let out = if k.attends_in_integers() { &out[..] } else { &[] };
        cases.push(Case::new("attend_quantized", sizes, QUANTIZED_TOLERANCE, out));
    }
}

/// A small generator of repeatable numbers (xorshift).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn float(&mut self) -> f32 {
        (self.next() % 20_001) as f32 / 10_000.0 - 1.0
    }

    pub(crate) fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }

    /// A matrix as a file stores it; `scale` stands for all of its scales.
    pub(crate) fn weights(
        &mut self,
        format: WeightFormat,
        k: usize,
        rows: usize,
        scale: Option<f32>,
    ) -> Vec<u8> {
        let mut bytes = vec![0; format.matrix_bytes(k, rows)];
        for group in bytes.chunks_exact_mut(format.group_bytes(k)) {
            match format {
                WeightFormat::F32 => group.as_chunks_mut().0.fill_with(|| self.float().to_le_bytes()),
                WeightFormat::F16 => {
                    group.as_chunks_mut().0.fill_with(|| f16::from_f32(self.float()).to_le_bytes())
                }
                WeightFormat::Q8 | WeightFormat::Q4 => self.tiles(format, group, k.div_ceil(BLOCK), scale),
            }
        }
        bytes
    }

    fn tiles(&mut self, format: WeightFormat, group: &mut [u8], tiles: usize, scale: Option<f32>) {
        for row in 0..GROUP {
            if format == WeightFormat::Q4 {
                block::write_q4_scale(group, row, scale.unwrap_or(self.float() / 64.0));
            }
            for t in 0..tiles {
                // -128 cannot come from our packer, but may stand in a file.
                let q = core::array::from_fn(|_| self.next() as i8);
                if format == WeightFormat::Q8 {
                    block::write_q8(group, t, row, f16::from_f32(scale.unwrap_or(self.float())), &q);
                } else {
                    let step = if scale.is_some() { (self.next() % 5) as i8 - 2 } else { self.next() as i8 };
                    block::write_q4(group, t, row, step, &q.map(|q| q >> 4));
                }
            }
        }
    }
}

/// Scratch memory for one thread's products.
pub(crate) struct Room {
    values: Vec<u8>,
    scales: Vec<f32>,
    sums: Vec<f32>,
}

impl Room {
    pub(crate) fn new() -> Self {
        let floats = |n| vec![9.0; n];
        Room { values: vec![9; Panel::VALUES], scales: floats(Panel::SCALES), sums: floats(Panel::SUMS) }
    }

    pub(crate) fn panel(&mut self) -> Panel<'_> {
        Panel::new(&mut self.values, &mut self.scales, &mut self.sums)
    }
}

/// Rows of activations as a table makes them.
pub(crate) struct Activations {
    pub(crate) layout: RowLayout,
    pub(crate) q: Vec<i8>,
    pub(crate) scale: Vec<f32>,
    pub(crate) offset: Vec<i32>,
}

impl Activations {
    pub(crate) fn of(kernels: &Kernels, x: &[f32], k: usize, span: usize) -> Self {
        let layout = kernels.layout(x.len() / k, k, span);
        let (values, blocks) = (layout.values(), layout.blocks());
        let mut made =
            Activations { layout, q: vec![9; values], scale: vec![9.0; blocks], offset: vec![9; blocks] };
        kernels.quantize_rows(x, &layout, &mut made.q, &mut made.scale, &mut made.offset);
        made
    }

    pub(crate) fn rows(&self) -> QuantizedRows<'_> {
        QuantizedRows::new(self.layout, &self.q, &self.scale, &self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::wrong_tables;

    #[test]
    fn the_tables_of_this_machine_agree() {
        let agreed = run().unwrap();
        let names: Vec<_> = agreed.iter().map(|a| a.table).collect();
        let others: Vec<_> = Kernels::available().iter().skip(1).map(|k| k.name()).collect();
        assert_eq!(names, others);
        assert!(agreed.iter().all(|a| a.values > 3_000), "{agreed:?}");
    }

    /// Each of these is `scalar` with one operation that is a little wrong.
    #[test]
    fn a_wrong_operation_is_found_and_named() {
        for (operation, table) in wrong_tables() {
            let found = compare(&[Kernels::available()[0], table]).unwrap_err();
            assert_eq!((found.table, found.operation), ("wrong", operation));
            let message = found.to_string();
            assert!(
                message.starts_with(&format!("kernel table wrong computes wrongly: {operation} (")),
                "{message}"
            );
        }
    }

    #[test]
    fn what_is_not_a_number_differs() {
        assert_eq!(first_difference(&[1.0, 2.0], &[1.0, f64::NAN], 1.0), Some(1));
        assert_eq!(first_difference(&[1.0, 100.0], &[1.5, 100.0], 0.01), None);
        assert_eq!(first_difference(&[1.0], &[1.0 + 1e-12], 0.0), Some(0));
    }
}
