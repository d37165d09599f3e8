//! Compares a stage with its golden.

use crate::golden::Tensor;
use crate::tolerances::{STAGE_RMS, STAGE_WORST};
use std::fmt;

/// How far a stage is off, in standard deviations of the golden.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Root mean square.
    pub rms: f64,
    /// The largest.
    pub worst: f64,
    /// Where that is.
    index: Vec<usize>,
    expected: f32,
    found: f32,
}

impl Difference {
    /// Measures `found` against `golden`. NaN is infinitely far.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn between(golden: &Tensor, found: &Tensor) -> Difference {
        assert_eq!(golden.shape, found.shape, "shape");
        let n = golden.values.len() as f64;
        let mean = golden.values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = golden.values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
        let off = |i: usize| {
            let d = (f64::from(golden.values[i]) - f64::from(found.values[i])).abs();
            if d.is_nan() { f64::INFINITY } else { d / variance.sqrt() }
        };
        let at = (0..golden.values.len()).max_by(|&a, &b| off(a).total_cmp(&off(b))).expect("not empty");
        Difference {
            rms: ((0..golden.values.len()).map(|i| off(i).powi(2)).sum::<f64>() / n).sqrt(),
            worst: off(at),
            index: position(at, &golden.shape),
            expected: golden.values[at],
            found: found.values[at],
        }
    }

    /// Whether it is only another order of the same sums.
    pub fn is_rounding(&self) -> bool {
        self.rms <= STAGE_RMS && self.worst <= STAGE_WORST
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { rms, worst, index, expected, found } = self;
        write!(f, "rms {rms:.1e} (at most {STAGE_RMS:.0e}), worst {worst:.1e} (at most {STAGE_WORST:.0e}) ")?;
        write!(f, "at {index:?}: expected {expected}, found {found}")
    }
}

fn position(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (slot, &n) in index.iter_mut().zip(shape).rev() {
        (*slot, at) = (at % n, at / n);
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor { shape: vec![2, values.len() / 2], values: values.to_vec() }
    }

    #[test]
    fn differences_count_in_standard_deviations() {
        let golden = tensor(&[-2.0, 2.0, -2.0, 2.0]);
        let near = Difference::between(&golden, &tensor(&[-2.0, 2.0, -2.0, 2.001]));
        assert_eq!((near.index.as_slice(), near.found), (&[1, 1][..], 2.001));
        assert!((near.worst - 0.0005).abs() < 1e-6 && (near.rms - 0.00025).abs() < 1e-6, "{near}");
        assert!(!near.is_rounding(), "{near}");
        assert!(Difference::between(&golden, &golden).is_rounding());
        assert!(!Difference::between(&golden, &tensor(&[f32::NAN, 2.0, -2.0, 2.0])).is_rounding());
    }
}
