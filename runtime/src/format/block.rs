//! Weight formats and their blocks: the only place that knows which bit of the file is which weight.
//!
//! Floats are stored row by row (one row per output). Integers are stored in *tiles* of 8 rows by 32 weights, so
//! that one vector load meets 8 rows with the same activations, on any instruction set, for one activation row or for
//! hundreds; nothing is rearranged when a file is loaded. Row `8 g + r` is number `r` of group `g`; a group is a
//! sequence of tiles along the row. A block of 32 weights of one row shares a scale. Rows are padded with zero
//! weights to whole tiles, and the last group with zero rows.
//!
//! | format | bytes of a tile | weight `i` of row `r` |
//! | --- | --- | --- |
//! | `Q8` | 8 f16 scales, 8 chunks of 32 | `scale[r] * q`, q the signed byte `4 r + i % 4` of chunk `i / 4` |
//! | `Q4` | 8 f16 scales, 4 chunks of 32 | `scale[r] * (q - 8)`, q a half of byte `4 r + i % 4` of chunk `i / 4 % 4`: the low one for `i < 16`, else the high one |
//!
//! Why this and not another layout: `tests/kernel-lab/README.md`.

use alloc::vec::Vec;
use byteorder::{ByteOrder, LittleEndian};
use half::f16;

/// Weights of one row that share a scale: the length of a tile.
pub const BLOCK: usize = 32;
/// Rows of a tile.
pub const GROUP: usize = 8;
/// Bytes of a tile's scales, which come first.
pub const SCALES: usize = 2 * GROUP;
/// Neighbouring weights of a row that stand side by side: what a 32-bit lane of a dot product instruction takes.
pub const RUN: usize = 4;
/// Bytes of a chunk: one run of every row.
pub const CHUNK: usize = GROUP * RUN;
/// Bytes of a `Q8` tile.
pub const Q8_TILE: usize = SCALES + GROUP * BLOCK;
/// Bytes of a `Q4` tile.
pub const Q4_TILE: usize = SCALES + GROUP * BLOCK / 2;

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

/// GGUF's number of the type of signed bytes.
const GGUF_I8: u32 = 24;

impl WeightFormat {
    /// Every format, in the order of their size.
    pub const ALL: [WeightFormat; 4] =
        [WeightFormat::F32, WeightFormat::F16, WeightFormat::Q8, WeightFormat::Q4];

    /// GGUF's number of the element type. Tiles are arrays of bytes to GGUF, which knows nothing like them.
    pub const fn gguf_type(self) -> u32 {
        match self {
            WeightFormat::F32 => 0,
            WeightFormat::F16 => 1,
            WeightFormat::Q8 | WeightFormat::Q4 => GGUF_I8,
        }
    }

    /// The sizes that stand in the tensor table for a tensor of `dims` (innermost first): for tiles, the bytes of
    /// one, tiles in a group, groups.
    pub fn gguf_dims(self, dims: &[usize]) -> Vec<usize> {
        if !self.is_quantized() {
            return dims.to_vec();
        }
        let rows: usize = dims[1..].iter().product();
        alloc::vec![self.tile_bytes(), dims[0].div_ceil(BLOCK), rows.div_ceil(GROUP)]
    }

    /// The format and the sizes in weights, padding included, of a tensor that the table lists with `kind` and
    /// `dims`; `None` if this runtime does not read it.
    pub fn from_gguf(kind: u32, dims: &[usize]) -> Option<(Self, Vec<usize>)> {
        match kind {
            0 => Some((WeightFormat::F32, dims.to_vec())),
            1 => Some((WeightFormat::F16, dims.to_vec())),
            GGUF_I8 => {
                let &[bytes, tiles, groups] = dims else { return None };
                let format =
                    [WeightFormat::Q8, WeightFormat::Q4].into_iter().find(|f| f.tile_bytes() == bytes)?;
                Some((format, alloc::vec![tiles.checked_mul(BLOCK)?, groups.checked_mul(GROUP)?]))
            }
            _ => None,
        }
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

    /// Rows that are stored together.
    pub const fn group_rows(self) -> usize {
        if self.is_quantized() { GROUP } else { 1 }
    }

    /// Weights of a row that one unit of storage holds.
    const fn tile_len(self) -> usize {
        if self.is_quantized() { BLOCK } else { 1 }
    }

    /// Bytes of one unit of storage: a tile or a number.
    pub const fn tile_bytes(self) -> usize {
        match self {
            WeightFormat::F32 => 4,
            WeightFormat::F16 => 2,
            WeightFormat::Q8 => Q8_TILE,
            WeightFormat::Q4 => Q4_TILE,
        }
    }

    /// `k` rounded up to whole tiles: the row length found in the file.
    pub const fn padded(self, k: usize) -> usize {
        k.next_multiple_of(self.tile_len())
    }

    /// `rows` rounded up to whole groups: the number of rows found in the file.
    pub const fn padded_rows(self, rows: usize) -> usize {
        rows.next_multiple_of(self.group_rows())
    }

    /// Bytes of one group of rows of `k` weights, padding included.
    pub const fn group_bytes(self, k: usize) -> usize {
        k.div_ceil(self.tile_len()) * self.tile_bytes()
    }

    /// Bytes of a matrix of `rows` rows of `k` weights, padding included.
    pub const fn matrix_bytes(self, k: usize, rows: usize) -> usize {
        rows.div_ceil(self.group_rows()) * self.group_bytes(k)
    }
}

/// Where a weight's byte is in its tile, and how far its bits are to the left there.
const fn place(format: WeightFormat, row: usize, i: usize) -> (usize, u32) {
    let (chunk, shift) = match format {
        WeightFormat::Q4 => (i / RUN % (BLOCK / RUN / 2), if i < BLOCK / 2 { 0 } else { 4 }),
        _ => (i / RUN, 0),
    };
    (SCALES + chunk * CHUNK + row * RUN + i % RUN, shift)
}

/// Writes the block of `row` (0 to 7) in one tile; for `Q4`, `q` holds values from -8 to 7. The tile was zero there or
/// holds the same row's older values.
///
/// # Panics
/// If `tile` is not one of `format`, which is an integer format.
pub fn write_block(format: WeightFormat, tile: &mut [u8], row: usize, scale: f16, q: &[i8; BLOCK]) {
    assert!(format.is_quantized() && tile.len() == format.tile_bytes() && row < GROUP, "a row of a tile");
    LittleEndian::write_u16(&mut tile[2 * row..], scale.to_bits());
    for (i, &v) in q.iter().enumerate() {
        let (at, shift) = place(format, row, i);
        if format == WeightFormat::Q4 {
            debug_assert!((-8..8).contains(&v));
            tile[at] = tile[at] & !(15 << shift) | ((v + 8) as u8 & 15) << shift;
        } else {
            tile[at] = v as u8;
        }
    }
}

/// Reads the block of `row` (0 to 7) in one tile: its scale and its 32 values.
///
/// # Panics
/// If `tile` is not one of `format`, which is an integer format.
pub fn read_block(format: WeightFormat, tile: &[u8], row: usize) -> (f32, [i8; BLOCK]) {
    assert!(format.is_quantized() && tile.len() == format.tile_bytes() && row < GROUP, "a row of a tile");
    let scale = f16::from_bits(LittleEndian::read_u16(&tile[2 * row..])).to_f32();
    let value = |i| {
        let (at, shift) = place(format, row, i);
        match format {
            WeightFormat::Q4 => (tile[at] >> shift & 15) as i8 - 8,
            _ => tile[at] as i8,
        }
    };
    (scale, core::array::from_fn(value))
}

/// Expands row `row` of one group; `out.len()` is the row's length without padding.
///
/// # Panics
/// If `group` does not hold `format.group_bytes(out.len())` bytes.
pub fn dequantize_row(format: WeightFormat, group: &[u8], row: usize, out: &mut [f32]) {
    assert_eq!(group.len(), format.group_bytes(out.len()), "group length");
    match format {
        WeightFormat::F32 => LittleEndian::read_f32_into(group, out),
        WeightFormat::F16 => {
            for (x, b) in out.iter_mut().zip(group.as_chunks::<2>().0) {
                *x = f16::from_le_bytes(*b).to_f32();
            }
        }
        WeightFormat::Q8 | WeightFormat::Q4 => {
            for (xs, tile) in out.chunks_mut(BLOCK).zip(group.chunks_exact(format.tile_bytes())) {
                let (scale, q) = read_block(format, tile, row);
                for (x, v) in xs.iter_mut().zip(q) {
                    *x = scale * v as f32;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_survive_a_round_trip_and_leave_the_other_rows_alone() {
        for format in [WeightFormat::Q8, WeightFormat::Q4] {
            let mut tile = alloc::vec![0; format.tile_bytes()];
            let value = |row: usize, i: usize| {
                let v = (i * 7 + row * 3) % 16;
                if format == WeightFormat::Q4 { v as i8 - 8 } else { (v * 17) as u8 as i8 }
            };
            let scale = |row: usize| f16::from_f32(0.37 * row as f32 - 1.0);
            for round in 0..2 {
                for row in (0..GROUP).rev() {
                    let q = core::array::from_fn(|i| value(row, i + round));
                    write_block(format, &mut tile, row, scale(row), &q);
                }
            }
            for row in 0..GROUP {
                let expected = (scale(row).to_f32(), core::array::from_fn(|i| value(row, i + 1)));
                assert_eq!(read_block(format, &tile, row), expected);
            }
        }
    }

    /// The layout itself, spelled out: what every kernel relies on.
    #[test]
    fn weights_stand_where_the_table_says() {
        let mut q = [0i8; BLOCK];
        q[21] = 5;
        let mut tile = [0; Q8_TILE];
        write_block(WeightFormat::Q8, &mut tile, 3, f16::ONE, &q);
        assert_eq!((tile[6..8].to_vec(), tile[16 + 5 * 32 + 3 * 4 + 1]), (alloc::vec![0x00, 0x3c], 5));
        let mut tile = [0; Q4_TILE];
        write_block(WeightFormat::Q4, &mut tile, 3, f16::ONE, &q);
        assert_eq!(tile[16 + 32 + 3 * 4 + 1], 0xd8); // weight 5 is 0, stored as 8; weight 21 is 5, stored as 13
    }

    #[test]
    fn matrices_are_padded_to_whole_tiles_and_listed_as_bytes() {
        assert_eq!((WeightFormat::Q4.padded(4304), WeightFormat::Q4.padded_rows(4301)), (4320, 4304));
        assert_eq!((WeightFormat::F16.padded(588), WeightFormat::F16.padded_rows(3)), (588, 3));
        assert_eq!(WeightFormat::Q8.matrix_bytes(588, 9), 19 * 2 * 272);
        assert_eq!(WeightFormat::Q4.gguf_dims(&[588, 9]), [144, 19, 2]);
        for f in WeightFormat::ALL {
            let (found, dims) = WeightFormat::from_gguf(f.gguf_type(), &f.gguf_dims(&[588, 9])).unwrap();
            assert_eq!((found, dims), (f, alloc::vec![f.padded(588), f.padded_rows(9)]));
        }
        assert_eq!(WeightFormat::from_gguf(24, &[145, 1, 1]), None);
        assert_eq!(WeightFormat::from_gguf(24, &[272, 1]), None);
        assert_eq!(WeightFormat::from_gguf(2, &[32, 1]), None);
    }
}
