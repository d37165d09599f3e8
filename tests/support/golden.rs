//! Reads model goldens: a folder with `pictures/` and, per model, checkpoints and `goldens/`.
//!
//! The small set is in `tests/goldens/models`, whose README says what the tensors are; the full one is wherever
//! `PG_GOLDENS` says.

use pg_runtime::TokenId;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the reference computed for one picture and prompt.
#[derive(Debug)]
pub struct Case {
    /// For messages: model, picture and prompt.
    pub name: String,
    /// The picture's file.
    pub picture: PathBuf,
    /// The prompt as text.
    pub prompt: String,
    /// The greedy tokens.
    pub generated: Vec<TokenId>,
    /// By how much each of them led the next best.
    pub margin: Vec<f64>,
    /// Image tokens and prompt.
    pub input_ids: Vec<TokenId>,
    /// Every stage, by name.
    pub stages: BTreeMap<String, Tensor>,
}

/// Numbers with a shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Outermost first.
    pub shape: Vec<usize>,
    /// Row by row.
    pub values: Vec<f32>,
}

/// The set that is in the repository.
pub fn small_set() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/models")
}

/// The full set, where somebody has it.
pub fn full_set() -> Option<PathBuf> {
    std::env::var_os("PG_GOLDENS").map(PathBuf::from)
}

/// All cases of `model` in the set at `root`.
///
/// # Panics
/// If the set is incomplete.
pub fn cases(root: &Path, model: &str) -> Vec<Case> {
    let folder = root.join(model).join("goldens");
    let list: Value = serde_json::from_slice(&read(&folder.join("goldens.json"))).expect("goldens.json");
    list["cases"].as_array().expect("cases").iter().map(|entry| case(root, model, &folder, entry)).collect()
}

fn case(root: &Path, model: &str, folder: &Path, entry: &Value) -> Case {
    let text = |key: &str| entry[key].as_str().unwrap_or_else(|| panic!("{key} in goldens.json"));
    let numbers = |key: &str| entry[key].as_array().unwrap_or_else(|| panic!("{key} in goldens.json")).iter();
    let bytes = read(&folder.join(text("file")));
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let mut input_ids = None;
    let mut stages = BTreeMap::new();
    for (name, view) in file.iter() {
        match view.dtype() {
            Dtype::F32 => {
                let values = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                stages.insert(name.to_string(), Tensor { shape: view.shape().to_vec(), values });
            }
            Dtype::I64 if name == "input_ids" => {
                let ids = view.data().as_chunks::<8>().0.iter();
                input_ids = Some(ids.map(|b| i64::from_le_bytes(*b) as TokenId).collect());
            }
            _ => {}
        }
    }
    Case {
        name: format!("{model}, {}, {:?}", text("image"), text("prompt")),
        picture: root.join("pictures").join(text("image")),
        prompt: text("prompt").to_string(),
        generated: numbers("generated").map(|id| id.as_u64().expect("an id") as TokenId).collect(),
        margin: numbers("margin").map(|m| m.as_f64().expect("a margin")).collect(),
        input_ids: input_ids.expect("input_ids"),
        stages,
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
