//! Reads a checkpoint's config.json.
//!
//! Files on the hub leave out whatever equals a default, so an absent size means what transformers'
//! `GemmaConfig` and `SiglipVisionConfig` mean by it; an absent section means what `PaliGemmaConfig` means: Gemma
//! 2B and So400m. Tensors are checked against the result, so a wrong guess is refused and never packed.

use crate::error::Error;
use pg_runtime::model::{Config, TextConfig, VisionConfig};
use serde_json::Value;
use std::path::Path;

/// What packing needs to know from config.json.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CheckpointConfig {
    /// The sizes; `n_vocab` is the image token's id, because rows from it on are padding.
    pub(crate) model: Config,
    /// The id that stands for a patch of the picture in Hugging Face's sequences.
    pub(crate) image_token: u32,
}

/// Gemma's sizes: absent keys of a section that is there, and an absent section.
const GEMMA: [(&str, usize, usize); 7] = [
    ("hidden_size", 3072, 2048),
    ("intermediate_size", 24576, 16384),
    ("num_hidden_layers", 28, 18),
    ("num_attention_heads", 16, 8),
    ("num_key_value_heads", 16, 1),
    ("head_dim", 256, 256),
    ("max_position_embeddings", 8192, 8192),
];

/// SigLIP's sizes, likewise.
const SIGLIP: [(&str, usize, usize); 6] = [
    ("hidden_size", 768, 1152),
    ("intermediate_size", 3072, 4304),
    ("num_hidden_layers", 12, 27),
    ("num_attention_heads", 12, 16),
    ("image_size", 224, 224),
    ("patch_size", 16, 14),
];

/// PaliGemma 3B for 224 pixels: what a config.json without any sizes means.
pub(crate) fn paligemma_3b() -> Config {
    let bare = serde_json::json!({"model_type": "paligemma", "image_token_index": 257_152});
    read(&bare, Path::new("config.json")).expect("every size has a default").model
}

/// Checks `json`, the content of `path`.
pub(crate) fn read(json: &Value, path: &Path) -> Result<CheckpointConfig, Error> {
    let bad = |reason: String| Error::bad_file(path, reason);
    if !json.is_object() {
        return Err(bad("is no JSON object".into()));
    }
    refuse_other_models(json, path)?;
    let text = Section::new(json, "text_config").map_err(bad)?;
    let vision = Section::new(json, "vision_config").map_err(bad)?;
    let image_token = image_token(json).map_err(bad)?;
    let model = Config {
        vision: vision_config(&vision).map_err(bad)?,
        text: text_config(&text, image_token as usize).map_err(bad)?,
    };
    model.check().map_err(|e| bad(e.to_string()))?;
    Ok(CheckpointConfig { model, image_token })
}

fn refuse_other_models(json: &Value, path: &Path) -> Result<(), Error> {
    let other = |found: String| Err(Error::OtherModel { path: path.to_path_buf(), found });
    let kind = |v: &Value| v.get("model_type").and_then(Value::as_str).map(str::to_string);
    match kind(json).as_deref() {
        Some("paligemma") => {}
        Some(found) => return other(format!("a \"{found}\" model")),
        None => return other("a model without \"model_type\"".into()),
    }
    match json.get("text_config").and_then(kind).as_deref() {
        None | Some("gemma") => {}
        Some("gemma2") => return other("PaliGemma 2 (its decoder is Gemma 2)".into()),
        Some(found) => return other(format!("a PaliGemma with a \"{found}\" decoder")),
    }
    match json.get("vision_config").and_then(kind).as_deref() {
        None | Some("siglip_vision_model") => Ok(()),
        Some(found) => other(format!("a PaliGemma with a \"{found}\" vision tower")),
    }
}

fn image_token(json: &Value) -> Result<u32, String> {
    let value = ["image_token_index", "image_token_id"].iter().find_map(|k| json.get(k));
    let value =
        value.ok_or("has no \"image_token_index\", without which padding rows cannot be told from tokens")?;
    value.as_u64().and_then(|n| u32::try_from(n).ok()).ok_or_else(|| format!("image_token_index is {value}"))
}

fn text_config(s: &Section<'_>, n_vocab: usize) -> Result<TextConfig, String> {
    s.expect("hidden_act", &["gelu_pytorch_tanh", "gelu"])?;
    s.expect("hidden_activation", &["gelu_pytorch_tanh"])?;
    if s.get("attention_bias").is_some_and(|v| v != false) {
        return Err("text_config.attention_bias is set, PaliGemma's decoder has no biases".into());
    }
    let mut rope_base = s.number("rope_theta", 10_000.0)?;
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(rope) = s.get(key) else { continue };
        let kind = rope.get("rope_type").or_else(|| rope.get("type"));
        if kind.is_some_and(|k| k != "default") {
            return Err(format!("text_config.{key} is {rope}, only plain rotary embedding can be packed"));
        }
        if let Some(base) = rope.get("rope_theta").and_then(Value::as_f64) {
            rope_base = base as f32;
        }
    }
    Ok(TextConfig {
        n_vocab,
        d_model: s.size("hidden_size", &GEMMA)?,
        n_layers: s.size("num_hidden_layers", &GEMMA)?,
        n_heads: s.size("num_attention_heads", &GEMMA)?,
        n_kv_heads: s.size("num_key_value_heads", &GEMMA)?,
        d_head: s.size("head_dim", &GEMMA)?,
        d_ff: s.size("intermediate_size", &GEMMA)?,
        norm_eps: s.number("rms_norm_eps", 1e-6)?,
        rope_base,
        n_context: s.size("max_position_embeddings", &GEMMA)?,
    })
}

fn vision_config(s: &Section<'_>) -> Result<VisionConfig, String> {
    s.expect("hidden_act", &["gelu_pytorch_tanh"])?;
    if s.get("num_channels").is_some_and(|v| v != 3) {
        return Err("vision_config.num_channels is not 3".into());
    }
    Ok(VisionConfig {
        image_size: s.size("image_size", &SIGLIP)?,
        patch_size: s.size("patch_size", &SIGLIP)?,
        d_model: s.size("hidden_size", &SIGLIP)?,
        n_layers: s.size("num_hidden_layers", &SIGLIP)?,
        n_heads: s.size("num_attention_heads", &SIGLIP)?,
        d_ff: s.size("intermediate_size", &SIGLIP)?,
        norm_eps: s.number("layer_norm_eps", 1e-6)?,
    })
}

/// One of the two nested objects; `null` counts as absent, for it and for its values.
struct Section<'a> {
    name: &'static str,
    values: Option<&'a Value>,
}

impl<'a> Section<'a> {
    fn new(json: &'a Value, name: &'static str) -> Result<Self, String> {
        let values = json.get(name).filter(|v| !v.is_null());
        if values.is_some_and(|v| !v.is_object()) {
            return Err(format!("{name} is no JSON object"));
        }
        Ok(Section { name, values })
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.values?.get(key).filter(|v| !v.is_null())
    }

    fn size(&self, key: &str, defaults: &[(&str, usize, usize)]) -> Result<usize, String> {
        let Some(value) = self.get(key) else {
            let (_, in_section, no_section) =
                defaults.iter().find(|(k, ..)| *k == key).expect("every size has a default");
            return Ok(if self.values.is_some() { *in_section } else { *no_section });
        };
        value
            .as_u64()
            .and_then(|n| u32::try_from(n).ok())
            .map(|n| n as usize)
            .ok_or_else(|| format!("{}.{key} is {value}, expected a whole number", self.name))
    }

    fn number(&self, key: &str, default: f32) -> Result<f32, String> {
        match self.get(key) {
            None => Ok(default),
            Some(v) => v
                .as_f64()
                .map(|x| x as f32)
                .ok_or_else(|| format!("{}.{key} is {v}, expected a number", self.name)),
        }
    }

    fn expect(&self, key: &str, known: &[&str]) -> Result<(), String> {
        match self.get(key) {
            Some(v) if !v.as_str().is_some_and(|s| known.contains(&s)) => {
                Err(format!("{}.{key} is {v}, PaliGemma uses gelu_pytorch_tanh", self.name))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(json: &Value) -> Result<CheckpointConfig, String> {
        read(json, Path::new("config.json")).map_err(|e| e.to_string())
    }

    /// The hub's file for google/paligemma-3b-mix-224 in what matters here.
    fn hub() -> Value {
        json!({
            "model_type": "paligemma", "image_token_index": 257152, "vocab_size": 257216,
            "hidden_size": 2048, "projection_dim": 2048,
            "text_config": {
                "model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384,
                "num_attention_heads": 8, "num_hidden_layers": 18, "num_image_tokens": 256,
                "num_key_value_heads": 1, "vocab_size": 257216
            },
            "vision_config": {
                "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304,
                "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14,
                "projector_hidden_act": "gelu_fast", "vision_use_head": false
            }
        })
    }

    #[test]
    fn what_the_hub_leaves_out_has_defaults() {
        let full = parse(&hub()).unwrap();
        let Config { vision, text } = full.model;
        assert_eq!((text.d_head, text.rope_base, text.norm_eps, text.n_context), (256, 10_000.0, 1e-6, 8192));
        assert_eq!((vision.image_size, vision.norm_eps, text.n_vocab), (224, 1e-6, 257_152));
        let bare = json!({"model_type": "paligemma", "image_token_index": 257152});
        assert_eq!((parse(&bare).unwrap(), paligemma_3b()), (full, full.model));
    }

    #[test]
    fn rotary_base_is_found_under_its_newer_name() {
        let mut v = hub();
        v["text_config"]["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 5000.0});
        assert_eq!(parse(&v).unwrap().model.text.rope_base, 5000.0);
        v["text_config"]["rope_parameters"]["rope_type"] = json!("linear");
        assert!(parse(&v).unwrap_err().contains("rotary"));
    }

    #[test]
    fn other_models_and_bad_values_are_named() {
        for (change, message) in [
            (json!({"model_type": "llava"}), "a \"llava\" model"),
            (json!({"text_config": {"model_type": "gemma2"}}), "PaliGemma 2"),
            (json!({"text_config": {"model_type": "llama"}}), "\"llama\" decoder"),
            (json!({"text_config": {"hidden_size": "x"}}), "text_config.hidden_size is \"x\""),
            (json!({"text_config": {"hidden_act": "silu"}}), "silu"),
            (json!({"text_config": 3}), "text_config is no JSON object"),
            (json!({"vision_config": {"hidden_size": 0}}), "vision width is 0"),
            (json!({"image_token_index": -1}), "image_token_index is -1"),
            (json!({"image_token_index": null}), "image_token_index is null"),
        ] {
            let mut v = hub();
            for (key, value) in change.as_object().unwrap() {
                match (v[key].as_object_mut(), value.as_object()) {
                    (Some(old), Some(new)) => old.extend(new.clone()),
                    _ => v[key] = value.clone(),
                }
            }
            let found = parse(&v).unwrap_err();
            assert!(found.contains(message), "{found} does not say {message}");
        }
    }
}
