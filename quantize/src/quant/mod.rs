//! Checkpoint values to stored rows: decoding, quantizing and measuring what that lost.
//!
//! Called by [`crate::pack`] with whole rows. Which bit means which weight is `pg_runtime::format::block`'s
//! business; the choice of scales is here, in [`q4`] and [`q8`].

pub mod q4;
pub mod q8;

use crate::source::Precision;
use byteorder::{ByteOrder, LittleEndian};
use half::{bf16, f16};
use pg_runtime::format::WeightFormat;
use pg_runtime::format::block::{BLOCK, write_q4, write_q4_scale, write_q8};
use std::fmt;

/// What one tensor's rows are made of and made into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowKind {
    /// How the checkpoint stores a value.
    pub(crate) precision: Precision,
    /// Added to every value: 1 for Gemma's norms, whose checkpoints store the difference from 1.
    pub(crate) offset: f32,
    /// Values of a row.
    pub(crate) k: usize,
    /// How the file stores them.
    pub(crate) format: WeightFormat,
}

/// Sums over values: their squares, and the squares of what storing them changed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Tally {
    pub(crate) squares: f64,
    pub(crate) error_squares: f64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Tally) {
        self.squares += other.squares;
        self.error_squares += other.error_squares;
    }

    fn add_block(&mut self, x: &[f32; BLOCK], scale: f32, q: &[i8; BLOCK]) {
        self.squares += f64::from(dot(x, x));
        self.error_squares += f64::from(squared_error(x, scale, q));
    }
}

/// A value that the format cannot hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BadValue {
    row: usize,
    column: usize,
    value: f32,
    format: WeightFormat,
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BadValue { row, column, value, format } = self;
        write!(f, "holds {value} in row {row}, column {column}")?;
        if value.is_finite() {
            write!(f, ", too large for {}: pack it with --f32", format.name())
        } else {
            write!(f, ": the checkpoint is damaged, or its training diverged")
        }
    }
}

/// Packs rows, a share of them on each of `threads` threads.
///
/// `source` holds whole rows as stored in the checkpoint, `packed` is room for as many rows of the file, the first of
/// which begins a group; `first_row` is its number, for messages.
pub(crate) fn pack_rows(
    kind: RowKind,
    first_row: usize,
    source: &[u8],
    packed: &mut [u8],
    threads: usize,
) -> Result<Tally, BadValue> {
    let source_row = kind.k * kind.precision.bytes();
    let rows = source.len() / source_row;
    assert_eq!(
        (source.len(), packed.len()),
        (rows * source_row, kind.format.matrix_bytes(kind.k, rows)),
        "whole rows"
    );
    let share = rows.div_ceil(threads.max(1)).max(1).next_multiple_of(kind.format.group_rows());
    let packed_share = kind.format.matrix_bytes(kind.k, share);
    let shares = source.chunks(share * source_row).zip(packed.chunks_mut(packed_share));
    let results: Vec<_> = std::thread::scope(|scope| {
        let mut running = Vec::new();
        let mut last = None;
        for (i, (s, p)) in shares.enumerate() {
            let mut work = move || pack_share(kind, first_row + i * share, s, p);
            // The calling thread takes the last share itself.
            if (i + 1) * share >= rows {
                last = Some(work());
            } else {
                running.push(scope.spawn(work));
            }
        }
        let joined = running.into_iter().map(|t| t.join().expect("packing does not panic"));
        joined.chain(last).collect()
    });
    let mut tally = Tally::default();
    for result in results {
        tally.add(result?);
    }
    Ok(tally)
}

fn pack_share(kind: RowKind, first_row: usize, source: &[u8], packed: &mut [u8]) -> Result<Tally, BadValue> {
    let mut values = vec![0.0f32; kind.k];
    let mut tally = Tally::default();
    let group = kind.format.group_rows();
    // Rows that fill up the last group stay zero.
    packed.fill(0);
    for (i, s) in source.chunks_exact(kind.k * kind.precision.bytes()).enumerate() {
        let p = &mut packed[i / group * kind.format.group_bytes(kind.k)..][..kind.format.group_bytes(kind.k)];
        decode(kind.precision, s, &mut values);
        let bad = |(column, value)| BadValue { row: first_row + i, column, value, format: kind.format };
        if let Some(found) = find_non_finite(&values) {
            return Err(bad(found));
        }
        if kind.offset != 0.0 {
            values.iter_mut().for_each(|v| *v += kind.offset);
        }
        tally.add(encode(kind.format, &values, i % group, p).map_err(bad)?);
    }
    Ok(tally)
}

fn decode(precision: Precision, source: &[u8], values: &mut [f32]) {
    match precision {
        Precision::F32 => LittleEndian::read_f32_into(source, values),
        Precision::F16 => {
            for (v, b) in values.iter_mut().zip(source.as_chunks::<2>().0) {
                *v = f16::from_le_bytes(*b).to_f32();
            }
        }
        Precision::Bf16 => {
            for (v, b) in values.iter_mut().zip(source.as_chunks::<2>().0) {
                *v = bf16::from_le_bytes(*b).to_f32();
            }
        }
    }
}

fn find_non_finite(values: &[f32]) -> Option<(usize, f32)> {
    // NaN and the infinities times zero are NaN, so one sum decides almost always.
    if values.iter().map(|v| v * 0.0).sum::<f32>() == 0.0 {
        return None;
    }
    values.iter().copied().enumerate().find(|(_, v)| !v.is_finite())
}

/// Stores one row as number `row` of its group; an error is the column and the value that does not fit.
fn encode(
    format: WeightFormat,
    values: &[f32],
    row: usize,
    packed: &mut [u8],
) -> Result<Tally, (usize, f32)> {
    match format {
        WeightFormat::F32 => {
            LittleEndian::write_f32_into(values, packed);
            Ok(Tally { squares: values.iter().map(|&v| f64::from(v).powi(2)).sum(), error_squares: 0.0 })
        }
        WeightFormat::F16 => {
            let mut tally = Tally::default();
            for (column, (&v, b)) in values.iter().zip(packed.as_chunks_mut::<2>().0).enumerate() {
                let half = f16::from_f32(v);
                if !half.is_finite() {
                    return Err((column, v));
                }
                *b = half.to_le_bytes();
                tally.squares += f64::from(v).powi(2);
                tally.error_squares += f64::from(v - half.to_f32()).powi(2);
            }
            Ok(tally)
        }
        WeightFormat::Q8 => encode_q8(values, row, packed),
        WeightFormat::Q4 => Ok(encode_q4(values, row, packed)),
    }
}

fn encode_q8(values: &[f32], row: usize, packed: &mut [u8]) -> Result<Tally, (usize, f32)> {
    let mut tally = Tally::default();
    for (t, x) in blocks(values).enumerate() {
        let Some((scale, q)) = q8::quantize(&x) else {
            let (column, value) = largest(&x);
            return Err((t * BLOCK + column, value));
        };
        write_q8(packed, t, row, scale, &q);
        tally.add_block(&x, scale.to_f32(), &q);
    }
    Ok(tally)
}

fn encode_q4(values: &[f32], row: usize, packed: &mut [u8]) -> Tally {
    let mut tally = Tally::default();
    let unit = q4::row_scale(blocks(values));
    write_q4_scale(packed, row, unit);
    for (t, x) in blocks(values).enumerate() {
        let (step, q) = q4::quantize(&x, unit);
        write_q4(packed, t, row, step, &q);
        tally.add_block(&x, unit * f32::from(step), &q);
    }
    tally
}

/// The blocks of a row, the last one filled up with zeros.
fn blocks(values: &[f32]) -> impl Iterator<Item = [f32; BLOCK]> {
    values.chunks(BLOCK).map(|x| {
        let mut block = [0.0; BLOCK];
        block[..x.len()].copy_from_slice(x);
        block
    })
}

/// The value of the largest magnitude, and where it is.
fn largest(x: &[f32; BLOCK]) -> (usize, f32) {
    let mut lanes = [0.0f32; 8];
    for part in x.as_chunks::<8>().0 {
        for lane in 0..8 {
            let magnitude = part[lane].abs();
            lanes[lane] = if magnitude > lanes[lane] { magnitude } else { lanes[lane] };
        }
    }
    let most = lanes.iter().fold(0.0, |a: f32, &b| a.max(b));
    let place = x.iter().position(|v| v.abs() == most).unwrap_or(0);
    (place, x[place])
}

/// What `scale * q` misses of `x`.
fn squared_error(x: &[f32; BLOCK], scale: f32, q: &[i8; BLOCK]) -> f32 {
    let mut d = [0.0; BLOCK];
    for ((d, &x), &q) in d.iter_mut().zip(x).zip(q) {
        *d = x - scale * f32::from(q);
    }
    dot(&d, &d)
}

/// Eight sums side by side, so that the compiler can keep them in vector registers.
fn dot(a: &[f32; BLOCK], b: &[f32; BLOCK]) -> f32 {
    let mut sums = [0.0f32; 8];
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum()
}

/// To the nearest whole number for magnitudes below 2^22, as two additions instead of a library call.
#[inline(always)]
fn round(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0; // 1.5 * 2^23: the sum has no room for a fraction
    (x + SHIFT) - SHIFT
}

#[cfg(test)]
mod tests;
