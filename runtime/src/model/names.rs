//! Every tensor of a model: its name in the file, its shape and what it is for.
//!
//! The packer writes this list and [`super::Model`] demands it, so the two cannot drift apart. Names follow
//! llama.cpp's conventions for the decoder (`blk.N.…`) and for vision towers (`v.…`, `mm.…`).

use super::config::Config;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// A tensor that the model consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorRole {
    /// Its name in the file.
    pub name: String,
    /// Sizes, innermost first, without padding.
    pub dims: Vec<usize>,
    /// The part of the model it belongs to.
    pub part: Part,
    /// How it is used, which decides how it may be stored.
    pub usage: Usage,
}

/// Parts of the model, as reports group them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// SigLIP.
    Vision,
    /// The linear map from vision to decoder width.
    Projector,
    /// The token table, which is the output head as well.
    Embedding,
    /// Gemma's layers.
    Decoder,
}

/// How a tensor is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Rows multiplied with activations, or looked up: any weight format.
    Matrix,
    /// Norm weights, biases and position embeddings, added or multiplied value by value: f32.
    Values,
}

/// The token table.
pub const TOKEN_EMBEDDING: &str = "token_embd.weight";
/// The decoder's last norm.
pub const OUTPUT_NORM: &str = "output_norm.weight";
/// The patch embedding; rows are flattened (channel, y, x) kernels.
pub const PATCH_EMBEDDING: &str = "v.patch_embd";
/// The learned position embedding.
pub const POSITION_EMBEDDING: &str = "v.position_embd.weight";
/// The tower's last norm.
pub const POST_NORM: &str = "v.post_ln";
/// The projector.
pub const PROJECTOR: &str = "mm.input_projection";

/// Name of a matrix or vector of decoder layer `i`, such as `attn_q`.
pub fn decoder(i: usize, what: &str) -> String {
    format!("blk.{i}.{what}.weight")
}

/// Name of a pair (`.weight`, `.bias`) of vision layer `i`, such as `attn_q`.
pub fn vision(i: usize, what: &str) -> String {
    format!("v.blk.{i}.{what}")
}

/// All tensors of a model of these sizes, in the order in which the file holds them (that of their use).
pub fn all(c: &Config) -> Vec<TensorRole> {
    let (v, t) = (&c.vision, &c.text);
    let mut list = List(Vec::new());

    list.linear(PATCH_EMBEDDING, v.patch_values(), v.d_model, Part::Vision);
    list.add(POSITION_EMBEDDING.into(), vec![v.d_model, v.n_patches()], Part::Vision, Usage::Values);
    for i in 0..v.n_layers {
        list.norm(&vision(i, "ln1"), v.d_model);
        for name in ["attn_q", "attn_k", "attn_v", "attn_out"] {
            list.linear(&vision(i, name), v.d_model, v.d_model, Part::Vision);
        }
        list.norm(&vision(i, "ln2"), v.d_model);
        list.linear(&vision(i, "ffn_up"), v.d_model, v.d_ff, Part::Vision);
        list.linear(&vision(i, "ffn_down"), v.d_ff, v.d_model, Part::Vision);
    }
    list.norm(POST_NORM, v.d_model);
    list.linear(PROJECTOR, v.d_model, t.d_model, Part::Projector);

    list.add(TOKEN_EMBEDDING.into(), vec![t.d_model, t.n_vocab], Part::Embedding, Usage::Matrix);
    let (d_q, d_kv) = (t.n_heads * t.d_head, t.n_kv_heads * t.d_head);
    for i in 0..t.n_layers {
        list.decoder_norm(decoder(i, "attn_norm"), t.d_model);
        for (name, k, rows) in [
            ("attn_q", t.d_model, d_q),
            ("attn_k", t.d_model, d_kv),
            ("attn_v", t.d_model, d_kv),
            ("attn_output", d_q, t.d_model),
        ] {
            list.add(decoder(i, name), vec![k, rows], Part::Decoder, Usage::Matrix);
        }
        list.decoder_norm(decoder(i, "ffn_norm"), t.d_model);
        for (name, k, rows) in
            [("ffn_gate", t.d_model, t.d_ff), ("ffn_up", t.d_model, t.d_ff), ("ffn_down", t.d_ff, t.d_model)]
        {
            list.add(decoder(i, name), vec![k, rows], Part::Decoder, Usage::Matrix);
        }
    }
    list.decoder_norm(OUTPUT_NORM.into(), t.d_model);
    list.0
}

struct List(Vec<TensorRole>);

impl List {
    fn add(&mut self, name: String, dims: Vec<usize>, part: Part, usage: Usage) {
        self.0.push(TensorRole { name, dims, part, usage });
    }

    fn linear(&mut self, name: &str, k: usize, rows: usize, part: Part) {
        self.add(format!("{name}.weight"), vec![k, rows], part, Usage::Matrix);
        self.add(format!("{name}.bias"), vec![rows], part, Usage::Values);
    }

    fn norm(&mut self, name: &str, d: usize) {
        self.add(format!("{name}.weight"), vec![d], Part::Vision, Usage::Values);
        self.add(format!("{name}.bias"), vec![d], Part::Vision, Usage::Values);
    }

    fn decoder_norm(&mut self, name: String, d: usize) {
        self.add(name, vec![d], Part::Decoder, Usage::Values);
    }
}
