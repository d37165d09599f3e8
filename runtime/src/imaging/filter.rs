//! Weights of Pillow's antialiased bicubic filter for one axis (`precompute_coeffs` and `normalize_coeffs_8bpc`
//! of its `Resample.c`). Called by `resize` once per output column and once per output row.

/// Bits after the point of a weight: 8 bits of pixel and 2 of headroom are left of 32.
pub(super) const PRECISION: u32 = 22;

/// Starting value of a weighted sum, so that the final shift rounds to nearest.
pub(super) const HALF: i32 = 1 << (PRECISION - 1);

/// Most input positions that one output position of `n_out` reads when there are up to `n_in`.
///
/// Twice the support, rounded up, and the one in the middle. Grows with `n_in`, so the bound for the longest
/// accepted side holds for every shorter one.
pub(super) const fn max_taps(n_in: usize, n_out: usize) -> usize {
    if n_out == 0 {
        return 0;
    }
    let longest = if n_in > n_out { n_in } else { n_out };
    2 * (2 * longest).div_ceil(n_out) + 1
}

/// One axis: `n_in` input positions become `n_out`.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    n_in: usize,
    /// Input positions per output position.
    scale: f64,
    /// The filter is stretched by this when shrinking, which is the antialiasing.
    stretch: f64,
}

impl Axis {
    pub(super) fn new(n_in: usize, n_out: usize) -> Self {
        let scale = n_in as f64 / n_out as f64;
        Axis { n_in, scale, stretch: if scale < 1.0 { 1.0 } else { scale } }
    }

    /// Writes the weights of output position `i` to the front of `weights` (`[max_taps]`); returns the first input
    /// position and the number of weights.
    ///
    /// The weights are computed twice, once for their sum: a table of f64 would double the scratch memory, and each
    /// is needed once per picture only. Every operation is the one Pillow does, in its order, because the rounding
    /// to 22 bits must come out the same.
    ///
    /// Sums of weight x pixel fit an i32. The filter's absolute values, at points one apart, sum to at most 1.25, and
    /// with the division by the sum the absolute weights stay below 1.3 (1.269 is the largest found, for 14 to 13
    /// pixels; a test looks at this). Each is off by half a unit at most, so every sum and partial sum stays below
    /// 255 * (1.3 * 2^22 + 0.5 * 65 537) + 2^21 < 1.41e9 < 2^31.
    pub(super) fn weights(&self, i: usize, weights: &mut [i32]) -> (usize, usize) {
        let center = (i as f64 + 0.5) * self.scale;
        let support = 2.0 * self.stretch;
        // Casts truncate, and turn negative numbers into 0.
        let first = (center - support + 0.5) as usize;
        let end = ((center + support + 0.5) as usize).min(self.n_in);
        let n = end.saturating_sub(first).min(weights.len());
        let shrink = 1.0 / self.stretch;
        let at = |j: usize| bicubic(((j + first) as f64 - center + 0.5) * shrink);
        let mut sum = 0.0;
        for j in 0..n {
            sum += at(j);
        }
        for (j, weight) in weights[..n].iter_mut().enumerate() {
            let w = at(j) / sum * f64::from(1 << PRECISION);
            *weight = (if w < 0.0 { w - 0.5 } else { w + 0.5 }) as i32;
        }
        (first, n)
    }
}

/// Keys' cubic with a = -0.5 (Catmull-Rom).
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// A weighted sum back to a pixel.
pub(super) fn to_pixel(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}
