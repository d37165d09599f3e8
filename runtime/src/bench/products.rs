//! Single matrices of a model in every kernel table.

use super::median;
use crate::error::Error;
use crate::format::WeightFormat;
use crate::kernels::Kernels;
use crate::memory::{Block, Carver, Region};
use crate::model::Model;
use crate::model::names::{self, Part, Usage};
use crate::ops::{Activations, Exec, Matrix, Worker, WorkerSizes, hidden, linear};
use crate::platform::clock::Clock;
use alloc::string::String;
use alloc::vec::Vec;

/// Time for one line of the table, in milliseconds; one product is run however long it takes.
const BUDGET_MS: f64 = 150.0;

/// No processor has smaller pages.
const PAGE: usize = 4096;

/// All matrices of one shape and format that a run multiplies with the same number of rows.
#[derive(Debug)]
pub struct Shape {
    /// Such as `ffn_up`: the first of them.
    pub example: String,
    /// How the weights are stored.
    pub format: WeightFormat,
    /// Outputs.
    pub rows: usize,
    /// Weights of one output.
    pub k: usize,
    /// Rows of activations.
    pub n: usize,
    /// Bytes of one matrix.
    pub bytes: usize,
    names: Vec<String>,
}

/// How fast one table is with one shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// 10^9 multiplications a second.
    pub gmac_s: f64,
    /// 10^9 bytes of weights a second.
    pub gb_s: f64,
}

/// Every shape that a run multiplies, in the order of the file: vision with all patches (in the MLP, as many as it takes
/// at a time), the decoder with one row and with `n_prefill`, the output head with one.
pub fn shapes(model: &Model, n_prefill: usize) -> Vec<Shape> {
    let n_patches = model.config().vision.n_patches();
    let mut shapes: Vec<Shape> = Vec::new();
    for role in names::all(model.config()).into_iter().filter(|r| r.usage == Usage::Matrix) {
        let is_mlp = role.name.contains("ffn");
        let most =
            |n: usize| if is_mlp { hidden::chunks(n).map(|part| part.len()).max().unwrap_or(0) } else { n };
        let counts = match role.part {
            Part::Vision | Part::Projector => [Some(most(n_patches)), None],
            Part::Embedding => [Some(1), None],
            Part::Decoder => [Some(1), Some(most(n_prefill)).filter(|&n| n > 1)],
        };
        let weights = model.matrix(&role.name).weights;
        let (format, rows, k) = (weights.format(), weights.rows(), weights.k());
        for n in counts.into_iter().flatten() {
            let same = |s: &&mut Shape| (s.format, s.rows, s.k, s.n) == (format, rows, k, n);
            match shapes.iter_mut().find(same) {
                Some(shape) => shape.names.push(role.name.clone()),
                None => shapes.push(Shape {
                    example: short(&role.name),
                    format,
                    rows,
                    k,
                    n,
                    bytes: model.bytes(&role.name).len(),
                    names: [role.name.clone()].into(),
                }),
            }
        }
    }
    shapes
}

/// A tensor's name without the number of its layer.
fn short(name: &str) -> String {
    let parts = name.split('.').filter(|p| p.parse::<usize>().is_err() && !matches!(*p, "blk" | "weight"));
    parts.collect::<Vec<_>>().join(".")
}

/// Everything that products need, for one table.
#[derive(Debug)]
pub struct Bench<'m> {
    model: &'m Model,
    exec: Exec,
    activations: Activations,
    x: Region<f32>,
    out: Region<f32>,
}

impl<'m> Bench<'m> {
    /// Takes memory and starts threads.
    ///
    /// # Errors
    /// If they cannot be had.
    pub fn new(
        model: &'m Model,
        kernels: &'static Kernels,
        threads: usize,
        shapes: &[Shape],
    ) -> Result<Self, Error> {
        let most = |size: &dyn Fn(&Shape) -> usize| shapes.iter().map(size).max().unwrap_or(0);
        let carve = |carver: &mut Carver| {
            let activations = Activations::carve(carver, most(&|s| Activations::values(s.n, s.k)));
            let x = carver.region("bench.input", most(&|s| s.n * s.k));
            let out = carver.region("bench.output", most(&|s| s.n * s.rows));
            // Neither attention nor hidden layers are timed here.
            let k_float = model.header().longest_float_row();
            let sizes = WorkerSizes { n_rows: 1, n_keys: 1, d_heads: [1; 2], k_float };
            let workers: Vec<Worker> = (0..threads).map(|_| Worker::carve(carver, kernels, sizes)).collect();
            (activations, x, out, workers)
        };
        let mut measuring = Carver::measuring();
        carve(&mut measuring);
        let plan = measuring.into_plan();
        let mut carver = Carver::cutting(Block::allocate(plan.bytes())?, &plan)?;
        let (activations, mut x, out, workers) = carve(&mut carver);
        for (i, x) in x.iter_mut().enumerate() {
            *x = (i * 37 % 255) as f32 / 127.0 - 1.0;
        }
        Ok(Bench { model, exec: Exec::new(kernels, workers)?, activations, x, out })
    }

    /// Multiplies for a while, each time with the next matrix of the shape, so that small ones do not stay in a cache
    /// that a run would not find them in. The median of `rounds`.
    pub fn run(&mut self, shape: &Shape, rounds: usize) -> Speed {
        // A page of a map costs most when it is touched for the first time, which no later token pays.
        for name in &shape.names {
            core::hint::black_box(self.model.bytes(name).iter().step_by(PAGE).fold(0, |sum, b| sum ^ b));
        }
        let matrices: Vec<Matrix<'_>> = shape.names.iter().map(|name| self.model.matrix(name)).collect();
        let out = &mut self.out[..shape.n * shape.rows];
        let input = self.activations.input(&mut self.exec, &self.x[..shape.n * shape.k], &[&matrices[0]]);
        let mut next = matrices.iter().cycle();
        let budget = BUDGET_MS / rounds.max(1) as f64;
        let mut one_round = || {
            let (clock, mut times) = (Clock::now(), 0);
            loop {
                linear(&mut self.exec, next.next().expect("a shape has matrices"), &input, out);
                times += 1;
                let ms = clock.elapsed_ms();
                if ms >= budget {
                    return ms / f64::from(times);
                }
            }
        };
        let ms = median((0..rounds.max(1)).map(|_| one_round()).collect());
        let macs = (shape.n * shape.rows * shape.k) as f64;
        Speed { gmac_s: macs / ms / 1e6, gb_s: shape.bytes as f64 / ms / 1e6 }
    }
}
