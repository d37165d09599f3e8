//! From an opened checkpoint to a model file: the metadata, then every tensor, a few megabytes at a time.

use crate::error::Error;
use crate::quant::{RowKind, Tally, pack_rows};
use crate::recipe::Preset;
use crate::report::{self, Report};
use crate::source::vocabulary::Vocabulary;
use crate::source::{Checkpoint, StoredTensor, is_offset_norm};
use pg_runtime::format::emit::{Metadata, TensorSpec, TensorWriter};
use pg_runtime::model::names::TensorRole;
use pg_runtime::model::{ARCHITECTURE, Config};
use pg_runtime::platform::files::PartialFile;
use pg_runtime::tokenizer;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

/// Checkpoint bytes read at once. Twice this, and once more as f32 rows, is all that packing holds in memory.
const CHUNK_BYTES: usize = 8 << 20;
/// More threads than this wait for the disk.
const MAX_THREADS: usize = 8;

/// How far packing has come. Of a synthetic model, the tensors are those of the file and the bytes are its own.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The tensor being packed, by its name in the checkpoint.
    pub tensor: &'a str,
    /// Checkpoint bytes packed so far.
    pub done: u64,
    /// Checkpoint bytes in all.
    pub total: u64,
}

/// Packs `checkpoint` into the file `output`, which appears (or replaces an older one) only when it is complete.
///
/// `progress` is called after every few megabytes.
///
/// # Errors
/// An output that cannot be written, a checkpoint that cannot be read or holds values that the preset cannot
/// store. Nothing is left behind then.
pub fn pack(
    checkpoint: &Checkpoint,
    preset: Preset,
    output: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Report, Error> {
    let start = Instant::now();
    let failed = |e| Error::io("cannot write", output)(e);
    let (bytes, groups) =
        whole_file(output, |file| write_model(checkpoint, preset, file, progress, &failed))?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Report { output: Some(output.to_path_buf()), preset, is_synthetic: false, bytes, seconds, groups })
}

/// Lets `write` fill a file that appears under its name only when it is complete; how many bytes it has then.
pub(crate) fn whole_file(
    output: &Path,
    write: impl FnOnce(PartialFile) -> Result<(PartialFile, Vec<report::Group>), Error>,
) -> Result<(u64, Vec<report::Group>), Error> {
    let failed = |e| Error::io("cannot write", output)(e);
    let (file, groups) = write(PartialFile::create(output).map_err(failed)?)?;
    Ok((file.finish().map_err(failed)?, groups))
}

/// Packs `checkpoint` into memory: for small models and tests.
///
/// # Errors
/// As [`pack`], files excepted.
pub fn pack_to_vec(checkpoint: &Checkpoint, preset: Preset) -> Result<(Vec<u8>, Report), Error> {
    let start = Instant::now();
    let failed = |e| Error::io("cannot write", Path::new("memory"))(e);
    let (model, groups) = write_model(checkpoint, preset, Vec::new(), &mut |_| {}, &failed)?;
    let (bytes, seconds) = (model.len() as u64, start.elapsed().as_secs_f64());
    Ok((model, Report { output: None, preset, is_synthetic: false, bytes, seconds, groups }))
}

fn write_model<W: Write>(
    checkpoint: &Checkpoint,
    preset: Preset,
    out: W,
    progress: &mut dyn FnMut(Progress<'_>),
    failed: &dyn Fn(io::Error) -> Error,
) -> Result<(W, Vec<report::Group>), Error> {
    let tensors = checkpoint.tensors();
    let specs: Vec<TensorSpec> = tensors.iter().map(|(role, ..)| spec(role, preset)).collect();
    let m = metadata(checkpoint.name(), checkpoint.config(), checkpoint.vocabulary(), preset);
    let mut writer = TensorWriter::new(out, &m, &specs).map_err(failed)?;

    let mut groups = Vec::new();
    let mut done = 0;
    let total = tensors.iter().map(|(role, _, stored)| used_bytes(role, stored) as u64).sum();
    for ((role, name, stored), spec) in tensors.iter().zip(&specs) {
        let tally = pack_tensor(checkpoint, role, (name, stored), spec, |packed, source_bytes| {
            writer.write(packed).map_err(failed)?;
            done += source_bytes as u64;
            progress(Progress { tensor: name, done, total });
            Ok(())
        })?;
        report::add_tensor(&mut groups, role, spec, tally);
    }
    report::sort(&mut groups);
    Ok((writer.finish(), groups))
}

/// How the file holds a tensor.
pub(crate) fn spec(role: &TensorRole, preset: Preset) -> TensorSpec {
    let format = preset.format(role.part, role.usage);
    TensorSpec { name: role.name.clone(), format, dims: role.dims.clone() }
}

/// Checkpoint bytes of the rows that are packed: the token table has more.
fn used_bytes(role: &TensorRole, stored: &StoredTensor) -> usize {
    let value_bytes = stored.precision().expect("checked when the checkpoint was opened").bytes();
    role.dims.iter().product::<usize>() * value_bytes
}

/// Packs one tensor chunk by chunk; `sink` takes the packed rows and how many checkpoint bytes they came from.
fn pack_tensor(
    checkpoint: &Checkpoint,
    role: &TensorRole,
    (name, stored): (&str, &StoredTensor),
    spec: &TensorSpec,
    mut sink: impl FnMut(&[u8], usize) -> Result<(), Error>,
) -> Result<Tally, Error> {
    let kind = RowKind {
        precision: stored.precision().expect("checked when the checkpoint was opened"),
        offset: if is_offset_norm(role) { 1.0 } else { 0.0 },
        k: spec.dims[0],
        format: spec.format,
    };
    let source_row = kind.k * kind.precision.bytes();
    let rows_at_once = (CHUNK_BYTES / source_row).max(1).next_multiple_of(kind.format.group_rows());
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(MAX_THREADS));
    let weights = checkpoint.weights();

    let packed_bytes = |rows| kind.format.matrix_bytes(kind.k, rows);
    let mut packed = vec![0; packed_bytes(rows_at_once.min(spec.rows()))];
    let mut tally = Tally::default();
    for first in (0..spec.rows()).step_by(rows_at_once) {
        let rows = rows_at_once.min(spec.rows() - first);
        let source = weights.window(stored, first * source_row, rows * source_row)?;
        let packed = &mut packed[..packed_bytes(rows)];
        // A thread costs more than a small tensor.
        let threads = if source.len() < 1 << 16 { 1 } else { threads };
        let part = pack_rows(kind, first, &source, packed, threads).map_err(|e| Error::Tensor {
            name: name.to_string(),
            path: weights.path(stored).to_path_buf(),
            reason: e.to_string(),
        })?;
        tally.add(part);
        sink(packed, source.len())?;
    }
    Ok(tally)
}

/// Everything that the file says before its tensors.
pub(crate) fn metadata(name: &str, config: &Config, vocabulary: &Vocabulary, preset: Preset) -> Metadata {
    let mut m = Metadata::new();
    m.text("general.architecture", ARCHITECTURE);
    m.text("general.name", name);
    m.u32("general.file_type", preset.file_type());
    m.u32("general.quantization_version", 2);
    config.emit(&mut m);
    // SigLIP's processor: pixels of 0 to 1 become -1 to 1.
    m.f32s("paligemma.vision.image_mean", [0.5; 3].into_iter());
    m.f32s("paligemma.vision.image_std", [0.5; 3].into_iter());
    let pieces = vocabulary.pieces.iter().map(|p| (p.text.as_str(), p.score, p.kind));
    tokenizer::emit(pieces, vocabulary.special, &mut m);
    m
}
