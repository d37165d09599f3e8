//! Rotary position embedding: pairs `(x[i], x[i + d/2])` turned by `position * base^(-2i/d)`.

use super::Exec;
use crate::memory::{Carver, Region};

/// Cosines and sines of all positions of a session.
#[derive(Debug)]
pub struct Rope {
    /// `[n_positions, d_head / 2]`
    cos: Region<f32>,
    /// `[n_positions, d_head / 2]`
    sin: Region<f32>,
    half: usize,
}

impl Rope {
    /// Takes room for positions 0 to `n_positions - 1`.
    pub fn carve(carver: &mut Carver, n_positions: usize, d_head: usize) -> Self {
        let half = d_head / 2;
        Rope {
            cos: carver.region("rope.cos", n_positions * half),
            sin: carver.region("rope.sin", n_positions * half),
            half,
        }
    }

    /// Computes the tables, in double precision.
    pub fn fill(&mut self, base: f32) {
        let half = self.half;
        let angles = self.cos.chunks_exact_mut(half).zip(self.sin.chunks_exact_mut(half));
        for (position, (cos, sin)) in angles.enumerate() {
            for (i, (cos, sin)) in cos.iter_mut().zip(sin).enumerate() {
                let angle = position as f64 * libm::pow(f64::from(base), -(i as f64) / half as f64);
                (*cos, *sin) = (libm::cos(angle) as f32, libm::sin(angle) as f32);
            }
        }
    }

    /// Turns every head of `x`, `[n, width]`, whose rows stand at positions from `first` on.
    pub fn apply(&self, exec: &mut Exec, x: &mut [f32], width: usize, first: usize) {
        exec.rows(x, width, |kernels, t, row| {
            let at = (first + t) * self.half..(first + t + 1) * self.half;
            for head in row.chunks_exact_mut(2 * self.half) {
                kernels.rope(head, &self.cos[at.clone()], &self.sin[at.clone()]);
            }
        });
    }
}
