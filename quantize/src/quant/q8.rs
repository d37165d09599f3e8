//! 8-bit blocks: values from -127 to 127, and a search for the scale that loses least.
//!
//! The largest magnitude becomes about 127. The exact place hardly matters to the width of a step, but it decides
//! whether the other 31 values lie near whole steps, which for a few places tried is luck, and the best of them loses
//! a sixth less than the first on average (normally distributed values, squared error).

use super::{largest, round};
use half::f16;
use pg_runtime::format::block::BLOCK;

/// What the largest magnitude becomes, in the candidates. The first is the smallest scale, and its f16 still lets the
/// largest value round to 127.
const TARGETS: [f32; 8] = [127.4, 126.4, 125.3, 124.2, 123.2, 122.1, 121.1, 120.0];

/// Scale and values of one block, or `None` if the scale is beyond f16.
///
/// Values are rounded with the scale that is stored, not with the exact one, so a value is never off by more than
/// half of a stored step.
pub fn quantize(x: &[f32; BLOCK]) -> Option<(f16, [i8; BLOCK])> {
    let extreme = largest(x).1.abs();
    if extreme == 0.0 {
        return Some((f16::ZERO, [0; BLOCK]));
    }
    let (mut least, mut best) = (f32::INFINITY, None);
    for target in TARGETS {
        let mut scale = f16::from_f32(extreme / target);
        if !scale.is_finite() {
            break;
        }
        if scale.to_f32() * 127.5 < extreme {
            // Subnormal scales are coarse: rounded down, the largest value would not be reached.
            scale = f16::from_bits(scale.to_bits() + 1);
        }
        let error = error(x, scale.to_f32());
        // Values too large or too small for their squares have no error to go by: the first scale will do.
        if best.is_none() || error < least {
            (least, best) = (error, Some(scale));
        }
    }
    let scale = best?;
    let inverse = 1.0 / scale.to_f32();
    Some((scale, x.map(|v| whole(v, inverse) as i8)))
}

/// What a scale misses of `x`: a sum of squares in eight lanes, as in [`super::dot`].
fn error(x: &[f32; BLOCK], scale: f32) -> f32 {
    let inverse = 1.0 / scale;
    let mut sums = [0.0f32; 8];
    for part in x.as_chunks::<8>().0 {
        for lane in 0..8 {
            let d = part[lane] - scale * whole(part[lane], inverse);
            sums[lane] += d * d;
        }
    }
    sums.iter().sum()
}

/// A value over the scale, rounded into the range.
#[inline(always)]
fn whole(x: f32, inverse_scale: f32) -> f32 {
    round((x * inverse_scale).clamp(-127.0, 127.0))
}
