//! Which tensor gets which format.

use pg_runtime::format::WeightFormat;
use pg_runtime::model::names::{Part, Usage};

/// What the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preset {
    /// Everything as in the checkpoint, for comparisons.
    F32,
    /// Half precision matrices.
    F16,
    /// 8-bit matrices.
    Q8,
    /// 4-bit decoder, 8-bit elsewhere.
    #[default]
    Q4,
}

impl Preset {
    /// Every preset, in the order of their file sizes.
    pub const ALL: [Preset; 4] = [Preset::F32, Preset::F16, Preset::Q8, Preset::Q4];

    /// The format of tensors of this part and usage: the whole recipe.
    ///
    /// With `Q4` all large matrices get 4 bits: the decoder's layers and the token table, which is the output head too,
    /// are read again for every token, and the tower decides how long the first one takes on a CPU whose 8-bit
    /// products are half as fast. The projector, a thousandth of the weights between the two, keeps 8. Norms, biases
    /// and positions are few and always f32.
    pub fn format(self, part: Part, usage: Usage) -> WeightFormat {
        match (self, part, usage) {
            (_, _, Usage::Values) => WeightFormat::F32,
            (Preset::F32, _, Usage::Matrix) => WeightFormat::F32,
            (Preset::F16, _, Usage::Matrix) => WeightFormat::F16,
            (Preset::Q8, _, Usage::Matrix) => WeightFormat::Q8,
            (Preset::Q4, Part::Decoder | Part::Embedding | Part::Vision, Usage::Matrix) => WeightFormat::Q4,
            (Preset::Q4, Part::Projector, Usage::Matrix) => WeightFormat::Q8,
        }
    }

    /// Its name in options and file names.
    pub const fn name(self) -> &'static str {
        match self {
            Preset::F32 => "f32",
            Preset::F16 => "f16",
            Preset::Q8 => "q8",
            Preset::Q4 => "q4",
        }
    }

    /// GGUF's number for "mostly this type" (`general.file_type`).
    pub const fn file_type(self) -> u32 {
        match self {
            Preset::F32 => 0,
            Preset::F16 => 1,
            Preset::Q4 => 2,
            Preset::Q8 => 7,
        }
    }
}
