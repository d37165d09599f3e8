//! Multiplications and bytes of each stage, from the sizes alone: all counts of this crate.

use crate::decoder::KvPrecision;
use crate::format::WeightFormat;
use crate::model::names::{self, Part, Usage};
use crate::model::{Config, Header, TextConfig, VisionConfig};
use alloc::collections::BTreeMap;
use alloc::string::String;

/// Multiplications (each with an addition) of one stage. Norms, activations and rotations are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Macs {
    /// In products with weights.
    pub matrices: u64,
    /// Of queries with keys and scores with values.
    pub attention: u64,
}

impl Macs {
    /// Both.
    pub fn total(self) -> u64 {
        self.matrices + self.attention
    }
}

/// The vision tower over one picture.
pub fn vision(c: &VisionConfig) -> Macs {
    let [n, d, ff, patch] = [c.n_patches(), c.d_model, c.d_ff, c.patch_values()].map(|x| x as u64);
    let layers = c.n_layers as u64;
    Macs { matrices: n * (patch * d + layers * (4 * d * d + 2 * d * ff)), attention: layers * 2 * n * n * d }
}

/// The projector over one picture.
pub fn projector(c: &Config) -> u64 {
    (c.vision.n_patches() * c.vision.d_model * c.text.d_model) as u64
}

/// One row through all layers of the decoder, attention and output head left out.
pub fn decoder_row(c: &TextConfig) -> u64 {
    let d = c.d_model;
    let layer = 2 * d * (c.n_heads + c.n_kv_heads) * c.d_head + 3 * d * c.d_ff;
    (c.n_layers * layer) as u64
}

/// The output head for one row.
pub fn head(c: &TextConfig) -> u64 {
    (c.d_model * c.n_vocab) as u64
}

/// A prefix of `n` rows, the scores of one token included.
pub fn prefill(c: &TextConfig, n: usize) -> Macs {
    Macs { matrices: n as u64 * decoder_row(c) + head(c), attention: attention(c, n, n) }
}

/// One token after `depth` others.
pub fn step(c: &TextConfig, depth: usize) -> Macs {
    Macs { matrices: decoder_row(c) + head(c), attention: attention(c, 1, depth + 1) }
}

fn attention(c: &TextConfig, queries: usize, keys: usize) -> u64 {
    (c.n_layers * 2 * c.n_heads * c.d_head) as u64 * queries as u64 * keys as u64
}

/// Bytes read for one token after `depth` others: the decoder's tensors and the output head, as the file stores them, and
/// keys and values.
pub fn bytes_per_token(model: &Header, depth: usize, kv: KvPrecision) -> u64 {
    let c = &model.config().text;
    let parts: BTreeMap<String, Part> =
        names::all(model.config()).into_iter().map(|r| (r.name, r.part)).collect();
    let read = |name: &str| matches!(parts.get(name), Some(Part::Decoder | Part::Embedding));
    let weights: usize = model.tensors().filter(|t| read(&t.name)).map(|t| t.bytes.len()).sum();
    let value = match kv {
        KvPrecision::F32 => 4,
        KvPrecision::F16 => 2,
    };
    weights as u64 + (2 * c.n_layers * (depth + 1) * c.n_kv_heads * c.d_head * value) as u64
}

/// The format of most weights of a part of the model.
pub fn format(model: &Header, part: Part) -> Option<WeightFormat> {
    let mut weights: BTreeMap<WeightFormat, usize> = BTreeMap::new();
    let roles = names::all(model.config()).into_iter();
    let matrices: BTreeMap<String, usize> = roles
        .filter(|r| r.part == part && r.usage == Usage::Matrix)
        .map(|r| (r.name, r.dims.iter().product()))
        .collect();
    for t in model.tensors() {
        if let Some(n) = matrices.get(&t.name) {
            *weights.entry(t.format).or_default() += n;
        }
    }
    weights.into_iter().max_by_key(|(_, n)| *n).map(|(format, _)| format)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Google's paligemma-3b at 224 and 448 pixels.
    fn config(image_size: usize) -> Config {
        Config {
            vision: VisionConfig {
                image_size,
                patch_size: 14,
                d_model: 1152,
                n_layers: 27,
                n_heads: 16,
                d_ff: 4304,
                norm_eps: 1e-6,
            },
            text: TextConfig {
                n_vocab: 257_152,
                d_model: 2048,
                n_layers: 18,
                n_heads: 8,
                n_kv_heads: 1,
                d_head: 256,
                d_ff: 16_384,
                norm_eps: 1e-6,
                rope_base: 10_000.0,
                n_context: 8192,
            },
        }
    }

    /// In units of 10^9, to one digit after the point.
    fn giga(n: u64) -> f64 {
        (n as f64 / 1e8).round() / 10.0
    }

    #[test]
    fn counts_of_the_released_sizes() {
        let c = config(224);
        let v = vision(&c.vision);
        let patches = 256 * 588 * 1152;
        assert_eq!((giga(v.matrices - patches), giga(v.attention)), (105.2, 4.1));
        assert_eq!(giga(patches + projector(&c)), 0.8);
        assert_eq!(decoder_row(&c.text), 1_981_808_640);
        assert_eq!(head(&c.text), 526_647_296);
        let p = prefill(&c.text, 264);
        assert_eq!(giga(p.matrices - head(&c.text)), 523.2);
        assert_eq!(p.attention, 18 * 2 * 264 * 264 * 2048);
        assert_eq!(step(&c.text, 0).matrices, 1_981_808_640 + 526_647_296);
        assert_eq!(step(&c.text, 299).attention, 18 * 2 * 300 * 2048);
        let large = vision(&config(448).vision);
        assert_eq!((giga(large.matrices - 4 * patches), giga(large.attention)), (420.9, 65.2));
    }
}
