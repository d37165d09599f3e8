//! SigLIP-So400m: a picture's patches to image tokens.
//!
//! Follows big_vision's `vit.py` with `pool_type="none"`: patch embedding with bias, learned positions, pre-norm
//! blocks, GELU in its tanh form, a last norm, no pooling.

use crate::kernels::{KvRows, KvSlice};
use crate::memory::{Carver, Region};
use crate::model::{LayerNorm, VisionConfig, VisionLayer, VisionWeights};
use crate::ops::{
    Activations, Exec, Heads, Hidden, HiddenWeights, Kinds, Products, attention, hidden, linear, linear_add,
};
use crate::probe::{Probe, Tap};
use core::ops::ControlFlow;

/// Every array between two steps.
#[derive(Debug)]
pub struct VisionBuffers {
    /// `[n, 3 * patch * patch]`: the input, in (channel, y, x) order.
    pub patches: Region<f32>,
    /// `[n, d_model]`: the residual stream, at the end the output.
    x: Region<f32>,
    /// `[n, d_model]`
    normed: Region<f32>,
    /// `[n, d_model]` each
    qkv: [Region<f32>; 3],
    hidden: Hidden,
}

impl VisionBuffers {
    /// Takes the arrays from `carver`, for matrices of these kinds.
    pub fn carve(carver: &mut Carver, c: &VisionConfig, kinds: Kinds) -> Self {
        let n = c.n_patches();
        let mut stream = |name| carver.region(name, n * c.d_model);
        let x = stream("vision.residual");
        let normed = stream("vision.normed");
        let qkv = ["vision.queries", "vision.keys", "vision.values"].map(&mut stream);
        VisionBuffers {
            patches: carver.region("vision.patches", n * c.patch_values()),
            x,
            normed,
            qkv,
            hidden: Hidden::carve(carver, "vision.hidden", n, c.d_ff, kinds),
        }
    }

    /// `[n, d_model]`: what [`encode`] gave last.
    pub fn image_tokens(&self) -> &[f32] {
        &self.normed
    }

    /// Most values that any product of the tower takes as input.
    pub fn activation_values(c: &VisionConfig) -> usize {
        let n = c.n_patches();
        let room = Activations::values;
        room(n, c.patch_values()).max(room(n, c.d_model))
    }
}

/// Turns `b.patches` into [`VisionBuffers::image_tokens`], unless `probe` ends that between two layers.
pub fn encode(
    c: &VisionConfig,
    w: &VisionWeights<'_>,
    b: &mut VisionBuffers,
    exec: &mut Exec,
    acts: &mut Activations,
    probe: &mut dyn Probe,
) -> ControlFlow<()> {
    probe.look(Tap::Patches, &b.patches, c.patch_values());
    let input = acts.input(exec, &b.patches, &[&w.patch_embedding]);
    linear(exec, &w.patch_embedding, &input, &mut b.x);
    exec.add(&mut b.x, w.position_embedding, c.d_model);
    for layer in &w.layers {
        probe.goes_on()?;
        attend(c, layer, b, exec, acts);
        mlp(c, layer, b, exec, acts);
    }
    layer_norm(c, &w.post_norm, &b.x, &mut b.normed, exec);
    probe.look(Tap::VisionLastHidden, &b.normed, c.d_model);
    ControlFlow::Continue(())
}

/// `x += out(attention(norm1(x)))`
fn attend(
    c: &VisionConfig,
    w: &VisionLayer<'_>,
    b: &mut VisionBuffers,
    exec: &mut Exec,
    acts: &mut Activations,
) {
    let d = c.d_model;
    layer_norm(c, &w.norm1, &b.x, &mut b.normed, exec);
    let input = acts.input(exec, &b.normed, &[&w.qkv[0], &w.qkv[1], &w.qkv[2]]);
    for (matrix, out) in w.qkv.iter().zip(&mut b.qkv) {
        linear(exec, matrix, &input, out);
    }
    let [q, k, v] = &b.qkv;
    let d_head = c.d_head();
    let heads = Heads { n: c.n_heads, n_kv: c.n_heads, d: d_head };
    let kv = |h: usize| {
        let at = h * d_head;
        KvSlice::F32(KvRows::new(&k[at..], &v[at..], c.n_patches(), d, d_head))
    };
    attention(exec, &heads, Products::beside(&w.out), q, kv, &mut [], &mut b.normed);
    let input = acts.input(exec, &b.normed, &[&w.out]);
    linear_add(exec, &w.out, &input, &mut b.x);
}

/// `x += down(gelu(up(norm2(x))))`
fn mlp(
    c: &VisionConfig,
    w: &VisionLayer<'_>,
    b: &mut VisionBuffers,
    exec: &mut Exec,
    acts: &mut Activations,
) {
    let d = c.d_model;
    layer_norm(c, &w.norm2, &b.x, &mut b.normed, exec);
    for part in hidden::chunks(c.n_patches()) {
        let part = part.start * d..part.end * d;
        let input = acts.input(exec, &b.normed[part.clone()], &[&w.up]);
        let layer = b.hidden.fill(exec, HiddenWeights { gate: &w.up, up: None }, &input, &w.down);
        linear_add(exec, &w.down, &layer, &mut b.x[part]);
    }
}

fn layer_norm(c: &VisionConfig, w: &LayerNorm<'_>, x: &[f32], out: &mut [f32], exec: &mut Exec) {
    exec.rows(out, c.d_model, |kernels, t, out| {
        kernels.layer_norm(&x[t * c.d_model..][..c.d_model], w.weight, w.bias, c.norm_eps, out);
    });
}
