//! Weight formats and their blocks: the only place that knows which bit of the file is which weight.
//!
//! Floats are stored row by row (one row per output). Integers are stored in *groups* of 8 rows, each cut into *tiles*
//! of 32 weights a row, so that one vector load meets 8 rows with the same activations, on any instruction set, for one
//! activation row or for hundreds; nothing is rearranged when a file is loaded. Row `8 g + r` is number `r` of group
//! `g`. Rows are padded with zero weights to whole tiles, and the last group with zero rows.
//!
//! | format | a group of T tiles | weight `i` of row `r` in tile `t` |
//! | --- | --- | --- |
//! | `Q8` | T times: 8 f16 scales, 8 chunks of 32 bytes | `scale[t][r] * q`, q the signed byte `4 r + i % 4` of chunk `i / 4` |
//! | `Q4` | 8 f32 row scales; T times 8 i8 steps; zeros up to a multiple of 64 bytes; T times 4 chunks of 32 bytes | `scale[r] * step[t][r] * (q - 8)`, q a half of byte `4 r + i % 4` of chunk `i / 4 % 4`: the low one for `i < 16`, else the high one |
//!
//! Why this and not another layout: `tests/kernel-lab/README.md`.

use alloc::vec::Vec;
use byteorder::{ByteOrder, LittleEndian};
use core::ops::Range;
use half::f16;

/// Weights of one row that share a scale: the length of a tile.
pub const BLOCK: usize = 32;
/// Rows of a tile.
pub const GROUP: usize = 8;
/// Neighbouring weights of a row that stand side by side: what a 32-bit lane of a dot product instruction takes.
pub const RUN: usize = 4;
/// Bytes of a chunk: one run of every row.
pub const CHUNK: usize = GROUP * RUN;
/// Bytes of the scales that a `Q8` tile begins with.
pub const Q8_SCALES: usize = 2 * GROUP;
/// Bytes of a `Q8` tile.
pub const Q8_TILE: usize = Q8_SCALES + GROUP * BLOCK;
/// Bytes of the row scales that a `Q4` group begins with.
pub const Q4_SCALES: usize = 4 * GROUP;
/// Bytes of the steps of a `Q4` tile.
pub const Q4_STEPS: usize = GROUP;
/// Bytes of the nibbles of a `Q4` tile.
pub const Q4_NIBBLES: usize = GROUP * BLOCK / 2;

/// Where the nibbles of a `Q4` group of `tiles` tiles begin: on a cache line.
pub const fn q4_nibbles_at(tiles: usize) -> usize {
    (Q4_SCALES + tiles * Q4_STEPS).next_multiple_of(64)
}

/// Tiles in a `Q4` group of `bytes` bytes, if there is such a group.
const fn q4_tiles(bytes: usize) -> Option<usize> {
    let tiles = bytes.saturating_sub(Q4_SCALES) / (Q4_STEPS + Q4_NIBBLES);
    if tiles > 0 && q4_nibbles_at(tiles) + tiles * Q4_NIBBLES == bytes { Some(tiles) } else { None }
}

/// How the weights of one tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WeightFormat {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// 8-bit blocks of 32 (8.5 bits per weight).
    Q8,
    /// 4-bit blocks of 32 with 8-bit steps below a row's scale (4.25 bits per weight and 32 to 96 a row).
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

    /// The sizes that stand in the tensor table for a tensor of `dims` (innermost first): bytes of a tile, tiles and
    /// groups for `Q8`, bytes of a group and groups for `Q4`.
    pub fn gguf_dims(self, dims: &[usize]) -> Vec<usize> {
        let groups = || dims[1..].iter().product::<usize>().div_ceil(GROUP);
        match self {
            WeightFormat::F32 | WeightFormat::F16 => dims.to_vec(),
            WeightFormat::Q8 => alloc::vec![Q8_TILE, dims[0].div_ceil(BLOCK), groups()],
            WeightFormat::Q4 => alloc::vec![self.group_bytes(dims[0]), groups()],
        }
    }

    /// The format and the sizes in weights, padding included, of a tensor that the table lists with `kind` and
    /// `dims`; `None` if this runtime does not read it.
    pub fn from_gguf(kind: u32, dims: &[usize]) -> Option<(Self, Vec<usize>)> {
        let (format, tiles, groups) = match (kind, dims) {
            (0, _) => return Some((WeightFormat::F32, dims.to_vec())),
            (1, _) => return Some((WeightFormat::F16, dims.to_vec())),
            (GGUF_I8, &[Q8_TILE, tiles, groups]) => (WeightFormat::Q8, tiles, groups),
            (GGUF_I8, &[bytes, groups]) => (WeightFormat::Q4, q4_tiles(bytes)?, groups),
            _ => return None,
        };
        Some((format, alloc::vec![tiles.checked_mul(BLOCK)?, groups.checked_mul(GROUP)?]))
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

    /// `k` rounded up to whole tiles: the row length found in the file.
    pub const fn padded(self, k: usize) -> usize {
        if self.is_quantized() { k.next_multiple_of(BLOCK) } else { k }
    }

    /// `rows` rounded up to whole groups: the number of rows found in the file.
    pub const fn padded_rows(self, rows: usize) -> usize {
        rows.next_multiple_of(self.group_rows())
    }

    /// Bytes of one group of rows of `k` weights, padding included.
    pub const fn group_bytes(self, k: usize) -> usize {
        let tiles = k.div_ceil(BLOCK);
        match self {
            WeightFormat::F32 => 4 * k,
            WeightFormat::F16 => 2 * k,
            WeightFormat::Q8 => tiles * Q8_TILE,
            WeightFormat::Q4 => q4_nibbles_at(tiles) + tiles * Q4_NIBBLES,
        }
    }

    /// Bytes of a matrix of `rows` rows of `k` weights, padding included.
    pub const fn matrix_bytes(self, k: usize, rows: usize) -> usize {
        rows.div_ceil(self.group_rows()) * self.group_bytes(k)
    }
}

/// Writes the block of row `row` (0 to 7) in tile `t` of a `Q8` group.
pub fn write_q8(group: &mut [u8], t: usize, row: usize, scale: f16, q: &[i8; BLOCK]) {
    let (scales, chunks) = group[t * Q8_TILE..][..Q8_TILE].split_at_mut(Q8_SCALES);
    LittleEndian::write_u16(&mut scales[2 * row..], scale.to_bits());
    for (i, &v) in q.iter().enumerate() {
        chunks[i / RUN * CHUNK + row * RUN + i % RUN] = v as u8;
    }
}

/// Reads the block of row `row` (0 to 7) in tile `t` of a `Q8` group: its scale and its 32 values.
fn read_q8(group: &[u8], t: usize, row: usize) -> (f32, [i8; BLOCK]) {
    let (scales, chunks) = group[t * Q8_TILE..][..Q8_TILE].split_at(Q8_SCALES);
    let scale = f16::from_bits(LittleEndian::read_u16(&scales[2 * row..])).to_f32();
    (scale, core::array::from_fn(|i| chunks[i / RUN * CHUNK + row * RUN + i % RUN] as i8))
}

/// Writes the scale of row `row` (0 to 7) of a `Q4` group.
pub fn write_q4_scale(group: &mut [u8], row: usize, scale: f32) {
    LittleEndian::write_f32(&mut group[4 * row..], scale);
}

/// A `Q4` group taken apart.
#[derive(Debug, Clone, Copy)]
pub struct Q4Group<'a> {
    scales: &'a [u8; Q4_SCALES],
    steps: &'a [[u8; Q4_STEPS]],
    nibbles: &'a [[u8; Q4_NIBBLES]],
}

impl<'a> Q4Group<'a> {
    /// The parts of `group`.
    ///
    /// # Panics
    /// If it has a length that no group has.
    #[inline]
    pub fn new(group: &'a [u8]) -> Self {
        let tiles = q4_tiles(group.len()).expect("a whole group");
        let (head, nibbles) = group.split_at(q4_nibbles_at(tiles));
        let (scales, steps) = head.split_first_chunk().expect("begins with the scales");
        Q4Group { scales, steps: &steps.as_chunks().0[..tiles], nibbles: nibbles.as_chunks().0 }
    }

    /// The little-endian f32 scales of the 8 rows.
    pub fn scales(&self) -> &'a [u8; Q4_SCALES] {
        self.scales
    }

    /// Of each tile, the signed steps of the 8 rows, and the nibbles.
    #[inline]
    pub fn parts(&self) -> (&'a [[u8; Q4_STEPS]], &'a [[u8; Q4_NIBBLES]]) {
        (self.steps, self.nibbles)
    }

    /// Of each of `tiles`, the signed steps of the 8 rows and the nibbles.
    #[inline]
    pub fn tiles(
        &self,
        tiles: Range<usize>,
    ) -> impl Iterator<Item = (&'a [u8; Q4_STEPS], &'a [u8; Q4_NIBBLES])> + use<'a> {
        self.steps[tiles.clone()].iter().zip(&self.nibbles[tiles])
    }
}

/// The scales of the 8 rows of a `Q4` group.
pub fn q4_row_scales(group: &[u8]) -> [f32; GROUP] {
    core::array::from_fn(|row| LittleEndian::read_f32(&group[4 * row..]))
}

/// Writes the block of row `row` (0 to 7) in tile `t` of a `Q4` group; `q` holds values from -8 to 7.
///
/// # Panics
/// If `group` has a length that no group has.
pub fn write_q4(group: &mut [u8], t: usize, row: usize, step: i8, q: &[i8; BLOCK]) {
    let tiles = q4_tiles(group.len()).expect("a whole group");
    group[Q4_SCALES + t * Q4_STEPS + row] = step as u8;
    let nibbles = &mut group[q4_nibbles_at(tiles) + t * Q4_NIBBLES..][..Q4_NIBBLES];
    for (i, (&low, &high)) in q.iter().zip(&q[BLOCK / 2..]).enumerate() {
        debug_assert!((-8..8).contains(&low) && (-8..8).contains(&high));
        nibbles[i / RUN * CHUNK + row * RUN + i % RUN] = ((low + 8) as u8 & 15) | (((high + 8) as u8) << 4);
    }
}

/// Reads the block of row `row` (0 to 7) in tile `t` of a `Q4` group: its scale and its 32 values.
fn read_q4(group: &[u8], t: usize, row: usize) -> (f32, [i8; BLOCK]) {
    let tiles = q4_tiles(group.len()).expect("a whole group");
    let step = group[Q4_SCALES + t * Q4_STEPS + row] as i8;
    let nibbles = &group[q4_nibbles_at(tiles) + t * Q4_NIBBLES..][..Q4_NIBBLES];
    let value = |i: usize| {
        let byte = nibbles[i % (BLOCK / 2) / RUN * CHUNK + row * RUN + i % RUN];
        (if i < BLOCK / 2 { byte & 15 } else { byte >> 4 }) as i8 - 8
    };
    (LittleEndian::read_f32(&group[4 * row..]) * f32::from(step), core::array::from_fn(value))
}

/// Reads the block of row `row` (0 to 7) in tile `t` of a group: its scale and its 32 values.
///
/// # Panics
/// If `group` is not a group of an integer format.
pub fn read_block(format: WeightFormat, group: &[u8], t: usize, row: usize) -> (f32, [i8; BLOCK]) {
    assert!(row < GROUP);
    match format {
        WeightFormat::Q8 => read_q8(group, t, row),
        WeightFormat::Q4 => read_q4(group, t, row),
        other => panic!("{} has no blocks", other.name()),
    }
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
            for (t, xs) in out.chunks_mut(BLOCK).enumerate() {
                let (scale, q) = read_block(format, group, t, row);
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

    /// Every block of a group of 3 tiles is written twice, the rows backwards: nothing may disturb its neighbours.
    #[test]
    fn blocks_survive_a_round_trip_and_leave_the_others_alone() {
        for format in [WeightFormat::Q8, WeightFormat::Q4] {
            let mut group = alloc::vec![0; format.group_bytes(70)];
            let q = |t: usize, row: usize, round: usize| -> [i8; BLOCK] {
                core::array::from_fn(|i| {
                    let v = (i * 7 + row * 3 + t * 5 + round) % 16;
                    if format == WeightFormat::Q4 { v as i8 - 8 } else { (v * 17) as u8 as i8 }
                })
            };
            let step = |t: usize, row: usize| (row * 31 + t) as u8 as i8;
            for round in 0..2 {
                for (t, row) in (0..3).flat_map(|t| (0..GROUP).rev().map(move |row| (t, row))) {
                    if format == WeightFormat::Q4 {
                        write_q4(&mut group, t, row, step(t, row), &q(t, row, round));
                        write_q4_scale(&mut group, row, 0.37 * row as f32);
                    } else {
                        let scale = f16::from_f32(f32::from(step(t, row)) * 0.25);
                        write_q8(&mut group, t, row, scale, &q(t, row, round));
                    }
                }
            }
            for (t, row) in (0..3).flat_map(|t| (0..GROUP).map(move |row| (t, row))) {
                let unit = if format == WeightFormat::Q4 { 0.37 * row as f32 } else { 0.25 };
                let expected = (unit * f32::from(step(t, row)), q(t, row, 1));
                assert_eq!(read_block(format, &group, t, row), expected);
            }
        }
    }

    /// The layout itself, spelled out: what every kernel relies on.
    #[test]
    fn weights_stand_where_the_table_says() {
        let mut q = [0i8; BLOCK];
        q[21] = 5;
        let mut group = [0; 2 * Q8_TILE];
        write_q8(&mut group, 1, 3, f16::ONE, &q);
        assert_eq!((&group[272 + 6..272 + 8], group[272 + 16 + 5 * 32 + 3 * 4 + 1]), (&[0x00, 0x3c][..], 5));
        let mut group = [0; 64 + 2 * Q4_NIBBLES];
        write_q4(&mut group, 1, 3, -2, &q);
        write_q4_scale(&mut group, 3, 1.0);
        assert_eq!((&group[12..16], group[32 + 8 + 3]), (&[0, 0, 0x80, 0x3f][..], 0xfe));
        assert_eq!(group[64 + 128 + 32 + 3 * 4 + 1], 0xd8); // weight 5 is 0, stored as 8; weight 21 is 5, stored as 13
    }

    #[test]
    fn matrices_are_padded_to_whole_tiles_and_listed_as_bytes() {
        assert_eq!((WeightFormat::Q4.padded(4304), WeightFormat::Q4.padded_rows(4301)), (4320, 4304));
        assert_eq!((WeightFormat::F16.padded(588), WeightFormat::F16.padded_rows(3)), (588, 3));
        assert_eq!(WeightFormat::Q8.matrix_bytes(588, 9), 19 * 2 * 272);
        assert_eq!(WeightFormat::Q4.matrix_bytes(588, 9), 2 * (192 + 19 * 128));
        assert_eq!(WeightFormat::Q8.gguf_dims(&[588, 9]), [272, 19, 2]);
        assert_eq!(WeightFormat::Q4.gguf_dims(&[588, 9]), [192 + 19 * 128, 2]);
        for k in 1..2000 {
            for f in WeightFormat::ALL {
                let (found, dims) = WeightFormat::from_gguf(f.gguf_type(), &f.gguf_dims(&[k, 9])).unwrap();
                assert_eq!((found, dims), (f, alloc::vec![f.padded(k), f.padded_rows(9)]));
            }
        }
        for (kind, dims) in
            [(24, &[273, 1, 1][..]), (24, &[272, 1]), (24, &[0, 1]), (24, &[192]), (2, &[32, 1])]
        {
            assert_eq!(WeightFormat::from_gguf(kind, dims), None, "{dims:?}");
        }
    }
}
