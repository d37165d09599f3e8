//! SigLIP-So400m: a picture's patches to image tokens.
//!
//! Follows big_vision's `vit.py` with `pool_type="none"`: patch embedding with bias, learned positions, pre-norm
//! blocks, GELU in its tanh form, a last norm, no pooling.

use crate::kernels::{KvRows, KvSlice};
use crate::memory::{Carver, Region};
use crate::model::{LayerNorm, VisionConfig, VisionLayer, VisionWeights};
use crate::ops::{Activations, Exec, Heads, MLP_CHUNK, attention, linear};
use crate::probe::{Probe, Tap};

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
    /// `[n, d_model]`: attention's result, or what is added to the residual stream.
    branch: Region<f32>,
    /// `[MLP_CHUNK, d_ff]`
    hidden: Region<f32>,
}

impl VisionBuffers {
    /// Takes the arrays from `carver`.
    pub fn carve(carver: &mut Carver, c: &VisionConfig) -> Self {
        let n = c.n_patches();
        let mut stream = |name| carver.region(name, n * c.d_model);
        let x = stream("vision.residual");
        let normed = stream("vision.normed");
        let qkv = ["vision.queries", "vision.keys", "vision.values"].map(&mut stream);
        let branch = stream("vision.branch");
        VisionBuffers {
            patches: carver.region("vision.patches", n * c.patch_values()),
            x,
            normed,
            qkv,
            branch,
            hidden: carver.region("vision.hidden", n.min(MLP_CHUNK) * c.d_ff),
        }
    }

    /// Most values that any product of the tower takes as input.
    pub fn activation_values(c: &VisionConfig) -> usize {
        let n = c.n_patches();
        let room = Activations::values;
        room(n, c.patch_values()).max(room(n, c.d_model)).max(room(n.min(MLP_CHUNK), c.d_ff))
    }
}

/// Turns `b.patches` into image tokens, `[n, d_model]`.
pub fn encode<'b>(
    c: &VisionConfig,
    w: &VisionWeights<'_>,
    b: &'b mut VisionBuffers,
    exec: &mut Exec,
    acts: &mut Activations,
    probe: &mut dyn Probe,
) -> &'b [f32] {
    probe.look(Tap::Patches, &b.patches, c.patch_values());
    let input = acts.input(exec, &b.patches, &[&w.patch_embedding]);
    linear(exec, &w.patch_embedding, &input, &mut b.x);
    exec.add(&mut b.x, w.position_embedding, c.d_model);
    for layer in &w.layers {
        attend(c, layer, b, exec, acts);
        mlp(c, layer, b, exec, acts);
    }
    layer_norm(c, &w.post_norm, &b.x, &mut b.normed, exec);
    probe.look(Tap::VisionLastHidden, &b.normed, c.d_model);
    &b.normed
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
    attention(exec, &heads, q, kv, &mut [], &mut b.normed);
    let input = acts.input(exec, &b.normed, &[&w.out]);
    linear(exec, &w.out, &input, &mut b.branch);
    exec.add(&mut b.x, &b.branch, d);
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
    for (normed, branch) in b.normed.chunks(MLP_CHUNK * d).zip(b.branch.chunks_mut(MLP_CHUNK * d)) {
        let hidden = &mut b.hidden[..normed.len() / d * c.d_ff];
        let input = acts.input(exec, normed, &[&w.up]);
        linear(exec, &w.up, &input, hidden);
        exec.rows(hidden, c.d_ff, |kernels, _, row| kernels.gelu(row));
        let input = acts.input(exec, hidden, &[&w.down]);
        linear(exec, &w.down, &input, branch);
    }
    exec.add(&mut b.x, &b.branch, d);
}

fn layer_norm(c: &VisionConfig, w: &LayerNorm<'_>, x: &[f32], out: &mut [f32], exec: &mut Exec) {
    exec.rows(out, c.d_model, |kernels, t, out| {
        kernels.layer_norm(&x[t * c.d_model..][..c.d_model], w.weight, w.bias, c.norm_eps, out);
    });
}
