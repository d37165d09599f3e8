//! Random bytes that are weights: finite, around zero, of a chosen size, as fast as a disk takes them.
//!
//! Quantizing random floats would be as slow as packing a checkpoint. So random bytes are written everywhere and then
//! made weights in place: the scales are overwritten, or in floats the exponents.

use half::f16;
use pg_runtime::format::WeightFormat;
use pg_runtime::format::block::{
    BLOCK, GROUP, Q4_SCALES, Q4_STEPS, Q8_SCALES, Q8_TILE, q4_nibbles_at, read_block, write_q4,
    write_q4_scale, write_q8,
};

/// Root mean square of a whole number that is equally likely -128 to 127.
const Q8_RMS: f32 = 73.9;
/// The same for -8 to 7.
const Q4_RMS: f32 = 4.637;
/// The same for a number of either sign that is equally likely anywhere from 1 to 2: `sqrt(7 / 3)`.
const MANTISSA_RMS: f32 = 1.5275;
/// Every block's steps below its row's scale.
const STEPS: i8 = 100;
/// The bit of an f16 that says minus.
const F16_SIGN: u16 = 1 << 15;

/// A sequence of numbers that its seed decides: splitmix64. Good enough for weights that mean nothing.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for word in words {
            *word = self.next().to_le_bytes();
        }
        rest.copy_from_slice(&self.next().to_le_bytes()[..rest.len()]);
    }
}

/// Fills `n` rows of `k` weights, which begin a group, with random ones whose root mean square is about `rms` (in floats
/// the next power of two, so up to 1.4 times more or less). This is all that knows how a format is filled.
pub(super) fn rows(format: WeightFormat, k: usize, n: usize, rms: f32, rows: &mut [u8], random: &mut Random) {
    assert_eq!(rows.len(), format.matrix_bytes(k, n), "whole rows");
    random.fill(rows);
    // With sign and fraction at random and one exponent for all, no weight is far from the others or not finite.
    let exponent = (rms / MANTISSA_RMS).log2().round().exp2();
    match format {
        WeightFormat::F32 => {
            for b in rows.as_chunks_mut::<4>().0 {
                *b = (u32::from_le_bytes(*b) & 0x807f_ffff | exponent.to_bits()).to_le_bytes();
            }
        }
        WeightFormat::F16 => {
            let exponent = f16::from_f32(exponent).to_bits();
            for b in rows.as_chunks_mut::<2>().0 {
                *b = (u16::from_le_bytes(*b) & 0x83ff | exponent).to_le_bytes();
            }
        }
        WeightFormat::Q8 | WeightFormat::Q4 => {
            for (g, group) in rows.chunks_exact_mut(format.group_bytes(k)).enumerate() {
                match format {
                    WeightFormat::Q8 => q8_scales(rms / Q8_RMS, group),
                    _ => q4_scales(rms / Q4_RMS, k.div_ceil(BLOCK), group),
                }
                clear_padding(format, k, n - g * GROUP, group);
            }
        }
    }
}

// The signs of the scales stay at random. The whole numbers are -0.5 on average; with one sign for all, that would add
// up in every product of a long row and drown everything else within a few layers.

fn q8_scales(scale: f32, group: &mut [u8]) {
    let scale = f16::from_f32(scale).to_bits();
    for tile in group.as_chunks_mut::<Q8_TILE>().0 {
        for b in tile[..Q8_SCALES].as_chunks_mut::<2>().0 {
            *b = (u16::from_le_bytes(*b) & F16_SIGN | scale).to_le_bytes();
        }
    }
}

fn q4_scales(scale: f32, tiles: usize, group: &mut [u8]) {
    for row in 0..GROUP {
        write_q4_scale(group, row, scale / f32::from(STEPS));
    }
    let (steps, gap) = group[Q4_SCALES..q4_nibbles_at(tiles)].split_at_mut(tiles * Q4_STEPS);
    for b in steps {
        *b = (if *b & 1 == 0 { STEPS } else { -STEPS }) as u8;
    }
    gap.fill(0);
}

/// Zeros behind the last weight of each row, and in the rows behind the last.
fn clear_padding(format: WeightFormat, k: usize, rows: usize, group: &mut [u8]) {
    let tiles = k.div_ceil(BLOCK);
    for row in rows.min(GROUP)..GROUP {
        if format == WeightFormat::Q4 {
            write_q4_scale(group, row, 0.0);
        }
        for t in 0..tiles {
            match format {
                WeightFormat::Q4 => write_q4(group, t, row, 0, &[0; BLOCK]),
                _ => write_q8(group, t, row, f16::ZERO, &[0; BLOCK]),
            }
        }
    }
    if let used @ 1.. = k % BLOCK {
        for row in 0..rows.min(GROUP) {
            let (scale, mut q) = read_block(format, group, tiles - 1, row);
            q[used..].fill(0);
            match format {
                WeightFormat::Q4 => {
                    let step = if scale < 0.0 { -STEPS } else { STEPS };
                    write_q4(group, tiles - 1, row, step, &q);
                }
                _ => write_q8(group, tiles - 1, row, f16::from_f32(scale), &q),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pg_runtime::format::block::dequantize_row;

    #[test]
    fn weights_are_around_zero_and_of_the_size_asked_for() {
        for format in WeightFormat::ALL {
            for (k, rms) in [(588, 0.04), (2048, 1.0 / 2048f32.sqrt()), (16384, 1.0 / 128.0)] {
                let mut bytes = vec![0; format.matrix_bytes(k, 8)];
                rows(format, k, 8, rms, &mut bytes, &mut Random::new(7));
                let mut values = vec![0.0; k];
                let (mut sum, mut squares) = (0.0, 0.0);
                for row in 0..8 {
                    expand(format, &bytes, row, &mut values);
                    sum += values.iter().sum::<f32>();
                    squares += values.iter().map(|v| v * v).sum::<f32>();
                }
                let n = 8.0 * k as f32;
                let found = (squares / n).sqrt();
                let limit = if format.is_quantized() { 1.05 } else { 1.45 };
                assert!((1.0 / limit..limit).contains(&(found / rms)), "{format:?} {k}: {found} for {rms}");
                assert!((sum / n).abs() < 6.0 * found / n.sqrt(), "{format:?} {k}: mean {}", sum / n);
            }
        }
    }

    #[test]
    fn padding_is_zero() {
        let (k, padded) = (588, WeightFormat::Q4.padded(588));
        for format in [WeightFormat::Q8, WeightFormat::Q4] {
            let mut bytes = vec![0; format.matrix_bytes(k, 11)];
            rows(format, k, 11, 0.1, &mut bytes, &mut Random::new(1));
            let mut values = vec![1.0; padded];
            for row in 0..16 {
                expand(format, &bytes, row, &mut values);
                assert!(values[k..].iter().all(|&v| v == 0.0), "{format:?}");
                assert_eq!(values[k - 5..k] == [0.0; 5], row >= 11, "{format:?} row {row}");
            }
        }
    }

    fn expand(format: WeightFormat, rows: &[u8], row: usize, out: &mut [f32]) {
        let (bytes, n) = (format.group_bytes(out.len()), format.group_rows());
        dequantize_row(format, &rows[row / n * bytes..][..bytes], row % n, out);
    }
}
