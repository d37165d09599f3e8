//! Checkpoint folders made from the bundled one, and the program run on them.

use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Tensors by name: type, shape, bytes.
pub(crate) type Weights = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// The bundled checkpoint.
pub(crate) fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../quantize/demo")
}

pub(crate) fn demo_weights() -> Weights {
    let bytes = fs::read(demo().join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(name, t)| (name.to_string(), (t.dtype(), t.shape().to_vec(), t.data().to_vec())))
        .collect()
}

pub(crate) fn write_weights(path: &Path, weights: &Weights) {
    let views = weights
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// The same numbers as f32.
pub(crate) fn widened(weights: &Weights) -> Weights {
    let widen = |bytes: &[u8]| -> Vec<u8> {
        let values = bytes.as_chunks::<2>().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32());
        values.flat_map(f32::to_le_bytes).collect()
    };
    weights
        .iter()
        .map(|(name, (_, shape, b))| (name.clone(), (Dtype::F32, shape.clone(), widen(b))))
        .collect()
}

/// A temporary folder that holds a checkpoint in `tiny/` and room for output in `out/`.
pub(crate) struct Case {
    pub(crate) root: TempDir,
}

impl Case {
    /// A copy of the bundled checkpoint.
    pub(crate) fn new() -> Self {
        let case = Case { root: TempDir::new().unwrap() };
        fs::create_dir(case.out()).unwrap();
        fs::create_dir(case.folder()).unwrap();
        for file in ["config.json", "model.safetensors", "tokenizer.model"] {
            fs::copy(demo().join(file), case.folder().join(file)).unwrap();
        }
        case
    }

    /// The bundled checkpoint with its weights changed.
    pub(crate) fn with_weights(change: impl FnOnce(&mut Weights)) -> Self {
        let case = Case::new();
        let mut weights = demo_weights();
        change(&mut weights);
        write_weights(&case.folder().join("model.safetensors"), &weights);
        case
    }

    /// Always called `tiny`, because the model's name is in the file.
    pub(crate) fn folder(&self) -> PathBuf {
        self.root.path().join("tiny")
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.root.path().join("out")
    }

    /// Names of the files in `out/`, hidden ones included.
    pub(crate) fn written(&self) -> Vec<String> {
        let entries = fs::read_dir(self.out()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Runs the program in `out/` without any of the cache's variables.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.command(args).output().unwrap()
    }

    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(pg_tests::programs::pg_quantize());
        command.args(args).current_dir(self.out());
        for key in ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"] {
            command.env_remove(key);
        }
        command
    }

    /// Edits one JSON file of the checkpoint.
    pub(crate) fn edit_json(&self, file: &str, edit: impl FnOnce(&mut serde_json::Value)) {
        let path = self.folder().join(file);
        let mut json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        edit(&mut json);
        fs::write(&path, json.to_string()).unwrap();
    }
}

/// The message of a run that has to be refused with status 2 and nothing on standard output.
pub(crate) fn refusal(output: &Output) -> String {
    let message = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(output.stdout.is_empty(), "{message}");
    assert!(message.starts_with("pg-quantize: "), "{message}");
    message
}
