//! Matrix times activations: `out[t] = W x[t] + b`.

use super::{Exec, Tools};
use crate::format::block::BLOCK;
use crate::kernels::{Kernels, QuantizedRows, TileMut, WeightRows, span};
use crate::memory::{Carver, Region};
use crate::threads::partition::take;
use core::ops::Range;

/// Weight rows are shared among threads in multiples of this, a multiple of every kernel's tile.
const ROW_UNIT: usize = 16;

/// What quantizing one value costs, in multiplications of a matrix product.
const QUANTIZE_WORK: usize = 4;

/// A weight matrix with its bias.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'m> {
    /// `[rows, k]`, as the file holds it.
    pub weights: WeightRows<'m>,
    /// `[rows]`
    pub bias: Option<&'m [f32]>,
}

impl Matrix<'_> {
    /// Number of outputs.
    pub fn rows(&self) -> usize {
        self.weights.rows()
    }
}

/// Room for activations in integer form, reused by all products.
#[derive(Debug)]
pub struct Activations {
    /// `[n, k padded to blocks]`
    q: Region<i8>,
    /// `[n, blocks]`
    scale: Region<f32>,
    /// `[n, blocks]`
    offset: Region<i32>,
}

/// Activations ready to be multiplied with any number of matrices.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    x: &'a [f32],
    n: usize,
    quantized: Option<QuantizedRows<'a>>,
}

impl Activations {
    /// Values that `n` rows of `k` take, padding included.
    pub const fn values(n: usize, k: usize) -> usize {
        n * k.next_multiple_of(BLOCK)
    }

    /// Room for `values` values, rows padded to whole blocks.
    pub fn carve(carver: &mut Carver, values: usize) -> Self {
        Activations {
            q: carver.region("activations.values", values),
            scale: carver.region("activations.scales", values / BLOCK),
            offset: carver.region("activations.offsets", values / BLOCK),
        }
    }

    /// Prepares `x`, `[n, k]`, for all of `matrices`: quantized once, however many it meets.
    pub fn input<'a>(&'a mut self, exec: &mut Exec, x: &'a [f32], matrices: &[&Matrix<'_>]) -> Input<'a> {
        let k = matrices[0].weights.k();
        let n = x.len() / k;
        if !matrices[0].weights.format().is_quantized() {
            return Input { x, n, quantized: None };
        }
        let span = matrices.iter().map(|m| span(m.weights.format())).max().unwrap_or(1);
        let mut room = self.room(n, k);
        exec.share(
            n,
            1,
            room.q.len() * QUANTIZE_WORK,
            |range| room.take_rows(range.len()),
            |kernels, _, range, part| {
                for (t, (q, scale, offset)) in range.zip(part.into_rows()) {
                    kernels.quantize(&x[t * k..(t + 1) * k], span, q, scale, offset);
                }
            },
        );
        Input { x, n, quantized: Some(self.rows(n, k, span)) }
    }

    /// What was written to the first `n` rows of `k` values.
    pub(super) fn rows(&self, n: usize, k: usize, span: usize) -> QuantizedRows<'_> {
        QuantizedRows::new(&self.q, &self.scale, &self.offset, n, k, span)
    }

    /// The first `n` rows of `k` values, to be written by columns.
    pub(super) fn tiles(&mut self, n: usize, k: usize) -> QuantizedTile<'_> {
        let Rows { q, scale, offset, blocks } = self.room(n, k);
        QuantizedTile {
            q: TileMut::new(q, n, blocks * BLOCK),
            scale: TileMut::new(scale, n, blocks),
            offset: TileMut::new(offset, n, blocks),
        }
    }

    fn room(&mut self, n: usize, k: usize) -> Rows<'_> {
        let blocks = k.div_ceil(BLOCK);
        Rows {
            q: &mut self.q[..n * blocks * BLOCK],
            scale: &mut self.scale[..n * blocks],
            offset: &mut self.offset[..n * blocks],
            blocks,
        }
    }
}

/// Rows of quantized activations that are being written.
struct Rows<'a> {
    q: &'a mut [i8],
    scale: &'a mut [f32],
    offset: &'a mut [i32],
    /// In one row.
    blocks: usize,
}

impl<'a> Rows<'a> {
    fn take_rows(&mut self, n: usize) -> Rows<'a> {
        let blocks = self.blocks;
        let (q, scale) = (take(&mut self.q, n * blocks * BLOCK), take(&mut self.scale, n * blocks));
        Rows { q, scale, offset: take(&mut self.offset, n * blocks), blocks }
    }

    fn into_rows(self) -> impl Iterator<Item = (&'a mut [i8], &'a mut [f32], &'a mut [i32])> {
        let blocks = self.blocks;
        let scales = self.scale.chunks_exact_mut(blocks).zip(self.offset.chunks_exact_mut(blocks));
        self.q.chunks_exact_mut(blocks * BLOCK).zip(scales).map(|(q, (scale, offset))| (q, scale, offset))
    }
}

/// Columns of quantized activations that one member writes.
pub(super) struct QuantizedTile<'a> {
    q: TileMut<'a, i8>,
    scale: TileMut<'a, f32>,
    offset: TileMut<'a, i32>,
}

impl QuantizedTile<'_> {
    /// Cuts the first `n` values of every row off: whole blocks, or all that is left.
    pub(super) fn take_columns(&mut self, n: usize) -> Self {
        let blocks = n.div_ceil(BLOCK);
        QuantizedTile {
            q: self.q.take_columns(blocks * BLOCK),
            scale: self.scale.take_columns(blocks),
            offset: self.offset.take_columns(blocks),
        }
    }

    /// Row `t` of these columns.
    pub(super) fn row(&mut self, t: usize) -> (&mut [i8], &mut [f32], &mut [i32]) {
        (self.q.row(t), self.scale.row(t), self.offset.row(t))
    }
}

impl<'a> Input<'a> {
    /// `x` as it is, for matrices of floats; `[n, k]`.
    pub(super) fn floats(x: &'a [f32], n: usize) -> Self {
        Input { x, n, quantized: None }
    }

    /// What another step has quantized; `n` rows.
    pub(super) fn quantized(rows: QuantizedRows<'a>) -> Self {
        Input { x: &[], n: rows.n(), quantized: Some(rows) }
    }

    /// Number of rows.
    pub(super) fn n(&self) -> usize {
        self.n
    }

    /// The rows from `first` on.
    pub fn rows_from(&self, first: usize) -> Self {
        let x = &self.x[self.x.len() / self.n * first..];
        Input { x, n: self.n - first, quantized: self.quantized.map(|rows| rows.rows_from(first)) }
    }
}

/// `out[t] = W x[t] + b`; `out` is `[n, rows]`.
pub fn linear(exec: &mut Exec, w: &Matrix<'_>, input: &Input<'_>, out: &mut [f32]) {
    share_rows(exec, w, input, out, None);
}

/// As [`linear`] for several matrices, their inputs and outputs, shared as if they were one matrix: each small one alone
/// would keep the members waiting for each other.
pub fn linear_together<const N: usize>(
    exec: &mut Exec,
    w: [&Matrix<'_>; N],
    inputs: [&Input<'_>; N],
    outs: [&mut [f32]; N],
) {
    // Where the rows of each begin among those of all; a unit belongs to one matrix.
    let mut starts = [0; N];
    let (mut n_rows, mut work) = (0, 0);
    for (start, (w, input)) in starts.iter_mut().zip(w.iter().zip(inputs)) {
        *start = n_rows;
        n_rows += w.rows().next_multiple_of(ROW_UNIT);
        work += input.n * w.rows() * w.weights.k();
    }
    let rows_of = |i: usize, range: &Range<usize>| {
        let row = |at: usize| at.saturating_sub(starts[i]).min(w[i].rows());
        row(range.start)..row(range.end)
    };
    let mut outs = outs.into_iter();
    let mut tiles: [TileMut<'_>; N] = core::array::from_fn(|i| {
        TileMut::new(outs.next().expect("one for each matrix"), inputs[i].n, w[i].rows())
    });
    exec.balance(
        n_rows,
        ROW_UNIT,
        work,
        |range| core::array::from_fn::<_, N, _>(|i| tiles[i].take_columns(rows_of(i, range).len())),
        |kernels, worker, range, mut tiles| {
            for (i, tile) in tiles.iter_mut().enumerate() {
                let rows = rows_of(i, &range);
                if !rows.is_empty() {
                    product(kernels, &mut worker.tools, w[i], rows, inputs[i], tile);
                }
            }
        },
    );
}

/// `sum[t] += W x[t] + b`; `sum` and `room` are `[n, rows]`.
pub fn linear_add(exec: &mut Exec, w: &Matrix<'_>, input: &Input<'_>, room: &mut [f32], sum: &mut [f32]) {
    share_rows(exec, w, input, room, Some(sum));
}

fn share_rows(exec: &mut Exec, w: &Matrix<'_>, input: &Input<'_>, out: &mut [f32], sum: Option<&mut [f32]>) {
    let all = |x| TileMut::new(x, input.n, w.rows());
    let mut out = all(&mut out[..input.n * w.rows()]);
    let mut sum = sum.map(all);
    exec.balance(
        w.rows(),
        ROW_UNIT,
        input.n * w.rows() * w.weights.k(),
        |range| {
            let n = range.len();
            (out.take_columns(n), sum.as_mut().map(|sum| sum.take_columns(n)))
        },
        |kernels, worker, range, (mut tile, sum)| {
            product(kernels, &mut worker.tools, w, range, input, &mut tile);
            if let Some(mut sum) = sum {
                for t in 0..tile.n_rows() {
                    kernels.add(sum.row(t), tile.row(t));
                }
            }
        },
    );
}

/// One member's share: rows `range` of `W x[t] + b` to `tile`.
pub(super) fn product(
    kernels: &'static Kernels,
    tools: &mut Tools,
    w: &Matrix<'_>,
    range: Range<usize>,
    input: &Input<'_>,
    tile: &mut TileMut<'_>,
) {
    let weights = w.weights.slice(range.clone());
    match (&input.quantized, weights.format().is_quantized()) {
        (Some(x), true) => kernels.gemm_quantized(&weights, x, tile, &mut tools.panel()),
        (None, false) => {
            kernels.gemm_float(&weights, input.x, tile, &mut tools.float, &mut tools.float_buffer);
        }
        _ => unreachable!("matrices that share an input are stored alike: `Model` checks it"),
    }
    if let Some(bias) = w.bias {
        for t in 0..tile.n_rows() {
            kernels.add(tile.row(t), &bias[range.clone()]);
        }
    }
}
