//! 4-bit blocks: sixteen steps from -8 to 7, and a search for the step that loses least.
//!
//! Rounding with the scale `extreme / -8` (what the format's name usually stands for) spends the whole range on
//! one value. Clipping or stretching it a little often lowers the squared error of the other 31 by more. For
//! each candidate scale the values are rounded, and for these values the scale of least squares is known in
//! closed form; the best pair is refined once more with the scale as f16 stores it. No block gets worse than by
//! plain rounding, because plain rounding is compared last.

use super::{Quantized, largest, round, squared_error};
use half::f16;
use pg_runtime::format::block::BLOCK;

/// Where the extreme lands in the candidates: near the deep end of the range, -8, or mirrored near 7.
const TARGETS: [f32; 22] = [
    -6.6, -6.9, -7.2, -7.4, -7.6, -7.8, -8.0, -8.15, -8.3, -8.5, -8.75, -9.0, //
    5.9, 6.2, 6.5, 6.7, 6.9, 7.0, 7.15, 7.3, 7.5, 7.8,
];

/// Times that values and scale are fitted to each other after the search.
const REFINEMENTS: usize = 3;

/// Scale and values of one block, or `None` if the scale is beyond f16.
pub fn quantize(x: &[f32; BLOCK]) -> Option<Quantized> {
    let (_, extreme) = largest(x);
    let plain = round_to(x, extreme)?;
    if plain.0 == f16::ZERO {
        return Some(plain);
    }
    let mut best_fit = 0.0;
    let mut scale = plain.0.to_f32();
    for target in TARGETS {
        let (xq, qq) = products(x, target / extreme);
        // The error of the best scale for q is |x|^2 - fit.
        let fit = xq * xq / qq;
        if fit > best_fit {
            best_fit = fit;
            scale = xq / qq;
        }
    }
    let mut best = plain;
    let mut best_error = squared_error(x, plain.0.to_f32(), &plain.1);
    for _ in 0..REFINEMENTS {
        let stored = f16::from_f32(scale);
        if stored == f16::ZERO || !stored.is_finite() {
            break;
        }
        let inverse = 1.0 / stored.to_f32();
        let whole = x.map(|v| step(v, inverse) as i8);
        let error = squared_error(x, stored.to_f32(), &whole);
        if error < best_error {
            best = (stored, whole);
            best_error = error;
        }
        let (xq, qq) = products(x, inverse);
        if qq == 0.0 {
            break;
        }
        scale = xq / qq;
    }
    Some(best)
}

/// Plain rounding: the extreme becomes -8.
pub fn quantize_plain(x: &[f32; BLOCK]) -> Option<Quantized> {
    round_to(x, largest(x).1)
}

fn round_to(x: &[f32; BLOCK], extreme: f32) -> Option<Quantized> {
    let scale = f16::from_f32(extreme / -8.0);
    if !scale.is_finite() {
        return None;
    }
    if scale.to_f32() == 0.0 {
        return Some((f16::ZERO, [0; BLOCK]));
    }
    let inverse = 1.0 / scale.to_f32();
    Some((scale, x.map(|v| step(v, inverse) as i8)))
}

/// For `q` the values in steps: the sums of `x * q` and of `q * q`, in eight lanes as in [`super::dot`].
fn products(x: &[f32; BLOCK], inverse_scale: f32) -> (f32, f32) {
    let (mut xq, mut qq) = ([0.0f32; 8], [0.0f32; 8]);
    for part in x.as_chunks::<8>().0 {
        for lane in 0..8 {
            let q = step(part[lane], inverse_scale);
            xq[lane] += part[lane] * q;
            qq[lane] += q * q;
        }
    }
    (xq.iter().sum(), qq.iter().sum())
}

/// A value in steps, rounded into the range.
#[inline(always)]
fn step(x: f32, inverse_scale: f32) -> f32 {
    round((x * inverse_scale).clamp(-8.0, 7.0))
}
