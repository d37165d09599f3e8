//! Matrix times activations: `out[t] = W x[t] + b`.

use super::Exec;
use crate::format::block::BLOCK;
use crate::kernels::{QuantizedRows, TileMut, WeightRows, span};
use crate::memory::{Carver, Region};
use crate::threads::partition::take;

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
        let padded = k.next_multiple_of(BLOCK);
        let blocks = padded / BLOCK;
        let (mut q, mut scale, mut offset) = (&mut self.q[..], &mut self.scale[..], &mut self.offset[..]);
        exec.share(
            n,
            1,
            n * padded * QUANTIZE_WORK,
            |range| {
                let n = range.len();
                (take(&mut q, n * padded), take(&mut scale, n * blocks), take(&mut offset, n * blocks))
            },
            |kernels, _, range, (q, scale, offset)| {
                let blocks_of = scale.chunks_exact_mut(blocks).zip(offset.chunks_exact_mut(blocks));
                for ((t, q), (scale, offset)) in range.zip(q.chunks_exact_mut(padded)).zip(blocks_of) {
                    kernels.quantize(&x[t * k..(t + 1) * k], span, q, scale, offset);
                }
            },
        );
        Input { x, n, quantized: Some(QuantizedRows::new(&self.q, &self.scale, &self.offset, n, k, span)) }
    }
}

/// `out[t] = W x[t] + b`; `out` is `[n, rows]`.
pub fn linear(exec: &mut Exec, w: &Matrix<'_>, input: &Input<'_>, out: &mut [f32]) {
    let mut rest = Some(TileMut::new(&mut out[..input.n * w.rows()], input.n, w.rows()));
    exec.share(
        w.rows(),
        ROW_UNIT,
        input.n * w.rows() * w.weights.k(),
        |range| {
            let (mine, others) = rest.take().expect("put back below").split_columns(range.len());
            rest = Some(others);
            mine
        },
        |kernels, worker, range, mut tile| {
            let weights = w.weights.slice(range.clone());
            match (&input.quantized, weights.format().is_quantized()) {
                (Some(x), true) => kernels.gemm_quantized(&weights, x, &mut tile, &mut worker.panel()),
                (None, false) => {
                    kernels.gemm_float(
                        &weights,
                        input.x,
                        &mut tile,
                        &mut worker.float,
                        &mut worker.float_buffer,
                    );
                }
                _ => unreachable!("matrices that share an input are stored alike: `Model` checks it"),
            }
            if let Some(bias) = w.bias {
                for t in 0..tile.n_rows() {
                    kernels.add(tile.row(t), &bias[range.clone()]);
                }
            }
        },
    );
}
