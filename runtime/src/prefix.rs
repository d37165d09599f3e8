//! The decoder's input before the first answer token: image tokens, then the prompt.
//!
//! Follows big_vision's `paligemma.py`: image tokens are the projector's output as it is; only token embeddings
//! are multiplied by the square root of the width.

use crate::model::{DecoderWeights, TextConfig};
use crate::ops::{Activations, Exec, Matrix, linear};
use crate::probe::{Probe, Tap};
use crate::tokenizer::TokenId;

/// Writes the whole prefix to `out`, `[n_image + prompt.len(), d_model]`.
#[allow(clippy::too_many_arguments)]
pub fn assemble(
    c: &TextConfig,
    projector: &Matrix<'_>,
    decoder: &DecoderWeights<'_>,
    image_tokens: &[f32],
    prompt: &[TokenId],
    out: &mut [f32],
    exec: &mut Exec,
    acts: &mut Activations,
    probe: &mut dyn Probe,
) {
    let (image, text) = out.split_at_mut(out.len() - prompt.len() * c.d_model);
    let input = acts.input(exec, image_tokens, &[projector]);
    linear(exec, projector, &input, image);
    probe.look(Tap::ImageFeatures, image, c.d_model);
    for (&id, row) in prompt.iter().zip(text.chunks_exact_mut(c.d_model)) {
        embed(c, decoder, id, row);
    }
}

/// The scaled embedding of one token; `out` is `[d_model]`.
pub fn embed(c: &TextConfig, w: &DecoderWeights<'_>, id: TokenId, out: &mut [f32]) {
    w.embedding.weights.expand(id as usize, out);
    let scale = libm::sqrtf(c.d_model as f32);
    out.iter_mut().for_each(|x| *x *= scale);
}
