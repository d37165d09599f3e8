//! What kernels read and write: slices whose lengths are checked when they are made.

use super::panel;
use crate::format::WeightFormat;
use crate::format::block::{self, BLOCK};
use core::marker::PhantomData;
use core::ops::Range;
use half::f16;

/// Rows of a weight matrix, as the file holds them.
#[derive(Debug, Clone, Copy)]
pub struct WeightRows<'a> {
    format: WeightFormat,
    bytes: &'a [u8],
    k: usize,
    rows: usize,
}

impl<'a> WeightRows<'a> {
    /// `rows` rows of `k` weights.
    ///
    /// # Panics
    /// If `bytes` has another length than that.
    pub fn new(format: WeightFormat, bytes: &'a [u8], k: usize, rows: usize) -> Self {
        assert_eq!(bytes.len(), format.matrix_bytes(k, rows), "weight bytes");
        WeightRows { format, bytes, k, rows }
    }

    /// Weights in a row, without padding.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How the weights are stored.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// The bytes of group `g` of rows: 8 rows of tiles, or one of floats.
    #[inline]
    pub fn group(&self, g: usize) -> &'a [u8] {
        let n = self.format.group_bytes(self.k);
        &self.bytes[g * n..(g + 1) * n]
    }

    /// Number of groups of rows.
    pub fn groups(&self) -> usize {
        self.rows.div_ceil(self.format.group_rows())
    }

    /// Row `r` as floats; `out` is `[k]`.
    pub fn expand(&self, r: usize, out: &mut [f32]) {
        let n = self.format.group_rows();
        block::dequantize_row(self.format, self.group(r / n), r % n, out);
    }

    /// Some of the rows: whole groups, unless they are the last ones.
    ///
    /// # Panics
    /// If they begin or end inside a group.
    pub fn slice(&self, rows: Range<usize>) -> WeightRows<'a> {
        let unit = self.format.group_rows();
        let whole = rows.end == self.rows || rows.end.is_multiple_of(unit);
        assert!(rows.start.is_multiple_of(unit) && whole, "rows {rows:?} are not whole groups of {unit}");
        let n = self.format.group_bytes(self.k);
        let groups = rows.start / unit..rows.end.div_ceil(unit);
        WeightRows { bytes: &self.bytes[groups.start * n..groups.end * n], rows: rows.len(), ..*self }
    }
}

/// How rows of quantized activations lie in memory: one after the other, or several *interleaved*, 8 values of each in
/// turn, for tables whose products read them side by side. Scales and offsets are interleaved likewise, one of each in
/// turn. The last rows have their places filled up with others that nobody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowLayout {
    n: usize,
    k_padded: usize,
    span: usize,
    interleaved: usize,
}

impl RowLayout {
    /// Values of a row that stay together.
    const RUN: usize = 8;

    /// `n` rows of `k` values, padded to whole blocks, `span` of which share a scale; `interleaved` rows at a time.
    pub(super) fn new(n: usize, k: usize, span: usize, interleaved: usize) -> Self {
        RowLayout { n, k_padded: k.next_multiple_of(BLOCK), span, interleaved }
    }

    /// Number of rows.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Neighbouring blocks that share a scale.
    pub fn span(&self) -> usize {
        self.span
    }

    /// Rows that are interleaved: rows come in bundles of as many.
    pub fn interleaved(&self) -> usize {
        self.interleaved
    }

    /// Number of bundles.
    pub fn bundles(&self) -> usize {
        self.n.div_ceil(self.interleaved)
    }

    /// Scales, or offsets, of a bundle.
    pub fn bundle_blocks(&self) -> usize {
        self.interleaved * self.k_padded / BLOCK
    }

    /// Scales, or offsets, of all rows.
    pub fn blocks(&self) -> usize {
        self.bundles() * self.bundle_blocks()
    }

    /// Values of all rows.
    pub fn values(&self) -> usize {
        self.blocks() * BLOCK
    }

    /// Most values that `n` rows of `k` take in any table's layout.
    pub const fn most_values(n: usize, k: usize) -> usize {
        let rows = if n > 1 { n.next_multiple_of(super::MOST_INTERLEAVED) } else { n };
        rows * k.next_multiple_of(BLOCK)
    }
}

/// Where one row of activations goes when it is quantized: into its place in a bundle, or in some blocks of one.
#[derive(Debug)]
pub struct QuantizedRowMut<'a> {
    pub(super) q: &'a mut [i8],
    pub(super) scale: &'a mut [f32],
    pub(super) offset: &'a mut [i32],
    place: usize,
    interleaved: usize,
}

impl<'a> QuantizedRowMut<'a> {
    /// Row `t` of rows that lie as `layout` says; the slices hold some blocks of its bundle.
    ///
    /// # Panics
    /// If their lengths do not belong together.
    pub fn new(
        layout: &RowLayout,
        t: usize,
        q: &'a mut [i8],
        scale: &'a mut [f32],
        offset: &'a mut [i32],
    ) -> Self {
        let interleaved = layout.interleaved;
        assert!(q.len() == scale.len() * BLOCK && offset.len() == scale.len(), "blocks");
        assert!(scale.len().is_multiple_of(interleaved), "bundle");
        QuantizedRowMut { q, scale, offset, place: t % interleaved, interleaved }
    }

    /// Blocks of the row.
    pub(super) fn blocks(&self) -> usize {
        self.scale.len() / self.interleaved
    }

    /// Rows in the bundle.
    pub(super) fn interleaved(&self) -> usize {
        self.interleaved
    }

    /// Where run `i` of 8 values begins in `q`.
    #[inline(always)]
    pub(super) fn run_at(&self, i: usize) -> usize {
        (i * self.interleaved + self.place) * RowLayout::RUN
    }

    /// Where the scale and the offset of block `b` are.
    #[inline(always)]
    pub(super) fn block_at(&self, b: usize) -> usize {
        b * self.interleaved + self.place
    }

    /// Writes block `b`.
    pub(super) fn put(&mut self, b: usize, q: &[i8; BLOCK], scale: f32, offset: i32) {
        for (i, run) in q.as_chunks::<{ RowLayout::RUN }>().0.iter().enumerate() {
            let at = self.run_at(b * (BLOCK / RowLayout::RUN) + i);
            self.q[at..at + RowLayout::RUN].copy_from_slice(run);
        }
        let at = self.block_at(b);
        (self.scale[at], self.offset[at]) = (scale, offset);
    }

    /// The row from block `b` on.
    #[cfg_attr(
        not(any(target_arch = "aarch64", all(feature = "std", target_arch = "x86_64"))),
        allow(dead_code)
    )]
    pub(super) fn skip_blocks(self, b: usize) -> Self {
        let first = b * self.interleaved;
        let (scale, offset) = (&mut self.scale[first..], &mut self.offset[first..]);
        QuantizedRowMut { q: &mut self.q[first * BLOCK..], scale, offset, ..self }
    }
}

/// Activations in blocks of 32: see [`super::Kernels::quantize`].
#[derive(Debug, Clone, Copy)]
pub struct QuantizedRows<'a> {
    q: &'a [i8],
    scale: &'a [f32],
    offset: &'a [i32],
    layout: RowLayout,
    /// Rows of the first bundle that come before the first row.
    skipped: usize,
}

impl<'a> QuantizedRows<'a> {
    /// Rows that lie as `layout` says.
    ///
    /// # Panics
    /// If a slice is shorter than that.
    pub fn new(layout: RowLayout, q: &'a [i8], scale: &'a [f32], offset: &'a [i32]) -> Self {
        let (values, blocks) = (layout.values(), layout.blocks());
        let (q, scale, offset) = (&q[..values], &scale[..blocks], &offset[..blocks]);
        QuantizedRows { q, scale, offset, layout, skipped: 0 }
    }

    /// Number of rows.
    pub fn n(&self) -> usize {
        self.layout.n
    }

    /// Values in a row, padding included.
    pub fn k_padded(&self) -> usize {
        self.layout.k_padded
    }

    /// The rows from `first` on.
    pub fn rows_from(&self, first: usize) -> Self {
        let at = self.skipped + first;
        let b = at / self.interleaved() * self.layout.bundle_blocks();
        let (q, scale, offset) = (&self.q[b * BLOCK..], &self.scale[b..], &self.offset[b..]);
        let layout = RowLayout { n: self.n() - first, ..self.layout };
        QuantizedRows { q, scale, offset, layout, skipped: at % self.interleaved() }
    }

    /// Neighbouring blocks that share a scale.
    pub fn span(&self) -> usize {
        self.layout.span
    }

    /// Rows that are interleaved.
    pub fn interleaved(&self) -> usize {
        self.layout.interleaved
    }

    /// Rows of the first bundle that come before the first row.
    pub(super) fn skipped(&self) -> usize {
        self.skipped
    }

    /// Bundles that the rows are in.
    pub(super) fn bundles(&self) -> usize {
        (self.skipped + self.n()).div_ceil(self.interleaved())
    }

    /// Blocks `part` of bundle `i`, without a check: there are as many of these as of register tiles.
    ///
    /// # Safety
    /// `i` is below the number of bundles, `part` within a row.
    #[inline(always)]
    pub(super) unsafe fn part(&self, i: usize, part: &Range<usize>) -> (&'a [i8], &'a [f32], &'a [i32]) {
        let blocks = self.layout.k_padded / BLOCK;
        debug_assert!(i < self.bundles() && part.start <= part.end && part.end <= blocks);
        let at = |b: usize| (i * blocks + b) * self.layout.interleaved;
        let (first, last) = (at(part.start), at(part.end));
        // SAFETY: `new` and `rows_from` cut the slices to whole bundles, and this function's contract keeps within them.
        unsafe {
            (
                self.q.get_unchecked(first * BLOCK..last * BLOCK),
                self.scale.get_unchecked(first..last),
                self.offset.get_unchecked(first..last),
            )
        }
    }

    /// Values, scales and offsets of row `t` of rows that are not interleaved.
    #[inline]
    pub fn row(&self, t: usize) -> (&'a [i8], &'a [f32], &'a [i32]) {
        assert_eq!(self.interleaved(), 1, "interleaved rows");
        let (k, b) = (self.k_padded(), self.k_padded() / BLOCK);
        (&self.q[t * k..(t + 1) * k], &self.scale[t * b..(t + 1) * b], &self.offset[t * b..(t + 1) * b])
    }
}

/// Scratch memory of one thread's integer products: weights brought into order, and sums.
#[derive(Debug)]
pub struct Panel<'a> {
    pub(super) values: &'a mut [u8],
    pub(super) scales: &'a mut [f32],
    pub(super) sums: &'a mut [f32],
}

impl<'a> Panel<'a> {
    /// Bytes of `values`.
    pub const VALUES: usize = panel::PANEL_ROWS * panel::PANEL_K;
    /// Length of `scales`.
    pub const SCALES: usize = Self::VALUES / BLOCK * panel::MOST_LANES;
    /// Length of `sums`.
    pub const SUMS: usize = panel::PANEL_ROWS * panel::PANEL_N;

    /// A panel in the memory given.
    ///
    /// # Panics
    /// If a slice is shorter than the constants say.
    pub fn new(values: &'a mut [u8], scales: &'a mut [f32], sums: &'a mut [f32]) -> Self {
        Panel {
            values: &mut values[..Self::VALUES],
            scales: &mut scales[..Self::SCALES],
            sums: &mut sums[..Self::SUMS],
        }
    }
}

/// Some columns of a row-major output, written by one thread while others write the other columns.
#[derive(Debug)]
pub struct TileMut<'a, T = f32> {
    first: *mut T,
    stride: usize,
    n_rows: usize,
    n_cols: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: a tile is an exclusive borrow of its columns (established by `new` and kept by `split_columns`), so it
// may move to another thread as `&mut [T]` may.
unsafe impl<T: Send> Send for TileMut<'_, T> {}

impl<'a, T> TileMut<'a, T> {
    /// All of `out`: `[n_rows, n_cols]` without gaps.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn new(out: &'a mut [T], n_rows: usize, n_cols: usize) -> Self {
        assert_eq!(out.len(), n_rows * n_cols, "output");
        TileMut { first: out.as_mut_ptr(), stride: n_cols, n_rows, n_cols, borrow: PhantomData }
    }

    /// Number of rows (activations).
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Number of columns (weight rows).
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// The columns before `at`, and the rest.
    pub fn split_columns(self, at: usize) -> (Self, Self) {
        assert!(at <= self.n_cols);
        let left = TileMut { n_cols: at, ..self };
        // `at` may equal the width of the last columns: the pointer is then one past the end and never read.
        let right = TileMut { first: self.first.wrapping_add(at), n_cols: self.n_cols - at, ..self };
        (left, right)
    }

    /// Cuts the first `n` columns off.
    pub fn take_columns(&mut self, n: usize) -> Self {
        assert!(n <= self.n_cols);
        let taken = TileMut { n_cols: n, ..*self };
        // What is taken is no longer part of this tile.
        self.first = self.first.wrapping_add(n);
        self.n_cols -= n;
        taken
    }

    /// Cuts the first `n` rows off.
    pub fn take_rows(&mut self, n: usize) -> Self {
        assert!(n <= self.n_rows);
        let taken = TileMut { n_rows: n, ..*self };
        // What is taken is no longer part of this tile.
        self.first = self.first.wrapping_add(n * self.stride);
        self.n_rows -= n;
        taken
    }

    /// This tile's part of row `t`.
    #[inline]
    pub fn row(&mut self, t: usize) -> &mut [T] {
        assert!(t < self.n_rows);
        // SAFETY: `new` checked that rows of `stride` elements lie in the borrowed slice, `split_columns`,
        // `take_columns`, `take_rows` and `Strips` that this tile lies inside them and that no other has its elements; `t` is
        // checked above.
        unsafe { core::slice::from_raw_parts_mut(self.first.add(t * self.stride), self.n_cols) }
    }
}

/// Where the results of a product go, and what is added to them on their way.
#[derive(Debug)]
pub struct Output<'a> {
    tile: TileMut<'a>,
    bias: Option<&'a [f32]>,
    add: bool,
}

impl<'a> Output<'a> {
    /// `tile = result + bias`
    ///
    /// # Panics
    /// If `bias` is not one value a column.
    pub fn new(tile: TileMut<'a>, bias: Option<&'a [f32]>) -> Self {
        assert!(bias.is_none_or(|bias| bias.len() == tile.n_cols), "bias");
        Output { tile, bias, add: false }
    }

    /// `tile += result + bias`
    ///
    /// # Panics
    /// As [`Output::new`].
    pub fn add_to(tile: TileMut<'a>, bias: Option<&'a [f32]>) -> Self {
        Output { add: true, ..Output::new(tile, bias) }
    }

    /// Number of rows (activations).
    pub fn n_rows(&self) -> usize {
        self.tile.n_rows
    }

    /// Number of columns (weight rows).
    pub fn n_cols(&self) -> usize {
        self.tile.n_cols
    }

    /// Takes results of row `t`: for the columns from `first` on, if there are as many.
    #[inline]
    pub(super) fn put(&mut self, t: usize, first: usize, results: &[f32]) {
        let out = &mut self.tile.row(t)[first..];
        for (i, (out, &result)) in out.iter_mut().zip(results).enumerate() {
            let result = self.bias.map_or(result, |bias| result + bias[first + i]);
            *out = if self.add { *out + result } else { result };
        }
    }

    /// As [`Output::put`] for whole vectors, which is the rule.
    #[inline(always)]
    pub(super) fn put_vectors<const N: usize>(&mut self, t: usize, first: usize, mut results: [f32; N]) {
        let Some(out) = self.tile.row(t)[first..].first_chunk_mut::<N>() else {
            return self.put(t, first, &results);
        };
        if let Some(bias) = self.bias.and_then(|bias| bias[first..].first_chunk::<N>()) {
            results.iter_mut().zip(bias).for_each(|(result, bias)| *result += bias);
        }
        if self.add {
            results.iter_mut().zip(&*out).for_each(|(result, out)| *result += out);
        }
        *out = results;
    }
}

/// Strips of columns of a row-major output, given out row by row: first all rows of the first strip, then those of
/// the next. Different threads may hold different rows.
#[derive(Debug)]
pub struct Strips<'a> {
    out: TileMut<'a>,
    width: usize,
    /// Rows not yet given out, counted through all strips.
    left: Range<usize>,
}

impl<'a> Strips<'a> {
    /// `out` in strips of `width` columns.
    ///
    /// # Panics
    /// If that leaves a rest.
    pub fn new(out: TileMut<'a>, width: usize) -> Self {
        assert!(out.n_cols.is_multiple_of(width), "strips");
        let left = 0..out.n_cols / width * out.n_rows;
        Strips { out, width, left }
    }

    /// Cuts the next `n` rows off.
    pub fn cut(&mut self, n: usize) -> Strips<'a> {
        assert!(n <= self.left.len());
        let left = self.left.start..self.left.start + n;
        self.left.start = left.end;
        // A copy of the tile, but never of a row: `left` is divided between the two.
        Strips { out: TileMut { ..self.out }, width: self.width, left }
    }
}

/// What is left, as large as it goes: the strip's number, the first row and the rows themselves.
impl<'a> Iterator for Strips<'a> {
    type Item = (usize, usize, TileMut<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left.is_empty() {
            return None;
        }
        let (strip, row) = (self.left.start / self.out.n_rows, self.left.start % self.out.n_rows);
        let n_rows = self.left.len().min(self.out.n_rows - row);
        self.left.start += n_rows;
        let first = self.out.first.wrapping_add(row * self.out.stride + strip * self.width);
        Some((strip, row, TileMut { first, n_rows, n_cols: self.width, ..self.out }))
    }
}

/// Queries that share keys and values: some heads side by side at each position.
#[derive(Debug, Clone, Copy)]
pub struct Queries<'a> {
    q: &'a [f32],
    positions: usize,
    stride: usize,
    heads: usize,
    d_head: usize,
}

impl<'a> Queries<'a> {
    /// `heads` times `d_head` values at each position, positions `stride` values apart.
    ///
    /// # Panics
    /// If the slice ends before the last position does.
    pub fn new(q: &'a [f32], positions: usize, stride: usize, heads: usize, d_head: usize) -> Self {
        let needed = positions.checked_sub(1).map_or(0, |last| last * stride + heads * d_head);
        assert!(q.len() >= needed && heads * d_head <= stride, "queries");
        Queries { q, positions, stride, heads, d_head }
    }

    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Number of queries.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.positions * self.heads
    }

    /// Width of a head.
    pub fn d_head(&self) -> usize {
        self.d_head
    }

    /// Position and head of query `r`.
    #[inline]
    pub fn place(&self, r: usize) -> (usize, usize) {
        // In 32 bits, which processors divide much faster.
        let (r, heads) = (r as u32, self.heads as u32);
        ((r / heads) as usize, (r % heads) as usize)
    }

    /// Query `r`.
    #[inline]
    pub fn row(&self, r: usize) -> &'a [f32] {
        let (position, head) = self.place(r);
        &self.q[position * self.stride + head * self.d_head..][..self.d_head]
    }
}

/// Keys and values of one head: `n` rows of `d_head` elements, `stride` elements apart.
#[derive(Debug, Clone, Copy)]
pub struct KvRows<'a, T> {
    keys: &'a [T],
    values: &'a [T],
    n: usize,
    stride: usize,
    d_head: usize,
}

impl<'a, T> KvRows<'a, T> {
    /// The first `n` rows.
    ///
    /// # Panics
    /// If a slice ends before the last row does.
    pub fn new(keys: &'a [T], values: &'a [T], n: usize, stride: usize, d_head: usize) -> Self {
        let needed = n.checked_sub(1).map_or(0, |last| last * stride + d_head);
        assert!(keys.len() >= needed && values.len() >= needed && d_head <= stride, "keys and values");
        KvRows { keys, values, n, stride, d_head }
    }

    /// Number of rows.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Width of the head.
    pub fn d_head(&self) -> usize {
        self.d_head
    }

    /// Some of the rows.
    pub fn slice(&self, rows: Range<usize>) -> KvRows<'a, T> {
        let start = rows.start * self.stride;
        KvRows::new(&self.keys[start..], &self.values[start..], rows.len(), self.stride, self.d_head)
    }

    /// Key `j`.
    #[inline]
    pub fn key(&self, j: usize) -> &'a [T] {
        &self.keys[j * self.stride..][..self.d_head]
    }

    /// Value `j`.
    #[inline]
    pub fn value(&self, j: usize) -> &'a [T] {
        &self.values[j * self.stride..][..self.d_head]
    }
}

/// Keys and values in either precision.
#[derive(Debug, Clone, Copy)]
pub enum KvSlice<'a> {
    /// Single precision.
    F32(KvRows<'a, f32>),
    /// Half precision.
    F16(KvRows<'a, f16>),
}

impl<'a> KvSlice<'a> {
    /// Number of rows.
    pub fn n(&self) -> usize {
        match self {
            KvSlice::F32(kv) => kv.n,
            KvSlice::F16(kv) => kv.n,
        }
    }

    /// Width of the head.
    pub fn d_head(&self) -> usize {
        match self {
            KvSlice::F32(kv) => kv.d_head,
            KvSlice::F16(kv) => kv.d_head,
        }
    }

    /// Some of the rows.
    pub fn slice(&self, rows: Range<usize>) -> KvSlice<'a> {
        match self {
            KvSlice::F32(kv) => KvSlice::F32(kv.slice(rows)),
            KvSlice::F16(kv) => KvSlice::F16(kv.slice(rows)),
        }
    }
}
