//! Model files of random weights in the sizes of the real ones, so that a board can be timed before a checkpoint is
//! fetched.
//!
//! Tensors, formats and metadata are those of a packed checkpoint, and so is the work of a run; what such a model
//! answers means nothing, so the file says that it is synthetic, and so does every report about it. The weights keep
//! activations finite and of order 1: a matrix neither grows nor shrinks what it multiplies, norms change nothing,
//! biases and positions are small.

mod fill;

use self::fill::Random;
use crate::error::Error;
use crate::pack::{Progress, metadata, spec, whole_file};
use crate::recipe::Preset;
use crate::report::{self, Report};
use crate::source::vocabulary::{Piece, Vocabulary};
use crate::source::{demo_vocabulary, paligemma_3b};
use pg_runtime::format::TENSOR_ALIGNMENT;
use pg_runtime::format::emit::{Metadata, TensorSpec, TensorWriter};
use pg_runtime::model::names::{TensorRole, Usage, all};
use pg_runtime::model::{Config, SYNTHETIC, TextConfig, VisionConfig};
use pg_runtime::tokenizer::PieceKind;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

/// Bytes made at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Root mean square of biases and position embeddings.
const SMALL: f32 = 0.02;
/// `<loc0000>` to `<loc1023>` and `<seg000>` to `<seg127>`, the last pieces of any PaliGemma.
const LOC_AND_SEG: usize = 1024 + 128;

/// A model that does not exist until it is written.
#[derive(Debug)]
pub struct Synthetic {
    name: String,
    config: Config,
    vocabulary: Vocabulary,
    seed: u64,
}

impl Synthetic {
    /// What the names of all synthetic models begin with.
    pub const PREFIX: &str = "synthetic-";

    /// The model of this name, if the name is one of a synthetic model: `synthetic-224`, `-448` and `-896` have the
    /// sizes of PaliGemma 3B, `synthetic-small` has its vocabulary and its shape with two narrow layers on each side.
    /// Models of other seeds have other weights.
    pub fn parse(asked: &str, seed: u64) -> Option<Result<Self, Error>> {
        let size = asked.strip_prefix(Self::PREFIX)?;
        let name = asked.to_string();
        let Some(config) = config(size) else { return Some(Err(Error::NoSuchSynthetic { name })) };
        Some(Ok(Synthetic { name, config, vocabulary: vocabulary(config.text.n_vocab), seed }))
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes the model into the file `output`, which appears (or replaces an older one) only when it is complete.
    ///
    /// `progress` is called after every megabyte.
    ///
    /// # Errors
    /// An output that cannot be written. Nothing is left behind then.
    pub fn write(
        &self,
        preset: Preset,
        output: &Path,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Report, Error> {
        let start = Instant::now();
        let failed = |e| Error::io("cannot write", output)(e);
        let (bytes, groups) = whole_file(output, |file| self.emit(preset, file, progress).map_err(failed))?;
        let seconds = start.elapsed().as_secs_f64();
        let output = Some(output.to_path_buf());
        Ok(Report { output, preset, is_synthetic: true, bytes, seconds, groups })
    }

    /// The model's file in memory: for small models and tests.
    pub fn to_vec(&self, preset: Preset) -> Vec<u8> {
        self.emit(preset, Vec::new(), &mut |_| {}).expect("memory takes what it is given").0
    }

    /// What the file begins with, up to its first tensor, and its length in all: enough to plan a run with.
    pub fn beginning(&self, preset: Preset) -> (Vec<u8>, usize) {
        let (metadata, specs) = self.description(preset, &all(&self.config));
        let mut bytes = Vec::new();
        TensorWriter::new(&mut bytes, &metadata, &specs).expect("memory takes what it is given");
        let padded = |s: &TensorSpec| s.bytes().next_multiple_of(TENSOR_ALIGNMENT);
        let length = bytes.len() + specs.iter().map(padded).sum::<usize>();
        (bytes, length)
    }

    fn description(&self, preset: Preset, roles: &[TensorRole]) -> (Metadata, Vec<TensorSpec>) {
        let mut m = metadata(&self.name, &self.config, &self.vocabulary, preset);
        m.bool(SYNTHETIC, true);
        (m, roles.iter().map(|role| spec(role, preset)).collect())
    }

    fn emit<W: Write>(
        &self,
        preset: Preset,
        out: W,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> io::Result<(W, Vec<report::Group>)> {
        let roles = all(&self.config);
        let (metadata, specs) = self.description(preset, &roles);
        let mut writer = TensorWriter::new(out, &metadata, &specs)?;

        let mut groups = Vec::new();
        let mut random = Random::new(self.seed);
        let (mut done, total) = (0, specs.iter().map(|s| s.bytes() as u64).sum());
        for (role, spec) in roles.iter().zip(&specs) {
            write_tensor(role, spec, &mut random, |bytes| {
                writer.write(bytes)?;
                done += bytes.len() as u64;
                progress(Progress { tensor: &role.name, done, total });
                Ok(())
            })?;
            report::add_tensor(&mut groups, role, spec, Default::default());
        }
        report::sort(&mut groups);
        Ok((writer.finish(), groups))
    }
}

/// The sizes that a name stands for, without its prefix.
fn config(size: &str) -> Option<Config> {
    let Config { vision, text } = paligemma_3b();
    Some(match size {
        "224" => Config { vision: VisionConfig { image_size: 224, ..vision }, text },
        "448" => Config { vision: VisionConfig { image_size: 448, ..vision }, text },
        "896" => Config { vision: VisionConfig { image_size: 896, ..vision }, text },
        // Rows of 1076 are padded as those of 4304 are, and heads keep their widths.
        "small" => Config {
            vision: VisionConfig { d_model: 288, n_layers: 2, n_heads: 4, d_ff: 1076, ..vision },
            text: TextConfig { d_model: 128, n_layers: 2, n_heads: 2, d_ff: 1024, ..text },
        },
        _ => return None,
    })
}

/// The demo's pieces, with location and mask tokens moved to the end and `n` in all. Those between can be answered,
/// and nobody's text is made of them.
fn vocabulary(n: usize) -> Vocabulary {
    let mut vocabulary = demo_vocabulary();
    let pieces = &mut vocabulary.pieces;
    let first = pieces.iter().position(|p| p.text == "<loc0000>").expect("every PaliGemma has locations");
    let mut last = pieces.split_off(first);
    last.truncate(LOC_AND_SEG);
    let filler =
        |id: usize| Piece { text: format!("\u{2581}zz{id}"), score: -(id as f32), kind: PieceKind::Normal };
    pieces.extend((first..n - last.len()).map(filler));
    pieces.append(&mut last);
    vocabulary.special.image = n as u32;
    vocabulary
}

/// Makes one tensor's bytes, some rows at a time.
fn write_tensor(
    role: &TensorRole,
    spec: &TensorSpec,
    random: &mut Random,
    mut sink: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let k = spec.dims[0];
    // A product of a normed row with k weights of this size has the size of one value of the row.
    let rms = if role.usage == Usage::Matrix { 1.0 / (k as f32).sqrt() } else { SMALL };
    let group = spec.format.group_rows();
    let rows_at_once = (CHUNK_BYTES / spec.group_bytes()).max(1) * group;
    let bytes_of = |rows| spec.format.matrix_bytes(spec.dims[0], rows);
    let mut buffer = vec![0; bytes_of(rows_at_once.min(spec.rows()))];
    for first in (0..spec.rows()).step_by(rows_at_once) {
        let rows = rows_at_once.min(spec.rows() - first);
        let bytes = &mut buffer[..bytes_of(rows)];
        if is_norm(role) {
            bytes.as_chunks_mut::<4>().0.fill(1f32.to_le_bytes());
        } else {
            fill::rows(spec.format, k, rows, rms, bytes, random);
        }
        sink(bytes)?;
    }
    Ok(())
}

/// Whether `role` is what a norm multiplies by: the only vectors that are no biases.
fn is_norm(role: &TensorRole) -> bool {
    role.usage == Usage::Values && role.dims.len() == 1 && role.name.ends_with(".weight")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_sizes() {
        let sides = ["224", "448", "896"].map(|size| {
            let c = config(size).unwrap();
            c.check().unwrap();
            let (v, t) = (c.vision, c.text);
            assert_eq!((v.n_layers, v.d_model, v.n_heads, v.d_ff, v.patch_size), (27, 1152, 16, 4304, 14));
            assert_eq!((t.n_layers, t.d_model, t.n_heads, t.n_kv_heads, t.d_head), (18, 2048, 8, 1, 256));
            assert_eq!((t.d_ff, t.n_vocab), (16_384, 257_152));
            v.image_size
        });
        assert_eq!(sides, [224, 448, 896]);
        let small = config("small").unwrap();
        small.check().unwrap();
        assert_eq!((small.vision.d_head(), small.text.d_head), (72, 256));
        assert!(Synthetic::parse("mix-224", 0).is_none());
        let refused = Synthetic::parse("synthetic-225", 0).unwrap().unwrap_err().to_string();
        assert!(refused.contains("no synthetic-225"), "{refused}");
    }

    #[test]
    fn a_file_begins_as_foretold() {
        let small = Synthetic::parse("synthetic-small", 3).unwrap().unwrap();
        for preset in Preset::ALL {
            let (beginning, length) = small.beginning(preset);
            let file = small.to_vec(preset);
            assert!(file.starts_with(&beginning) && file.len() == length, "{}", preset.name());
        }
    }

    #[test]
    fn the_vocabulary_is_as_large_as_the_real_one_and_can_be_used() {
        let vocabulary = vocabulary(257_152);
        assert_eq!(vocabulary.pieces.len(), 257_152);
        let t = vocabulary.tokenizer().unwrap();
        assert_eq!((t.pad(), t.eos(), t.bos(), t.unk(), t.image()), (0, 1, 2, 3, 257_152));
        let series = [t.loc_id(0), t.loc_id(1023), t.seg_id(0), t.seg_id(127)];
        assert_eq!(series, [256_000, 257_023, 257_024, 257_151].map(Some));
        let text = "caption en <loc0007> ü";
        assert_eq!(t.decode(&t.encode(text)), text);
    }

    #[test]
    fn norms_are_told_from_other_vectors() {
        let roles = all(&config("small").unwrap());
        let norms: Vec<_> = roles.iter().filter(|r| is_norm(r)).map(|r| r.name.as_str()).collect();
        // Two for each layer of either side, and the last ones.
        assert_eq!(norms.len(), 2 * (2 + 2) + 2, "{norms:?}");
        assert!(norms.contains(&"v.post_ln.weight") && norms.contains(&"blk.1.ffn_norm.weight"));
    }
}
