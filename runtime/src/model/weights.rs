//! Typed views of a model's tensors, borrowed from the file.

use super::{Model, names};
use crate::ops::Matrix;
use alloc::format;
use alloc::vec::Vec;

/// All weights, grouped as the forward pass uses them.
#[derive(Debug)]
pub struct Weights<'m> {
    /// SigLIP.
    pub vision: VisionWeights<'m>,
    /// Vision width to decoder width.
    pub projector: Matrix<'m>,
    /// Gemma.
    pub decoder: DecoderWeights<'m>,
}

/// SigLIP's weights.
#[derive(Debug)]
pub struct VisionWeights<'m> {
    /// `[d_model, 3 * patch * patch]`
    pub patch_embedding: Matrix<'m>,
    /// `[n_patches, d_model]`
    pub position_embedding: &'m [f32],
    /// One entry per layer.
    pub layers: Vec<VisionLayer<'m>>,
    /// The last norm.
    pub post_norm: LayerNorm<'m>,
}

/// Weights of one encoder layer.
#[derive(Debug)]
pub struct VisionLayer<'m> {
    /// Before attention.
    pub norm1: LayerNorm<'m>,
    /// Queries, keys, values: `[d_model, d_model]` each.
    pub qkv: [Matrix<'m>; 3],
    /// `[d_model, d_model]`
    pub out: Matrix<'m>,
    /// Before the MLP.
    pub norm2: LayerNorm<'m>,
    /// `[d_ff, d_model]`
    pub up: Matrix<'m>,
    /// `[d_model, d_ff]`
    pub down: Matrix<'m>,
}

/// Weights of a LayerNorm.
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm<'m> {
    /// `[d_model]`
    pub weight: &'m [f32],
    /// `[d_model]`
    pub bias: &'m [f32],
}

/// Gemma's weights. Norm weights are stored as `1 + w`.
#[derive(Debug)]
pub struct DecoderWeights<'m> {
    /// `[n_vocab, d_model]`: token table and output head.
    pub embedding: Matrix<'m>,
    /// One entry per layer.
    pub layers: Vec<DecoderLayer<'m>>,
    /// `[d_model]`
    pub output_norm: &'m [f32],
}

/// Weights of one decoder layer.
#[derive(Debug)]
pub struct DecoderLayer<'m> {
    /// `[d_model]`
    pub attn_norm: &'m [f32],
    /// `[n_heads * d_head, d_model]`
    pub q: Matrix<'m>,
    /// `[n_kv_heads * d_head, d_model]`
    pub k: Matrix<'m>,
    /// `[n_kv_heads * d_head, d_model]`
    pub v: Matrix<'m>,
    /// `[d_model, n_heads * d_head]`
    pub output: Matrix<'m>,
    /// `[d_model]`
    pub ffn_norm: &'m [f32],
    /// `[d_ff, d_model]`
    pub gate: Matrix<'m>,
    /// `[d_ff, d_model]`
    pub up: Matrix<'m>,
    /// `[d_model, d_ff]`
    pub down: Matrix<'m>,
}

impl<'m> Weights<'m> {
    /// The views of `model`, all of whose tensors were checked when it was opened.
    pub fn of(model: &'m Model) -> Self {
        let linear = |name: &str| Matrix {
            bias: Some(model.values(&format!("{name}.bias"))),
            ..model.matrix(&format!("{name}.weight"))
        };
        let norm = |name: &str| LayerNorm {
            weight: model.values(&format!("{name}.weight")),
            bias: model.values(&format!("{name}.bias")),
        };
        let vision_layer = |i: usize| {
            let part = |what: &str| names::vision(i, what);
            VisionLayer {
                norm1: norm(&part("ln1")),
                qkv: ["attn_q", "attn_k", "attn_v"].map(|what| linear(&part(what))),
                out: linear(&part("attn_out")),
                norm2: norm(&part("ln2")),
                up: linear(&part("ffn_up")),
                down: linear(&part("ffn_down")),
            }
        };
        let decoder_layer = |i: usize| {
            let matrix = |what: &str| model.matrix(&names::decoder(i, what));
            let values = |what: &str| model.values(&names::decoder(i, what));
            DecoderLayer {
                attn_norm: values("attn_norm"),
                q: matrix("attn_q"),
                k: matrix("attn_k"),
                v: matrix("attn_v"),
                output: matrix("attn_output"),
                ffn_norm: values("ffn_norm"),
                gate: matrix("ffn_gate"),
                up: matrix("ffn_up"),
                down: matrix("ffn_down"),
            }
        };
        Weights {
            vision: VisionWeights {
                patch_embedding: linear(names::PATCH_EMBEDDING),
                position_embedding: model.values(names::POSITION_EMBEDDING),
                layers: (0..model.config().vision.n_layers).map(vision_layer).collect(),
                post_norm: norm(names::POST_NORM),
            },
            projector: linear(names::PROJECTOR),
            decoder: DecoderWeights {
                embedding: model.matrix(names::TOKEN_EMBEDDING),
                layers: (0..model.config().text.n_layers).map(decoder_layer).collect(),
                output_norm: model.values(names::OUTPUT_NORM),
            },
        }
    }
}
