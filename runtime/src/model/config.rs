//! The sizes of a PaliGemma, read from a model file's metadata and written to it.

use crate::error::{Error, ModelError};
use crate::format::Container;
#[cfg(feature = "std")]
use crate::format::emit::Metadata;
use alloc::format;

/// What `general.architecture` says in a file that this runtime runs.
pub const ARCHITECTURE: &str = "paligemma";

/// Says that a file's weights are random: such a model can be timed, and its answers mean nothing.
pub const SYNTHETIC: &str = "paligemma.synthetic";

/// Sizes of the whole model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// The picture side: SigLIP.
    pub vision: VisionConfig,
    /// The language side: Gemma 1.
    pub text: TextConfig,
}

/// Sizes of the SigLIP tower.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VisionConfig {
    /// Side of the square input picture in pixels.
    pub image_size: usize,
    /// Side of a square patch in pixels.
    pub patch_size: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Encoder layers.
    pub n_layers: usize,
    /// Attention heads; each is `d_model / n_heads` wide.
    pub n_heads: usize,
    /// Width of the MLP's hidden layer.
    pub d_ff: usize,
    /// Added to the variance in every LayerNorm.
    pub norm_eps: f32,
}

/// Sizes of the Gemma decoder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextConfig {
    /// Rows of the embedding table: every token that can be read or generated.
    pub n_vocab: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Decoder layers.
    pub n_layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key/value heads.
    pub n_kv_heads: usize,
    /// Width of one head.
    pub d_head: usize,
    /// Width of the MLP's hidden layer.
    pub d_ff: usize,
    /// Added to the mean square in every RMSNorm.
    pub norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
    /// Most positions (image, prompt and answer together).
    pub n_context: usize,
}

impl VisionConfig {
    /// Image tokens: patches of the square picture.
    pub fn n_patches(&self) -> usize {
        (self.image_size / self.patch_size).pow(2)
    }

    /// Values of one patch: three channels.
    pub fn patch_values(&self) -> usize {
        3 * self.patch_size * self.patch_size
    }

    /// Width of one attention head.
    pub fn d_head(&self) -> usize {
        self.d_model / self.n_heads
    }
}

/// Largest of any single size; keeps every product of two of them far from overflow.
const MAX_SIZE: usize = 1 << 20;
/// Most layers of either side: the list of tensors that a file is compared with grows with it.
const MAX_LAYERS: usize = 512;

impl Config {
    /// Reads the sizes of a file that passed [`Config::check_architecture`].
    ///
    /// # Errors
    /// A key that is missing, of the wrong type or zero, or sizes that contradict each other.
    pub fn from_container(file: &Container<'_>) -> Result<Self, Error> {
        let size = |key: &str| file.u32(key).map(|n| n as usize);
        let config = Config {
            vision: VisionConfig {
                image_size: size("paligemma.vision.image_size")?,
                patch_size: size("paligemma.vision.patch_size")?,
                d_model: size("paligemma.vision.embedding_length")?,
                n_layers: size("paligemma.vision.block_count")?,
                n_heads: size("paligemma.vision.attention.head_count")?,
                d_ff: size("paligemma.vision.feed_forward_length")?,
                norm_eps: file.f32("paligemma.vision.attention.layer_norm_epsilon")?,
            },
            text: TextConfig {
                n_vocab: size("paligemma.vocab_size")?,
                d_model: size("paligemma.embedding_length")?,
                n_layers: size("paligemma.block_count")?,
                n_heads: size("paligemma.attention.head_count")?,
                n_kv_heads: size("paligemma.attention.head_count_kv")?,
                d_head: size("paligemma.attention.key_length")?,
                d_ff: size("paligemma.feed_forward_length")?,
                norm_eps: file.f32("paligemma.attention.layer_norm_rms_epsilon")?,
                rope_base: file.f32("paligemma.rope.freq_base")?,
                n_context: size("paligemma.context_length")?,
            },
        };
        config.check()?;
        Ok(config)
    }

    /// Refuses a file of another kind of model.
    ///
    /// # Errors
    /// [`ModelError::Architecture`], or a missing key.
    pub fn check_architecture(file: &Container<'_>) -> Result<(), Error> {
        match file.text("general.architecture")? {
            ARCHITECTURE => Ok(()),
            other => Err(ModelError::Architecture(other.into()).into()),
        }
    }

    /// Writes the sizes under the keys that [`Config::from_container`] reads.
    #[cfg(feature = "std")]
    pub fn emit(&self, m: &mut Metadata) {
        let Config { vision: v, text: t } = self;
        let mut size = |key: &str, n: usize| m.u32(key, n as u32);
        size("paligemma.context_length", t.n_context);
        size("paligemma.embedding_length", t.d_model);
        size("paligemma.block_count", t.n_layers);
        size("paligemma.feed_forward_length", t.d_ff);
        size("paligemma.attention.head_count", t.n_heads);
        size("paligemma.attention.head_count_kv", t.n_kv_heads);
        size("paligemma.attention.key_length", t.d_head);
        size("paligemma.attention.value_length", t.d_head);
        size("paligemma.vocab_size", t.n_vocab);
        size("paligemma.vision.image_size", v.image_size);
        size("paligemma.vision.patch_size", v.patch_size);
        size("paligemma.vision.embedding_length", v.d_model);
        size("paligemma.vision.block_count", v.n_layers);
        size("paligemma.vision.feed_forward_length", v.d_ff);
        size("paligemma.vision.attention.head_count", v.n_heads);
        size("paligemma.vision.projection_dim", t.d_model);
        m.f32("paligemma.attention.layer_norm_rms_epsilon", t.norm_eps);
        m.f32("paligemma.rope.freq_base", t.rope_base);
        m.f32("paligemma.vision.attention.layer_norm_epsilon", v.norm_eps);
    }

    /// Refuses sizes that no code of this crate is meant to run.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the sizes.
    pub fn check(&self) -> Result<(), ModelError> {
        let Config { vision: v, text: t } = self;
        let sizes = [
            ("image size", v.image_size),
            ("patch size", v.patch_size),
            ("vision width", v.d_model),
            ("vision layers", v.n_layers),
            ("vision heads", v.n_heads),
            ("vision MLP width", v.d_ff),
            ("vocabulary", t.n_vocab),
            ("decoder width", t.d_model),
            ("decoder layers", t.n_layers),
            ("decoder heads", t.n_heads),
            ("decoder key/value heads", t.n_kv_heads),
            ("decoder head width", t.d_head),
            ("decoder MLP width", t.d_ff),
            ("context", t.n_context),
        ];
        let refuse = |reason| Err(ModelError::Config { reason });
        if let Some((name, n)) = sizes.into_iter().find(|&(_, n)| n == 0 || n > MAX_SIZE) {
            return refuse(format!("{name} is {n}, expected 1 to {MAX_SIZE}"));
        }
        let layers = [("vision layers", v.n_layers), ("decoder layers", t.n_layers)];
        if let Some((name, n)) = layers.into_iter().find(|&(_, n)| n > MAX_LAYERS) {
            return refuse(format!("{name} is {n}, expected 1 to {MAX_LAYERS}"));
        }
        if v.image_size % v.patch_size != 0 {
            return refuse(format!("picture of {} in patches of {}", v.image_size, v.patch_size));
        }
        if v.d_model % v.n_heads != 0 {
            return refuse(format!("vision width {} in {} heads", v.d_model, v.n_heads));
        }
        if t.n_heads % t.n_kv_heads != 0 {
            return refuse(format!("{} query heads over {} key/value heads", t.n_heads, t.n_kv_heads));
        }
        if t.d_head % 2 != 0 {
            return refuse(format!("decoder head width {} is odd, rotary embedding needs pairs", t.d_head));
        }
        if v.n_patches() >= t.n_context {
            return refuse(format!("{} image tokens in a context of {}", v.n_patches(), t.n_context));
        }
        for (name, eps) in [("vision", v.norm_eps), ("decoder", t.norm_eps)] {
            if !(eps > 0.0 && eps < 1.0) {
                return refuse(format!("{name} norm epsilon {eps}"));
            }
        }
        if !(t.rope_base > 1.0 && t.rope_base.is_finite()) {
            return refuse(format!("rotary base {}", t.rope_base));
        }
        Ok(())
    }
}
