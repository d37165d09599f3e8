//! Gemma 1: the prefix in one pass, then one token at a time.
//!
//! Follows big_vision's `gemma.py`: RMSNorm with weights 1 + w, rotary embedding of half-split pairs, multi-query
//! attention, `down(gelu(gate(x)) * up(x))`, no biases. Positions of the prefix all see each other; a later token
//! sees everything before it. Neither case needs a mask: a pass attends to all keys that are in the cache.

mod kv_cache;

pub use kv_cache::{KvCache, KvPrecision};

use crate::memory::{Carver, Region};
use crate::model::{DecoderLayer, DecoderWeights, TextConfig};
use crate::ops::{Activations, Exec, Heads, MLP_CHUNK, Rope, attention, linear};
use crate::prefix::embed;
use crate::probe::{Probe, Tap};
use crate::tokenizer::TokenId;

/// Everything that changes during a run.
#[derive(Debug)]
pub struct DecoderState {
    /// `[n, d_model]`: the residual stream; the prefix is written here.
    pub x: Region<f32>,
    /// `[n, d_model]`
    normed: Region<f32>,
    /// `[n, n_heads * d_head]`
    q: Region<f32>,
    /// `[n, n_kv_heads * d_head]`
    k: Region<f32>,
    /// `[n, n_kv_heads * d_head]`
    v: Region<f32>,
    /// `[n, n_heads * d_head]`
    attended: Region<f32>,
    /// `[n, d_model]`: what is added to the residual stream.
    branch: Region<f32>,
    /// `[MLP_CHUNK, d_ff]`
    gate: Region<f32>,
    /// `[MLP_CHUNK, d_ff]`
    up: Region<f32>,
    /// `[n_vocab]`
    logits: Region<f32>,
    cache: KvCache,
    rope: Rope,
    /// Positions in the cache.
    n: usize,
}

/// What a session asks room for.
#[derive(Debug, Clone, Copy)]
pub struct DecoderSizes {
    /// Longest prefix.
    pub n_prefix: usize,
    /// Longest prefix and answer together.
    pub n_positions: usize,
    /// How the cache is kept.
    pub kv: KvPrecision,
}

impl DecoderState {
    /// Takes the arrays from `carver`.
    pub fn carve(carver: &mut Carver, c: &TextConfig, sizes: DecoderSizes) -> Self {
        let n = sizes.n_prefix;
        let (d_q, d_kv) = (c.n_heads * c.d_head, c.n_kv_heads * c.d_head);
        let chunk = n.min(MLP_CHUNK);
        DecoderState {
            x: carver.region("decoder.residual", n * c.d_model),
            normed: carver.region("decoder.normed", n * c.d_model),
            q: carver.region("decoder.queries", n * d_q),
            k: carver.region("decoder.keys", n * d_kv),
            v: carver.region("decoder.values", n * d_kv),
            attended: carver.region("decoder.attended", n * d_q),
            branch: carver.region("decoder.branch", n * c.d_model),
            gate: carver.region("decoder.gate", chunk * c.d_ff),
            up: carver.region("decoder.up", chunk * c.d_ff),
            logits: carver.region("decoder.logits", c.n_vocab),
            cache: KvCache::carve(carver, sizes.kv, c.n_layers, sizes.n_positions, d_kv),
            rope: Rope::carve(carver, sizes.n_positions, c.d_head),
            n: 0,
        }
    }

    /// Computes what never changes; call once after carving.
    pub fn set_up(&mut self, c: &TextConfig) {
        self.rope.fill(c.rope_base);
    }

    /// Most values that any product of the decoder takes as input.
    pub fn activation_values(c: &TextConfig, n_prefix: usize) -> usize {
        let room = Activations::values;
        room(n_prefix, c.d_model)
            .max(room(n_prefix, c.n_heads * c.d_head))
            .max(room(n_prefix.min(MLP_CHUNK), c.d_ff))
    }

    /// Makes `n` positions of the cache count, whatever they hold: the next token stands after them.
    pub fn seek(&mut self, n: usize) {
        self.n = n;
    }

    /// The scores of every token for the next position.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }
}

/// Runs the prefix, whose `n` embeddings stand in `s.x`, and leaves the scores of the first answer token.
pub fn prefill(
    c: &TextConfig,
    w: &DecoderWeights<'_>,
    s: &mut DecoderState,
    n: usize,
    exec: &mut Exec,
    acts: &mut Activations,
    probe: &mut dyn Probe,
) {
    s.n = 0;
    layers(c, w, s, n, exec, acts, probe);
    if probe.wants_everything() {
        rms_norm(c, w.output_norm, &s.x, &mut s.normed[..n * c.d_model], exec);
        probe.look(Tap::Hidden(c.n_layers), &s.normed[..n * c.d_model], c.d_model);
    }
    head(c, w, s, n - 1, exec, acts, probe);
}

/// Runs one more token and leaves the scores of the one after it.
pub fn step(
    c: &TextConfig,
    w: &DecoderWeights<'_>,
    s: &mut DecoderState,
    id: TokenId,
    exec: &mut Exec,
    acts: &mut Activations,
    probe: &mut dyn Probe,
) {
    embed(c, w, id, &mut s.x[..c.d_model]);
    layers(c, w, s, 1, exec, acts, &mut crate::probe::Unwatched);
    head(c, w, s, 0, exec, acts, probe);
}

/// All layers over the first `n` rows of `s.x`, which stand at the positions after those in the cache.
fn layers(
    c: &TextConfig,
    w: &DecoderWeights<'_>,
    s: &mut DecoderState,
    n: usize,
    exec: &mut Exec,
    acts: &mut Activations,
    probe: &mut dyn Probe,
) {
    for (i, layer) in w.layers.iter().enumerate() {
        probe.look(Tap::Hidden(i), &s.x[..n * c.d_model], c.d_model);
        attend(c, i, layer, s, n, exec, acts);
        mlp(c, layer, s, n, exec, acts);
    }
    s.n += n;
}

/// `x += output(attention(norm(x)))`
fn attend(
    c: &TextConfig,
    i: usize,
    w: &DecoderLayer<'_>,
    s: &mut DecoderState,
    n: usize,
    exec: &mut Exec,
    acts: &mut Activations,
) {
    let (d_q, d_kv) = (c.n_heads * c.d_head, c.n_kv_heads * c.d_head);
    let (q, k, v) = (&mut s.q[..n * d_q], &mut s.k[..n * d_kv], &mut s.v[..n * d_kv]);
    rms_norm(c, w.attn_norm, &s.x, &mut s.normed[..n * c.d_model], exec);
    let input = acts.input(exec, &s.normed[..n * c.d_model], &w.q);
    linear(exec, &w.q, &input, q);
    linear(exec, &w.k, &input, k);
    linear(exec, &w.v, &input, v);
    s.rope.apply(exec, q, d_q, s.n);
    s.rope.apply(exec, k, d_kv, s.n);
    s.cache.put(exec.kernels(), i, s.n, k, v);

    let heads = Heads { n: c.n_heads, n_kv: c.n_kv_heads, d: c.d_head };
    let (cache, seen) = (&s.cache, s.n + n);
    attention(exec, &heads, q, |h| cache.head(i, seen, h, c.d_head), &mut s.attended[..n * d_q]);
    let input = acts.input(exec, &s.attended[..n * d_q], &w.output);
    linear(exec, &w.output, &input, &mut s.branch);
    exec.add(&mut s.x[..n * c.d_model], &s.branch, c.d_model);
}

/// `x += down(gelu(gate(norm(x))) * up(norm(x)))`
fn mlp(
    c: &TextConfig,
    w: &DecoderLayer<'_>,
    s: &mut DecoderState,
    n: usize,
    exec: &mut Exec,
    acts: &mut Activations,
) {
    let (d, width) = (c.d_model, MLP_CHUNK * c.d_model);
    rms_norm(c, w.ffn_norm, &s.x, &mut s.normed[..n * d], exec);
    let chunks = s.normed[..n * d].chunks(width).zip(s.branch[..n * d].chunks_mut(width));
    for (normed, branch) in chunks {
        let n = normed.len() / d;
        let (gate, up) = (&mut s.gate[..n * c.d_ff], &mut s.up[..n * c.d_ff]);
        let input = acts.input(exec, normed, &w.gate);
        linear(exec, &w.gate, &input, gate);
        linear(exec, &w.up, &input, up);
        exec.rows(gate, c.d_ff, |kernels, t, gate| kernels.gelu_mul(gate, &up[t * c.d_ff..][..c.d_ff]));
        let input = acts.input(exec, gate, &w.down);
        linear(exec, &w.down, &input, branch);
    }
    exec.add(&mut s.x[..n * d], &s.branch, d);
}

/// Scores of every token after the position in row `t` of `s.x`.
fn head(
    c: &TextConfig,
    w: &DecoderWeights<'_>,
    s: &mut DecoderState,
    t: usize,
    exec: &mut Exec,
    acts: &mut Activations,
    probe: &mut dyn Probe,
) {
    let normed = &mut s.normed[..c.d_model];
    exec.kernels().rms_norm(&s.x[t * c.d_model..][..c.d_model], w.output_norm, c.norm_eps, normed);
    let input = acts.input(exec, normed, &w.embedding);
    linear(exec, &w.embedding, &input, &mut s.logits);
    probe.look(Tap::Logits, &s.logits, c.n_vocab);
}

fn rms_norm(c: &TextConfig, weight: &[f32], x: &[f32], out: &mut [f32], exec: &mut Exec) {
    exec.rows(out, c.d_model, |kernels, t, out| {
        kernels.rms_norm(&x[t * c.d_model..][..c.d_model], weight, c.norm_eps, out);
    });
}
