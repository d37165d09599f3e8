//! Checkpoints packed into memory, as models ready to run.

use pg_quantize::{Checkpoint, Preset, Source, pack_to_vec};
use pg_runtime::Model;
use std::path::{Path, PathBuf};

/// Packs the checkpoint at `source` and opens the result.
///
/// # Panics
/// If either is refused.
pub fn packed(source: &Source, preset: Preset) -> Model {
    let checkpoint = Checkpoint::open(source).expect("a checkpoint of the repository");
    let (file, _) = pack_to_vec(&checkpoint, preset).expect("it can be packed");
    Model::from_bytes(&file).expect("what was packed can be opened")
}

/// The demo checkpoint in this form.
///
/// # Panics
/// If it cannot be packed.
pub fn demo(preset: Preset) -> Model {
    packed(&Source::demo(), preset)
}

/// A file of the demo checkpoint's samples.
pub fn demo_sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../quantize/demo/samples").join(name)
}
