//! Matrix times activations: `out[t] = W x[t] + b`.

use super::{Exec, Tools};
use crate::format::block::BLOCK;
use crate::kernels::{Kernels, Output, QuantizedRowMut, QuantizedRows, RowLayout, TileMut, WeightRows, span};
use crate::memory::{Carver, Region};
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

impl<'m> Matrix<'m> {
    /// Number of outputs.
    pub fn rows(&self) -> usize {
        self.weights.rows()
    }

    /// The bias of some outputs.
    pub(super) fn bias_of(&self, rows: &Range<usize>) -> Option<&'m [f32]> {
        self.bias.map(|bias| &bias[rows.clone()])
    }
}

/// Room for activations in integer form, reused by all products.
#[derive(Debug)]
pub struct Activations {
    /// `[n, k padded to blocks]`, or interleaved: see [`RowLayout`].
    q: Region<i8>,
    /// `[n, blocks]`, likewise.
    scale: Region<f32>,
    /// `[n, blocks]`, likewise.
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
        RowLayout::most_values(n, k)
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
        let layout = exec.kernels().layout(n, k, span);
        let mut bundles = self.tile(layout);
        exec.share(
            n,
            layout.interleaved(),
            n * k * QUANTIZE_WORK,
            |range| bundles.take_rows(range.len()),
            |kernels, _, range, mut part| {
                for (i, t) in range.enumerate() {
                    kernels.quantize(&x[t * k..(t + 1) * k], span, part.row(i));
                }
            },
        );
        Input { x, n, quantized: Some(self.rows(layout)) }
    }

    /// What was written as `layout` says.
    pub(super) fn rows(&self, layout: RowLayout) -> QuantizedRows<'_> {
        QuantizedRows::new(layout, &self.q, &self.scale, &self.offset)
    }

    /// Room for rows that lie as `layout` says, to be written by rows or by columns.
    pub(super) fn tile(&mut self, layout: RowLayout) -> QuantizedTile<'_> {
        let (n, blocks) = (layout.bundles(), layout.bundle_blocks());
        QuantizedTile {
            layout,
            q: TileMut::new(&mut self.q[..layout.values()], n, blocks * BLOCK),
            scale: TileMut::new(&mut self.scale[..layout.blocks()], n, blocks),
            offset: TileMut::new(&mut self.offset[..layout.blocks()], n, blocks),
        }
    }
}

/// Quantized activations that one member writes: some of the rows, or some columns of all.
pub(super) struct QuantizedTile<'a> {
    layout: RowLayout,
    q: TileMut<'a, i8>,
    scale: TileMut<'a, f32>,
    offset: TileMut<'a, i32>,
}

impl QuantizedTile<'_> {
    /// Cuts the first `n` rows off: whole bundles, or all that is left.
    pub(super) fn take_rows(&mut self, n: usize) -> Self {
        let bundles = n.div_ceil(self.layout.interleaved());
        QuantizedTile {
            layout: self.layout,
            q: self.q.take_rows(bundles),
            scale: self.scale.take_rows(bundles),
            offset: self.offset.take_rows(bundles),
        }
    }

    /// Cuts the first `n` values of every row off: whole blocks, or all that is left.
    pub(super) fn take_columns(&mut self, n: usize) -> Self {
        let blocks = n.div_ceil(BLOCK) * self.layout.interleaved();
        QuantizedTile {
            layout: self.layout,
            q: self.q.take_columns(blocks * BLOCK),
            scale: self.scale.take_columns(blocks),
            offset: self.offset.take_columns(blocks),
        }
    }

    /// Row `t` of these.
    pub(super) fn row(&mut self, t: usize) -> QuantizedRowMut<'_> {
        let bundle = t / self.layout.interleaved();
        let (q, scale, offset) = (self.q.row(bundle), self.scale.row(bundle), self.offset.row(bundle));
        QuantizedRowMut::new(&self.layout, t, q, scale, offset)
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
pub fn linear<'a>(exec: &mut Exec, w: &Matrix<'a>, input: &Input<'_>, out: &'a mut [f32]) {
    share_rows(exec, w, input, out, Output::new);
}

/// `out[t] += W x[t] + b`; `out` is `[n, rows]`.
pub fn linear_add<'a>(exec: &mut Exec, w: &Matrix<'a>, input: &Input<'_>, out: &'a mut [f32]) {
    share_rows(exec, w, input, out, Output::add_to);
}

fn share_rows<'a>(
    exec: &mut Exec,
    w: &Matrix<'a>,
    input: &Input<'_>,
    out: &'a mut [f32],
    output: fn(TileMut<'a>, Option<&'a [f32]>) -> Output<'a>,
) {
    let mut out = TileMut::new(&mut out[..input.n * w.rows()], input.n, w.rows());
    exec.balance(
        w.rows(),
        ROW_UNIT,
        input.n * w.rows() * w.weights.k(),
        |range| out.take_columns(range.len()),
        |kernels, worker, range, tile| {
            let mut out = output(tile, w.bias_of(&range));
            product(kernels, &mut worker.tools, w, range, input, &mut out);
        },
    );
}

/// One member's share: rows `range` of `W x[t]` to `out`.
pub(super) fn product(
    kernels: &'static Kernels,
    tools: &mut Tools,
    w: &Matrix<'_>,
    range: Range<usize>,
    input: &Input<'_>,
    out: &mut Output<'_>,
) {
    let weights = w.weights.slice(range);
    match (&input.quantized, weights.format().is_quantized()) {
        (Some(x), true) => kernels.gemm_quantized(&weights, x, out, &mut tools.panel()),
        (None, false) => {
            kernels.gemm_float(&weights, input.x, out, &mut tools.float, &mut tools.float_buffer);
        }
        _ => unreachable!("matrices that share an input are stored alike: `Model` checks it"),
    }
}
