//! 8-bit blocks: the largest magnitude becomes 127.

use super::{largest, round};
use half::f16;
use pg_runtime::format::block::BLOCK;

/// Scale and values of one block, or `None` if the scale is beyond f16.
///
/// Values are rounded with the scale that is stored, not with the exact one, so a value is never off by more than
/// half of a stored step.
pub fn quantize(x: &[f32; BLOCK]) -> Option<(f16, [i8; BLOCK])> {
    let (_, extreme) = largest(x);
    let mut scale = f16::from_f32(extreme.abs() / 127.0);
    if !scale.is_finite() {
        return None;
    }
    if scale.to_f32() * 127.5 < extreme.abs() {
        // Subnormal scales are coarse: rounded down, the largest value would not be reached.
        scale = f16::from_bits(scale.to_bits() + 1);
    }
    if scale == f16::ZERO {
        return Some((f16::ZERO, [0; BLOCK]));
    }
    let inverse = 1.0 / scale.to_f32();
    Some((scale, x.map(|v| round((v * inverse).clamp(-127.0, 127.0)) as i8)))
}
