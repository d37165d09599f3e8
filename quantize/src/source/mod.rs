//! Checkpoints: finding one, opening it, and checking that it is a whole PaliGemma before anything is written.
//!
//! [`resolve`] turns the MODEL argument into a [`Source`]; [`Checkpoint::open`] reads config.json, the headers of
//! the weights and the tokenizer. After that only reading the weights themselves can fail.

mod config;
mod hub;
mod mapping;
mod names;
mod safetensors;
pub mod sentencepiece;
#[cfg(test)]
mod tests;
pub mod tokenizer_json;
pub mod vocabulary;

pub(crate) use self::config::paligemma_3b;
pub(crate) use self::names::is_offset_norm;
pub(crate) use self::safetensors::{Precision, StoredTensor, Weights};

use self::config::CheckpointConfig;
use self::vocabulary::Vocabulary;
use crate::error::Error;
use pg_runtime::model::Config;
use pg_runtime::model::names::{TOKEN_EMBEDDING, TensorRole, all};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The checkpoint that is part of the program.
mod demo {
    pub(super) const CONFIG: &[u8] = include_bytes!("../../demo/config.json");
    pub(super) const WEIGHTS: &[u8] = include_bytes!("../../demo/model.safetensors");
    pub(super) const TOKENIZER: &[u8] = include_bytes!("../../demo/tokenizer.model");
}

/// SentencePiece's form of the tokenizer.
const TOKENIZER_MODEL: &str = "tokenizer.model";
/// Hugging Face's form of it.
const TOKENIZER_JSON: &str = "tokenizer.json";

/// Bytes compared at once when the output head is checked against the token table.
const COMPARED_BYTES: usize = 8 << 20;

/// Where a checkpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The model's name: `demo`, `paligemma-3b-mix-224`, or the folder's name.
    pub name: String,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Bundled,
    Folder(PathBuf),
}

impl Source {
    /// The small checkpoint that is part of the program.
    pub fn demo() -> Self {
        Source { name: "demo".into(), place: Place::Bundled }
    }

    /// A checkpoint folder as Hugging Face writes it.
    pub fn folder(path: &Path) -> Self {
        // "." and ".." have a name only as an absolute path.
        let absolute = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let name = absolute.file_name().map_or("model".into(), |n| n.to_string_lossy().into_owned());
        Source { name, place: Place::Folder(path.to_path_buf()) }
    }
}

/// Finds what the MODEL argument means: `demo`, the short name of a released model in the Hugging Face cache
/// (`{pt,mix}-{224,448,896}`), or a path to a folder. Names win over folders of the same name; `./demo` is always
/// a folder.
///
/// # Errors
/// If there is nothing of that name, or the released model is not in the cache.
pub fn resolve(model: &str) -> Result<Source, Error> {
    if model == "demo" {
        return Ok(Source::demo());
    }
    if let Some(release) = hub::Release::parse(model) {
        let release = release?;
        let place = Place::Folder(release.find()?);
        return Ok(Source { name: release.name, place });
    }
    let path = Path::new(model);
    match path.metadata() {
        Ok(m) if m.is_dir() => Ok(Source::folder(path)),
        Ok(_) => Err(Error::bad_file(path, "is a file: give the folder that holds it")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Error::NoSuchModel { asked: model.into() }),
        Err(e) => Err(Error::io("cannot open", path)(e)),
    }
}

/// A checkpoint that has every tensor of the model in the right shape, and a tokenizer that fits.
#[derive(Debug)]
pub struct Checkpoint {
    name: String,
    config: CheckpointConfig,
    weights: Weights,
    /// In the order of [`all`].
    tensors: Vec<(TensorRole, String, StoredTensor)>,
    vocabulary: Vocabulary,
}

impl Checkpoint {
    /// Opens and checks a checkpoint. Weights are read later, by [`crate::pack`].
    ///
    /// # Errors
    /// Anything that is absent, damaged, of another model or contradictory, by name.
    pub fn open(source: &Source) -> Result<Self, Error> {
        let (place, config, weights, vocabulary) = match &source.place {
            Place::Bundled => {
                let place = Path::new("demo");
                let path = place.join("config.json");
                let config = config::read(&json(demo::CONFIG, &path)?, &path)?;
                let model = place.join(TOKENIZER_MODEL);
                let read = sentencepiece::read(demo::TOKENIZER).map_err(|e| Error::bad_file(&model, e))?;
                (place, config, Weights::bundled(demo::WEIGHTS)?, fit(read, &config, &model)?)
            }
            Place::Folder(folder) => {
                let path = folder.join("config.json");
                if !path.exists() {
                    let file = "config.json".into();
                    return Err(Error::MissingFile { folder: folder.clone(), file });
                }
                let config = config::read(&json_file(&path)?, &path)?;
                (folder.as_path(), config, Weights::open(folder)?, read_vocabulary(folder, &config)?)
            }
        };
        let tensors = match_tensors(&config.model, &weights, place)?;
        Ok(Checkpoint { name: source.name.clone(), config, weights, tensors, vocabulary })
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The model's sizes.
    pub fn config(&self) -> &Config {
        &self.config.model
    }

    /// The id of Hugging Face's `<image>` token, which is the number of tokens that can be read or generated.
    pub fn image_token(&self) -> u32 {
        self.config.image_token
    }

    /// The pieces that the model file stores: one per row of its token table.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    pub(crate) fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Every tensor of the model in the file's order: its role, its name in the checkpoint, and where it lies.
    pub(crate) fn tensors(&self) -> &[(TensorRole, String, StoredTensor)] {
        &self.tensors
    }
}

/// The vocabulary of the checkpoint that is part of the program.
pub(crate) fn demo_vocabulary() -> Vocabulary {
    sentencepiece::read(demo::TOKENIZER).expect("the tests read it too")
}

/// Reads the tokenizer in `folder`. SentencePiece's file is the original, so it counts if both are there, unless it
/// is too short: pieces that a fine-tune added are in the other file only.
fn read_vocabulary(folder: &Path, config: &CheckpointConfig) -> Result<Vocabulary, Error> {
    type Reader = fn(&[u8]) -> Result<Vocabulary, String>;
    let forms: [(&str, Reader); 2] =
        [(TOKENIZER_MODEL, sentencepiece::read), (TOKENIZER_JSON, tokenizer_json::read)];
    for (file, read) in forms {
        let path = folder.join(file);
        if path.exists() {
            let bytes = std::fs::read(&path).map_err(Error::io("cannot read", &path))?;
            let vocabulary = read(&bytes).map_err(|e| Error::bad_file(&path, without_name(&e, file)))?;
            let is_short = vocabulary.pieces.len() < config.model.text.n_vocab;
            if is_short && file == TOKENIZER_MODEL && folder.join(TOKENIZER_JSON).exists() {
                continue;
            }
            return fit(vocabulary, config, &path);
        }
    }
    let file = format!("{TOKENIZER_MODEL} and no {TOKENIZER_JSON}");
    Err(Error::MissingFile { folder: folder.to_path_buf(), file })
}

/// The readers begin their messages with the file's name, which the path says already.
fn without_name<'e>(message: &'e str, file: &str) -> &'e str {
    message.strip_prefix(file).unwrap_or(message).trim_start_matches([':', ',', ' '])
}

/// Cuts the vocabulary to the rows that the model file has, and checks that the runtime can use it.
fn fit(mut vocabulary: Vocabulary, config: &CheckpointConfig, path: &Path) -> Result<Vocabulary, Error> {
    let (pieces, rows) = (vocabulary.pieces.len(), config.model.text.n_vocab);
    if pieces < rows {
        let reason = format!(
            "has {pieces} pieces, the model has {rows} tokens before its image token: the tokenizer belongs to \
             another model"
        );
        return Err(Error::bad_file(path, reason));
    }
    vocabulary.pieces.truncate(rows);
    vocabulary.special.image = config.image_token;
    vocabulary.tokenizer().map_err(|e| Error::bad_file(path, e.to_string()))?;
    Ok(vocabulary)
}

/// Finds each tensor of the model among those of the checkpoint and accounts for all others.
fn match_tensors(
    model: &Config,
    weights: &Weights,
    place: &Path,
) -> Result<Vec<(TensorRole, String, StoredTensor)>, Error> {
    let mut stored: BTreeMap<String, (&str, &StoredTensor)> = BTreeMap::new();
    for (name, tensor) in weights.iter() {
        if let Some((twin, _)) = stored.insert(names::canonical(name), (name, tensor)) {
            let reason = format!("is there twice, also as \"{twin}\"");
            let path = weights.path(tensor).to_path_buf();
            return Err(Error::Tensor { name: name.into(), path, reason });
        }
    }
    // Names are made for as many layers as config.json claims: first see whether there can be so many.
    for (layers, last) in [
        (model.text.n_layers, names::decoder_layer(model.text.n_layers - 1)),
        (model.vision.n_layers, names::vision_layer(model.vision.n_layers - 1)),
    ] {
        if layers > stored.len() {
            return Err(Error::MissingTensor { name: last, place: place.to_path_buf() });
        }
    }
    let head = stored.remove(names::LM_HEAD);
    let mut tensors = Vec::new();
    for role in all(model) {
        let wanted = names::source_name(&role);
        let Some((name, tensor)) = stored.remove(&wanted) else {
            return Err(Error::MissingTensor { name: wanted, place: place.to_path_buf() });
        };
        check_shape(&role, name, tensor, model, weights)?;
        if role.name == TOKEN_EMBEDDING {
            check_head(head, (name, tensor), model, weights)?;
        }
        tensors.push((role, name.to_string(), tensor.clone()));
    }
    match stored.into_iter().find(|(canonical, _)| !names::is_harmless(canonical)) {
        Some((_, (name, tensor))) => {
            let path = weights.path(tensor).to_path_buf();
            Err(Error::UnexpectedTensor { name: name.into(), path })
        }
        None => Ok(tensors),
    }
}

fn check_shape(
    role: &TensorRole,
    name: &str,
    tensor: &StoredTensor,
    model: &Config,
    weights: &Weights,
) -> Result<(), Error> {
    let wrong = |reason: String| {
        Err(Error::Tensor { name: name.into(), path: weights.path(tensor).to_path_buf(), reason })
    };
    if let Err(dtype) = tensor.precision() {
        return wrong(format!("is stored as {dtype}, expected F32, F16 or BF16"));
    }
    let expected = names::source_shape(role, model.vision.patch_size);
    let fits = if role.name == TOKEN_EMBEDDING {
        // Rows from the image token on are padding.
        tensor.shape.len() == 2 && tensor.shape[0] >= expected[0] && tensor.shape[1] == expected[1]
    } else {
        tensor.shape == expected
    };
    if !fits {
        let least = if role.name == TOKEN_EMBEDDING { " or more rows" } else { "" };
        return wrong(format!("has the shape {:?}, config.json asks for {expected:?}{least}", tensor.shape));
    }
    Ok(())
}

/// The output head is the token table. A checkpoint may store it a second time, but not a different one.
fn check_head(
    head: Option<(&str, &StoredTensor)>,
    table: (&str, &StoredTensor),
    model: &Config,
    weights: &Weights,
) -> Result<(), Error> {
    let Some((name, head)) = head else { return Ok(()) };
    let (table_name, table) = table;
    let differs = || Error::Tensor {
        name: name.into(),
        path: weights.path(head).to_path_buf(),
        reason: format!("differs from \"{table_name}\": PaliGemma's output head is tied to its token table"),
    };
    if head.precision() != table.precision() || head.shape != table.shape {
        return Err(differs());
    }
    let rows = model.text.n_vocab;
    let used = table.bytes / table.shape[0] * rows;
    for start in (0..used).step_by(COMPARED_BYTES) {
        let len = COMPARED_BYTES.min(used - start);
        if *weights.window(head, start, len)? != *weights.window(table, start, len)? {
            return Err(differs());
        }
    }
    Ok(())
}

/// Reads and parses one JSON file.
fn json_file(path: &Path) -> Result<Value, Error> {
    json(&std::fs::read(path).map_err(Error::io("cannot read", path))?, path)
}

fn json(bytes: &[u8], path: &Path) -> Result<Value, Error> {
    serde_json::from_slice(bytes).map_err(|e| Error::bad_file(path, format!("is not JSON: {e}")))
}
