//! Random bytes that are weights: finite, around zero, of a chosen size, as fast as a disk takes them.
//!
//! Quantizing random floats would be as slow as packing a checkpoint. So random bytes are written everywhere and then
//! made weights in place: the scales are overwritten, or in floats the exponents.

use half::f16;
use pg_runtime::format::WeightFormat;
use pg_runtime::format::block::{BLOCK, Q4_BYTES, Q8_BYTES, QUANTS, read_q4, read_q8, write_q4, write_q8};

/// Root mean square of a whole number that is equally likely -128 to 127.
const Q8_RMS: f32 = 73.9;
/// The same for -8 to 7.
const Q4_RMS: f32 = 4.637;
/// The same for a number of either sign that is equally likely anywhere from 1 to 2: `sqrt(7 / 3)`.
const MANTISSA_RMS: f32 = 1.5275;
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

/// Fills whole rows of `k` weights each with random ones whose root mean square is about `rms` (in floats the next
/// power of two, so up to 1.4 times more or less). This is all that knows how a format is filled.
pub(super) fn rows(format: WeightFormat, k: usize, rms: f32, rows: &mut [u8], random: &mut Random) {
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
        WeightFormat::Q8 => blocks::<Q8_BYTES>(k, rms / Q8_RMS, rows, read_q8, write_q8),
        WeightFormat::Q4 => blocks::<Q4_BYTES>(k, rms / Q4_RMS, rows, read_q4, write_q4),
    }
}

/// Makes blocks of random bytes valid: writes the scales, and zeros where a row is padded.
fn blocks<const N: usize>(
    k: usize,
    scale: f32,
    rows: &mut [u8],
    read: fn(&[u8; N]) -> (f32, [i8; BLOCK]),
    write: fn(f16, &[i8; BLOCK], &mut [u8; N]),
) {
    let scale = f16::from_f32(scale).to_bits();
    for row in rows.chunks_exact_mut(k.div_ceil(BLOCK) * N) {
        let blocks = row.as_chunks_mut::<N>().0;
        for block in &mut *blocks {
            // The sign stays at random. The whole numbers are -0.5 on average; with one sign for all, that would
            // add up in every product of a long row and drown everything else within a few layers.
            let sign = u16::from_le_bytes([block[0], block[1]]) & F16_SIGN;
            block[..QUANTS].copy_from_slice(&(scale | sign).to_le_bytes());
        }
        if let (used @ 1.., Some(last)) = (k % BLOCK, blocks.last_mut()) {
            let (scale, mut q) = read(last);
            q[used..].fill(0);
            write(f16::from_f32(scale), &q, last);
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
                let mut bytes = vec![0; 8 * format.row_bytes(k)];
                rows(format, k, rms, &mut bytes, &mut Random::new(7));
                let mut values = vec![0.0; k];
                let (mut sum, mut squares) = (0.0, 0.0);
                for row in bytes.chunks_exact(format.row_bytes(k)) {
                    dequantize_row(format, row, &mut values);
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
            let mut bytes = vec![0; 3 * format.row_bytes(k)];
            rows(format, k, 0.1, &mut bytes, &mut Random::new(1));
            let mut values = vec![1.0; padded];
            for row in bytes.chunks_exact(format.row_bytes(k)) {
                dequantize_row(format, row, &mut values);
                assert!(values[k..].iter().all(|&v| v == 0.0) && values[k - 3..k] != [0.0; 3], "{format:?}");
            }
        }
    }
}
