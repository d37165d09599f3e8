//! Weight formats and their blocks: the only place that knows which bit of the file is which weight.
//!
//! A matrix is stored row by row (one row per output). A row is a sequence of blocks of 32 weights; a row whose
//! length is not a multiple of 32 is padded with zeros, which add nothing to a dot product whatever the
//! activations hold there.
//!
//! | format | bytes of a block of 32 | value |
//! | --- | --- | --- |
//! | `Q8` | f16 scale, 32 x i8 | scale * q |
//! | `Q4` | f16 scale, 16 bytes; byte j holds weight j in its low and weight j + 16 in its high nibble | scale * (nibble - 8) |
//!
//! These are GGUF's types `Q8_0` and `Q4_0`, so any GGUF reader can list and expand them.

use byteorder::{ByteOrder, LittleEndian};
use half::f16;

/// Weights in one block of `Q8` and `Q4`.
pub const BLOCK: usize = 32;
/// Bytes of one `Q8` block.
pub const Q8_BYTES: usize = 2 + BLOCK;
/// Bytes of one `Q4` block.
pub const Q4_BYTES: usize = 2 + BLOCK / 2;
/// Where the quantized values begin inside a block of either kind.
pub const QUANTS: usize = 2;

/// How the weights of one tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WeightFormat {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// 8-bit blocks of 32 (8.5 bits per weight).
    Q8,
    /// 4-bit blocks of 32 (4.5 bits per weight).
    Q4,
}

impl WeightFormat {
    /// Every format, in the order of their size.
    pub const ALL: [WeightFormat; 4] =
        [WeightFormat::F32, WeightFormat::F16, WeightFormat::Q8, WeightFormat::Q4];

    /// GGUF's number of the type.
    pub const fn gguf_type(self) -> u32 {
        match self {
            WeightFormat::F32 => 0,
            WeightFormat::F16 => 1,
            WeightFormat::Q4 => 2,
            WeightFormat::Q8 => 8,
        }
    }

    /// The format with GGUF's number `n`, if this runtime reads it.
    pub fn from_gguf_type(n: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.gguf_type() == n)
    }

    /// The name used on command lines and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            WeightFormat::F32 => "f32",
            WeightFormat::F16 => "f16",
            WeightFormat::Q8 => "q8",
            WeightFormat::Q4 => "q4",
        }
    }

    /// Whether products with this format run on integers.
    pub const fn is_quantized(self) -> bool {
        matches!(self, WeightFormat::Q8 | WeightFormat::Q4)
    }

    /// Weights that one unit of storage holds.
    pub const fn block_len(self) -> usize {
        if self.is_quantized() { BLOCK } else { 1 }
    }

    /// Bytes of one unit of storage.
    pub const fn block_bytes(self) -> usize {
        match self {
            WeightFormat::F32 => 4,
            WeightFormat::F16 => 2,
            WeightFormat::Q8 => Q8_BYTES,
            WeightFormat::Q4 => Q4_BYTES,
        }
    }

    /// `k` rounded up to whole blocks: the row length found in the file.
    pub const fn padded(self, k: usize) -> usize {
        k.div_ceil(self.block_len()) * self.block_len()
    }

    /// Bytes of one row of `k` weights, padding included.
    pub const fn row_bytes(self, k: usize) -> usize {
        k.div_ceil(self.block_len()) * self.block_bytes()
    }
}

/// Writes one `Q8` block.
pub fn write_q8(scale: f16, q: &[i8; BLOCK], out: &mut [u8; Q8_BYTES]) {
    LittleEndian::write_u16(&mut out[..QUANTS], scale.to_bits());
    for (byte, &v) in out[QUANTS..].iter_mut().zip(q) {
        *byte = v as u8;
    }
}

/// Reads one `Q8` block: its scale and its 32 values.
pub fn read_q8(block: &[u8; Q8_BYTES]) -> (f32, [i8; BLOCK]) {
    let mut q = [0; BLOCK];
    for (v, &byte) in q.iter_mut().zip(&block[QUANTS..]) {
        *v = byte as i8;
    }
    (read_scale(block), q)
}

/// Writes one `Q4` block; `q` holds values from -8 to 7.
pub fn write_q4(scale: f16, q: &[i8; BLOCK], out: &mut [u8; Q4_BYTES]) {
    LittleEndian::write_u16(&mut out[..QUANTS], scale.to_bits());
    let (low, high) = q.split_at(BLOCK / 2);
    for ((byte, &l), &h) in out[QUANTS..].iter_mut().zip(low).zip(high) {
        debug_assert!((-8..8).contains(&l) && (-8..8).contains(&h));
        *byte = ((l + 8) as u8 & 15) | (((h + 8) as u8 & 15) << 4);
    }
}

/// Reads one `Q4` block: its scale and its 32 values from -8 to 7.
pub fn read_q4(block: &[u8; Q4_BYTES]) -> (f32, [i8; BLOCK]) {
    let mut q = [0; BLOCK];
    for (j, &byte) in block[QUANTS..].iter().enumerate() {
        q[j] = (byte & 15) as i8 - 8;
        q[j + BLOCK / 2] = (byte >> 4) as i8 - 8;
    }
    (read_scale(block), q)
}

fn read_scale(block: &[u8]) -> f32 {
    f16::from_bits(LittleEndian::read_u16(block)).to_f32()
}

/// Expands one row; `out.len()` is the row's length without padding.
///
/// # Panics
/// If `row` does not hold `format.row_bytes(out.len())` bytes.
pub fn dequantize_row(format: WeightFormat, row: &[u8], out: &mut [f32]) {
    assert_eq!(row.len(), format.row_bytes(out.len()), "row length");
    match format {
        WeightFormat::F32 => LittleEndian::read_f32_into(row, out),
        WeightFormat::F16 => {
            for (x, b) in out.iter_mut().zip(row.as_chunks::<2>().0) {
                *x = f16::from_le_bytes(*b).to_f32();
            }
        }
        WeightFormat::Q8 => expand(row, out, read_q8),
        WeightFormat::Q4 => expand(row, out, read_q4),
    }
}

fn expand<const N: usize>(row: &[u8], out: &mut [f32], read: fn(&[u8; N]) -> (f32, [i8; BLOCK])) {
    for (xs, block) in out.chunks_mut(BLOCK).zip(row.as_chunks::<N>().0) {
        let (scale, q) = read(block);
        for (x, v) in xs.iter_mut().zip(q) {
            *x = scale * v as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_survive_a_round_trip() {
        let mut q = [0i8; BLOCK];
        for (i, v) in q.iter_mut().enumerate() {
            *v = (i * 7 % 8) as i8 - if i % 3 == 0 { 8 } else { 0 };
        }
        let mut b4 = [0; Q4_BYTES];
        write_q4(f16::from_f32(0.37), &q, &mut b4);
        assert_eq!(read_q4(&b4), (f16::from_f32(0.37).to_f32(), q));
        let q = q.map(|v| v.wrapping_mul(15));
        let mut b8 = [0; Q8_BYTES];
        write_q8(f16::from_f32(-2.5), &q, &mut b8);
        assert_eq!(read_q8(&b8), (-2.5, q));
    }

    #[test]
    fn rows_are_padded_to_whole_blocks() {
        assert_eq!(WeightFormat::Q4.padded(4304), 4320);
        assert_eq!(WeightFormat::Q8.row_bytes(588), 608 / 32 * 34);
        assert_eq!(WeightFormat::F16.padded(588), 588);
        for f in WeightFormat::ALL {
            assert_eq!(WeightFormat::from_gguf_type(f.gguf_type()), Some(f));
        }
    }
}
