//! Gemma 1: the prefix in one pass, then one token at a time.
//!
//! Follows big_vision's `gemma.py`: RMSNorm with weights 1 + w, rotary embedding of half-split pairs, multi-query
//! attention, `down(gelu(gate(x)) * up(x))`, no biases. Positions of the prefix all see each other; a later token
//! sees everything before it. Neither case needs a mask: a pass attends to all keys that are in the cache.

mod kv_cache;

pub use kv_cache::{KvCache, KvPrecision};

use crate::memory::{Carver, Region};
use crate::model::{DecoderLayer, DecoderWeights, TextConfig};
use crate::ops::{
    Activations, Exec, Heads, Hidden, HiddenWeights, Kinds, Products, Rope, attention, hidden, linear,
    linear_add,
};
use crate::prefix::embed;
use crate::probe::{Probe, Tap};
use crate::tokenizer::TokenId;
use core::ops::{ControlFlow, Range};

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
    /// Attention of one position over parts of the keys.
    attention_parts: Region<f32>,
    hidden: Hidden,
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
    /// What the matrices are.
    pub kinds: Kinds,
    /// How the cache is kept.
    pub kv: KvPrecision,
}

impl DecoderState {
    /// Takes the arrays from `carver`.
    pub fn carve(carver: &mut Carver, c: &TextConfig, sizes: DecoderSizes) -> Self {
        let n = sizes.n_prefix;
        let (d_q, d_kv) = (c.n_heads * c.d_head, c.n_kv_heads * c.d_head);
        DecoderState {
            x: carver.region("decoder.residual", n * c.d_model),
            normed: carver.region("decoder.normed", n * c.d_model),
            q: carver.region("decoder.queries", n * d_q),
            k: carver.region("decoder.keys", n * d_kv),
            v: carver.region("decoder.values", n * d_kv),
            attended: carver.region("decoder.attended", n * d_q),
            attention_parts: carver.region("decoder.attention_parts", attention::parts_len(&heads(c))),
            hidden: Hidden::carve(carver, "decoder.hidden", n, c.d_ff, sizes.kinds),
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
        room(n_prefix, c.d_model).max(room(n_prefix, c.n_heads * c.d_head))
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

/// Runs the prefix, whose `n` embeddings stand in `s.x`, and leaves the scores of the first answer token,
/// unless `probe` ends that between two layers.
pub fn prefill(
    c: &TextConfig,
    w: &DecoderWeights<'_>,
    s: &mut DecoderState,
    n: usize,
    exec: &mut Exec,
    acts: &mut Activations,
    probe: &mut dyn Probe,
) -> ControlFlow<()> {
    s.n = 0;
    layers(c, w, s, n, exec, acts, probe)?;
    if probe.wants_everything() {
        rms_norm(c, w.output_norm, &s.x, &mut s.normed[..n * c.d_model], exec);
        probe.look(Tap::Hidden(c.n_layers), &s.normed[..n * c.d_model], c.d_model);
    }
    head(c, w, s, n - 1, exec, acts, probe);
    ControlFlow::Continue(())
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
    // Short, and never ended: nobody watches.
    let _ = layers(c, w, s, 1, exec, acts, &mut crate::probe::Unwatched);
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
) -> ControlFlow<()> {
    for (i, layer) in w.layers.iter().enumerate() {
        probe.goes_on()?;
        probe.look(Tap::Hidden(i), &s.x[..n * c.d_model], c.d_model);
        // After the last layer only the last position is read: of the others it needs keys and values, no more.
        let is_last = i + 1 == w.layers.len() && !probe.wants_everything();
        let rows = if is_last { n - 1..n } else { 0..n };
        attend(c, i, layer, s, (n, rows.clone()), exec, acts);
        mlp(c, layer, s, rows, exec, acts);
    }
    s.n += n;
    ControlFlow::Continue(())
}

/// `x += output(attention(norm(x)))` for some of the `n` new rows; keys and values of all go to the cache.
fn attend(
    c: &TextConfig,
    i: usize,
    w: &DecoderLayer<'_>,
    s: &mut DecoderState,
    (n, rows): (usize, Range<usize>),
    exec: &mut Exec,
    acts: &mut Activations,
) {
    let (d, d_q, d_kv) = (c.d_model, c.n_heads * c.d_head, c.n_kv_heads * c.d_head);
    let (q, k, v) = (&mut s.q[..rows.len() * d_q], &mut s.k[..n * d_kv], &mut s.v[..n * d_kv]);
    rms_norm(c, w.attn_norm, &s.x, &mut s.normed[..n * d], exec);
    let input = acts.input(exec, &s.normed[..n * d], &[&w.q, &w.k, &w.v]);
    linear(exec, &w.q, &input.rows_from(rows.start), q);
    linear(exec, &w.k, &input, k);
    linear(exec, &w.v, &input, v);
    s.rope.apply(exec, q, d_q, s.n + rows.start);
    s.rope.apply(exec, k, d_kv, s.n);
    s.cache.put(exec.kernels(), i, s.n, k, v);

    let (cache, seen) = (&s.cache, s.n + n);
    let kv = |h| cache.head(i, seen, h, c.d_head);
    let attended = &mut s.attended[..rows.len() * d_q];
    attention(exec, &heads(c), Products::beside(&w.output), q, kv, &mut s.attention_parts, attended);
    let input = acts.input(exec, attended, &[&w.output]);
    linear_add(exec, &w.output, &input, &mut s.x[rows.start * d..rows.end * d]);
}

/// `x += down(gelu(gate(norm(x))) * up(norm(x)))` for some rows.
fn mlp(
    c: &TextConfig,
    w: &DecoderLayer<'_>,
    s: &mut DecoderState,
    rows: Range<usize>,
    exec: &mut Exec,
    acts: &mut Activations,
) {
    let d = c.d_model;
    let x = &mut s.x[rows.start * d..rows.end * d];
    let normed = &mut s.normed[..x.len()];
    rms_norm(c, w.ffn_norm, x, normed, exec);
    for part in hidden::chunks(rows.len()) {
        let part = part.start * d..part.end * d;
        let input = acts.input(exec, &normed[part.clone()], &[&w.gate, &w.up]);
        let layer = s.hidden.fill(exec, HiddenWeights { gate: &w.gate, up: Some(&w.up) }, &input, &w.down);
        linear_add(exec, &w.down, &layer, &mut x[part]);
    }
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
    let input = acts.input(exec, normed, &[&w.embedding]);
    linear(exec, &w.embedding, &input, &mut s.logits);
    probe.look(Tap::Logits, &s.logits, c.n_vocab);
}

fn heads(c: &TextConfig) -> Heads {
    Heads { n: c.n_heads, n_kv: c.n_kv_heads, d: c.d_head }
}

fn rms_norm(c: &TextConfig, weight: &[f32], x: &[f32], out: &mut [f32], exec: &mut Exec) {
    exec.rows(out, c.d_model, |kernels, t, out| {
        kernels.rms_norm(&x[t * c.d_model..][..c.d_model], weight, c.norm_eps, out);
    });
}
