//! Looking at the stages of a run from outside, as `pg-run trace` does: the same code runs with and without.

use core::ops::ControlFlow;

/// A stage whose result can be looked at. Shapes are given row by row, `[rows, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tap {
    /// Normalized pixels, `[n_patches, 3 * patch * patch]`, each patch in (channel, y, x) order.
    Patches,
    /// The vision tower's output after its last norm, `[n_patches, d_vision]`.
    VisionLastHidden,
    /// The projector's output, `[n_patches, d_model]`.
    ImageFeatures,
    /// The input of decoder layer `i` over the prefix, `[n_prefix, d_model]`; the last one is after the final
    /// norm.
    Hidden(usize),
    /// The scores that chose a token, `[1, n_vocab]`.
    Logits,
}

/// Somebody who looks at stages.
pub trait Probe {
    /// Called with the result of each stage.
    fn look(&mut self, tap: Tap, data: &[f32], width: usize);

    /// Whether stages that a normal run skips (the final norm of all positions but the last) are wanted.
    fn wants_everything(&self) -> bool {
        true
    }

    /// Called between two layers of a long stage: whether the run goes on. One that does not leaves nothing behind.
    fn goes_on(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Nobody looks.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl Probe for Unwatched {
    fn look(&mut self, _: Tap, _: &[f32], _: usize) {}

    fn wants_everything(&self) -> bool {
        false
    }
}
