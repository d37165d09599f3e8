//! Hugging Face's tensor names: both generations of them, and which of our tensors each one becomes.
//!
//! | generation | decoder | tower | projector |
//! | --- | --- | --- | --- |
//! | hub | `language_model.model.*` | `vision_tower.*` | `multi_modal_projector.*` |
//! | newer | `model.language_model.*` | `model.vision_tower.*` | `model.multi_modal_projector.*` |
//!
//! The hub's names are the canonical ones here. Layouts need no change: `Linear` weights are stored
//! `[out, in]`, which is our row-major order, and a convolution kernel `[d, 3, 14, 14]` is a row of 588 values
//! in (channel, y, x) order for each output.

use pg_runtime::model::names::TensorRole;
use pg_runtime::model::names::{OUTPUT_NORM, PATCH_EMBEDDING, POSITION_EMBEDDING, POST_NORM, PROJECTOR};
use pg_runtime::model::names::{Part, TOKEN_EMBEDDING, Usage};

/// The output head, which PaliGemma ties to the token table.
pub(crate) const LM_HEAD: &str = "language_model.lm_head.weight";

const DECODER: &str = "language_model.model.";
const TOWER: &str = "vision_tower.vision_model.";

/// The hub's name of the tensor that becomes `role`.
///
/// # Panics
/// If `role` is none of [`pg_runtime::model::names::all`].
pub(crate) fn source_name(role: &TensorRole) -> String {
    let name = role.name.as_str();
    let known = match name {
        TOKEN_EMBEDDING => Some(format!("{DECODER}embed_tokens.weight")),
        OUTPUT_NORM => Some(format!("{DECODER}norm.weight")),
        POSITION_EMBEDDING => Some(format!("{TOWER}embeddings.position_embedding.weight")),
        _ => [
            (PATCH_EMBEDDING, "vision_tower.vision_model.embeddings.patch_embedding"),
            (POST_NORM, "vision_tower.vision_model.post_layernorm"),
            (PROJECTOR, "multi_modal_projector.linear"),
        ]
        .into_iter()
        .find_map(|(ours, theirs)| Some(format!("{theirs}{}", name.strip_prefix(ours)?))),
    };
    known.or_else(|| layer_name(name)).unwrap_or_else(|| panic!("no source for tensor {name}"))
}

fn layer_name(name: &str) -> Option<String> {
    let (prefix, rest) = match name.strip_prefix("v.blk.") {
        Some(rest) => (format!("{TOWER}encoder.layers"), rest),
        None => (format!("{DECODER}layers"), name.strip_prefix("blk.")?),
    };
    let is_tower = name.starts_with("v.");
    let (layer, rest) = rest.split_once('.')?;
    let (what, kind) = rest.split_once('.')?;
    let module = match (what, is_tower) {
        ("attn_q", _) => "self_attn.q_proj",
        ("attn_k", _) => "self_attn.k_proj",
        ("attn_v", _) => "self_attn.v_proj",
        ("attn_out", true) => "self_attn.out_proj",
        ("ln1", true) => "layer_norm1",
        ("ln2", true) => "layer_norm2",
        ("ffn_up", true) => "mlp.fc1",
        ("ffn_down", true) => "mlp.fc2",
        ("attn_output", false) => "self_attn.o_proj",
        ("attn_norm", false) => "input_layernorm",
        ("ffn_norm", false) => "post_attention_layernorm",
        ("ffn_gate", false) => "mlp.gate_proj",
        ("ffn_up", false) => "mlp.up_proj",
        ("ffn_down", false) => "mlp.down_proj",
        _ => return None,
    };
    Some(format!("{prefix}.{layer}.{module}.{kind}"))
}

/// A tensor of decoder layer `i`, by the hub's name.
pub(crate) fn decoder_layer(i: usize) -> String {
    format!("{DECODER}layers.{i}.input_layernorm.weight")
}

/// A tensor of vision layer `i`, by the hub's name.
pub(crate) fn vision_layer(i: usize) -> String {
    format!("{TOWER}encoder.layers.{i}.layer_norm1.weight")
}

/// The shape of `role` in a checkpoint, outermost first.
pub(crate) fn source_shape(role: &TensorRole, patch_size: usize) -> Vec<usize> {
    match (role.name.strip_prefix(PATCH_EMBEDDING), role.dims.as_slice()) {
        (Some(".weight"), &[_, d_model]) => vec![d_model, 3, patch_size, patch_size],
        (_, dims) => dims.iter().rev().copied().collect(),
    }
}

/// Whether `role` is a Gemma RMSNorm, whose checkpoint holds `w` where the model multiplies by `1 + w`. A model
/// file holds the factor itself, which is GGUF's convention.
pub(crate) fn is_offset_norm(role: &TensorRole) -> bool {
    role.part == Part::Decoder && role.usage == Usage::Values
}

/// The hub's name for a name of either generation.
pub(crate) fn canonical(name: &str) -> String {
    if name == "lm_head.weight" || name == "model.lm_head.weight" {
        return LM_HEAD.into();
    }
    match name.strip_prefix("model.") {
        Some(rest) => match rest.strip_prefix("language_model.") {
            Some(inner) if !inner.starts_with("model.") => format!("{DECODER}{inner}"),
            _ => rest.into(),
        },
        None => name.into(),
    }
}

/// Tensors that some checkpoints carry and that have no influence: index buffers, rotary frequencies (computed
/// from config.json) and SigLIP's pooling head, which PaliGemma does not use.
pub(crate) fn is_harmless(canonical: &str) -> bool {
    canonical.ends_with(".position_ids")
        || canonical.ends_with(".rotary_emb.inv_freq")
        || canonical.starts_with("vision_tower.vision_model.head.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pg_runtime::model::names;
    use pg_runtime::model::{Config, TextConfig, VisionConfig};
    use std::collections::BTreeSet;

    fn config() -> Config {
        Config {
            vision: VisionConfig {
                image_size: 28,
                patch_size: 14,
                d_model: 8,
                n_layers: 2,
                n_heads: 2,
                d_ff: 12,
                norm_eps: 1e-6,
            },
            text: TextConfig {
                n_vocab: 10,
                d_model: 6,
                n_layers: 2,
                n_heads: 2,
                n_kv_heads: 1,
                d_head: 4,
                d_ff: 14,
                norm_eps: 1e-6,
                rope_base: 1e4,
                n_context: 64,
            },
        }
    }

    #[test]
    fn every_tensor_has_its_own_source() {
        let roles = names::all(&config());
        let sources: BTreeSet<String> = roles.iter().map(source_name).collect();
        assert_eq!(sources.len(), roles.len());
        for expected in [
            "language_model.model.embed_tokens.weight",
            "language_model.model.layers.1.post_attention_layernorm.weight",
            "language_model.model.layers.0.mlp.up_proj.weight",
            "vision_tower.vision_model.encoder.layers.1.mlp.fc1.bias",
            "vision_tower.vision_model.encoder.layers.0.self_attn.out_proj.weight",
            "vision_tower.vision_model.embeddings.patch_embedding.weight",
            "multi_modal_projector.linear.bias",
        ] {
            assert!(sources.contains(expected), "{expected} in {sources:#?}");
        }
    }

    #[test]
    fn shapes_are_the_checkpoints() {
        let roles = names::all(&config());
        let shape = |name: &str| {
            let role = roles.iter().find(|r| source_name(r) == name).unwrap();
            source_shape(role, 14)
        };
        assert_eq!(shape("vision_tower.vision_model.embeddings.patch_embedding.weight"), [8, 3, 14, 14]);
        assert_eq!(shape("vision_tower.vision_model.embeddings.patch_embedding.bias"), [8]);
        assert_eq!(shape("vision_tower.vision_model.embeddings.position_embedding.weight"), [4, 8]);
        assert_eq!(shape("language_model.model.layers.0.mlp.down_proj.weight"), [6, 14]);
    }

    #[test]
    fn both_generations_have_one_canonical_name() {
        for (newer, hub) in [
            ("model.language_model.embed_tokens.weight", "language_model.model.embed_tokens.weight"),
            (
                "model.language_model.layers.0.mlp.up_proj.weight",
                "language_model.model.layers.0.mlp.up_proj.weight",
            ),
            (
                "model.vision_tower.vision_model.post_layernorm.bias",
                "vision_tower.vision_model.post_layernorm.bias",
            ),
            ("model.multi_modal_projector.linear.weight", "multi_modal_projector.linear.weight"),
            ("lm_head.weight", LM_HEAD),
        ] {
            assert_eq!(canonical(newer), hub);
            assert_eq!(canonical(hub), hub);
        }
    }
}
