//! The hidden layer of an MLP in one pass: multiplied, activated and made ready for the product that follows it, so
//! that the widest array of a transformer never exists in floats if its weights are integers.

use super::linear::{QuantizedTile, product};
use super::{Activations, Exec, Input, Matrix, Worker};
use crate::kernels::{Kernels, Output, TileMut, even_parts, span};
use crate::memory::{Carver, Region};
use core::ops::Range;

/// Hidden values that are computed for all rows before they are activated: what has one scale at most, and little
/// enough to stay in the cache.
const UNIT: usize = 128;
/// Most rows that go through an MLP at a time.
const CHUNK: usize = 384;
/// What activating and quantizing one hidden value costs, in multiplications of a matrix product.
const STEP_WORK: usize = 16;

/// Kinds of matrices that some part of a model has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds {
    /// Some hold floats.
    pub floats: bool,
    /// Some hold integers.
    pub integers: bool,
}

/// Room for a hidden layer.
#[derive(Debug)]
pub struct Hidden {
    /// `[chunk, d_ff]`, if the next matrix holds floats.
    floats: Region<f32>,
    /// The same in blocks, if it holds integers.
    quantized: Activations,
}

/// One member's scratch: a unit of hidden values for every row, and of what they are multiplied by.
#[derive(Debug)]
pub(super) struct HiddenTiles {
    gate: Region<f32>,
    up: Region<f32>,
}

impl HiddenTiles {
    pub(super) fn carve(carver: &mut Carver, n: usize) -> Self {
        let mut tile = |name| carver.region(name, n.min(CHUNK) * UNIT);
        HiddenTiles { gate: tile("worker.hidden.gate"), up: tile("worker.hidden.up") }
    }
}

/// What makes a hidden layer.
#[derive(Debug, Clone, Copy)]
pub struct HiddenWeights<'w, 'm> {
    /// `gelu(gate x)`
    pub gate: &'w Matrix<'m>,
    /// Multiplied by `up x`, if there is one.
    pub up: Option<&'w Matrix<'m>>,
}

/// `0..n` in parts that an MLP takes at a time, as few and as even as they can be.
pub fn chunks(n: usize) -> impl Iterator<Item = Range<usize>> {
    even_parts(n, CHUNK)
}

impl Hidden {
    /// Room for `d_ff` values of as many of `n` rows as go through at a time, to meet matrices of these kinds.
    pub fn carve(carver: &mut Carver, name: &'static str, n: usize, d_ff: usize, next: Kinds) -> Self {
        let n = n.min(CHUNK);
        Hidden {
            floats: carver.region(name, if next.floats { n * d_ff } else { 0 }),
            quantized: Activations::carve(
                carver,
                if next.integers { Activations::values(n, d_ff) } else { 0 },
            ),
        }
    }

    /// Computes the layer for `input` (one of [`chunks`]) and hands it out as the input of `next`.
    pub fn fill(
        &mut self,
        exec: &mut Exec,
        w: HiddenWeights<'_, '_>,
        input: &Input<'_>,
        next: &Matrix<'_>,
    ) -> Input<'_> {
        let (n, d_ff) = (input.n(), w.gate.rows());
        let next_is_float = !next.weights.format().is_quantized();
        let layout = exec.kernels().layout(n, d_ff, span(next.weights.format()));
        {
            let mut out = if next_is_float {
                Out::Floats(TileMut::new(&mut self.floats[..n * d_ff], n, d_ff))
            } else {
                Out::Quantized(self.quantized.tile(layout), layout.span())
            };
            let matrices = 1 + usize::from(w.up.is_some());
            exec.balance(
                d_ff,
                UNIT,
                n * d_ff * (w.gate.weights.k() * matrices + STEP_WORK),
                |range| out.take_columns(range.len()),
                |kernels, worker, range, mut out| {
                    for first in range.clone().step_by(UNIT) {
                        let unit = first..range.end.min(first + UNIT);
                        let out = out.take_columns(unit.len());
                        fill_unit(kernels, worker, w, unit, input, out);
                    }
                },
            );
        }
        if next_is_float {
            Input::floats(&self.floats[..n * d_ff], n)
        } else {
            Input::quantized(self.quantized.rows(layout))
        }
    }
}

/// Where hidden values go.
enum Out<'a> {
    Floats(TileMut<'a>),
    /// And how many blocks share a scale.
    Quantized(QuantizedTile<'a>, usize),
}

impl Out<'_> {
    fn take_columns(&mut self, n: usize) -> Self {
        match self {
            Out::Floats(tile) => Out::Floats(tile.take_columns(n)),
            Out::Quantized(tile, span) => Out::Quantized(tile.take_columns(n), *span),
        }
    }
}

fn fill_unit(
    kernels: &'static Kernels,
    worker: &mut Worker,
    w: HiddenWeights<'_, '_>,
    unit: Range<usize>,
    input: &Input<'_>,
    mut out: Out<'_>,
) {
    let (n, width) = (input.n(), unit.len());
    let Worker { hidden: HiddenTiles { gate, up }, tools, .. } = worker;
    let gate = &mut gate[..n * width];
    let mut product = |w: &Matrix<'_>, out: &mut [f32]| {
        let mut out = Output::new(TileMut::new(out, n, width), w.bias_of(&unit));
        product(kernels, tools, w, unit.clone(), input, &mut out);
    };
    product(w.gate, gate);
    match w.up {
        Some(matrix) => {
            let up = &mut up[..n * width];
            product(matrix, up);
            kernels.gelu_mul(gate, up);
        }
        None => kernels.gelu(gate),
    }
    for (t, row) in gate.chunks_exact(width).enumerate() {
        match &mut out {
            Out::Floats(out) => out.row(t).copy_from_slice(row),
            Out::Quantized(out, span) => kernels.quantize(row, *span, out.row(t)),
        }
    }
}
