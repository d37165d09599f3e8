//! How far results may be from what they are compared with: every number of the tests across crates.

/// Root mean square of a stage's differences from the reference's f32, in standard deviations of the stage.
/// Another order of the same sums gives 5e-6.
pub const STAGE_RMS: f64 = 1e-4;
/// The worst single value of a stage, likewise; another order of sums gives 3e-5.
pub const STAGE_WORST: f64 = 1e-3;
/// A greedy token is compared only if its score led by more than this: ten times what the worst value may be off.
pub const DECIDED_MARGIN: f64 = 0.01;

/// Answers of the demo model in f32, of 258, that must be the reference's token by token. A few are decided by less
/// than rounding.
pub const DEMO_SAME_ANSWERS: usize = 254;
/// What a quality of the demo model, from 0 to 1, may lose with 8 bits against f32, besides one answer. It loses
/// 0.015 at most.
pub const DEMO_Q8_LOSS: f64 = 0.05;
/// The same with 4 bits, where it loses 0.03.
pub const DEMO_Q4_LOSS: f64 = 0.10;
