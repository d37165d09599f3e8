//! The weights of a checkpoint: `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
//!
//! Called by [`super::Checkpoint`]. Headers are checked once by the `safetensors` crate (offsets without holes
//! or overlap, lengths that fit shapes and the file); from then on a tensor's range is known to lie in its file.

use super::mapping::{Bytes, Window};
use crate::error::Error;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The one-file form.
pub(crate) const SINGLE: &str = "model.safetensors";
/// The list of shards.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// All tensors of a checkpoint by the names under which it stores them.
#[derive(Debug)]
pub(crate) struct Weights {
    shards: Vec<Shard>,
    tensors: BTreeMap<String, StoredTensor>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    bytes: Bytes,
}

/// How a checkpoint stores the values of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    F32,
    F16,
    Bf16,
}

impl Precision {
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::F16 | Precision::Bf16 => 2,
        }
    }
}

/// Where one tensor lies and what it is.
#[derive(Debug, Clone)]
pub(crate) struct StoredTensor {
    dtype: Dtype,
    /// Outermost first, as stored.
    pub(crate) shape: Vec<usize>,
    shard: usize,
    /// From the beginning of the shard's file.
    start: u64,
    /// Its bytes.
    pub(crate) bytes: usize,
}

impl StoredTensor {
    /// The precision, if it is one that PaliGemma checkpoints use; otherwise the type's name.
    pub(crate) fn precision(&self) -> Result<Precision, String> {
        match self.dtype {
            Dtype::F32 => Ok(Precision::F32),
            Dtype::F16 => Ok(Precision::F16),
            Dtype::BF16 => Ok(Precision::Bf16),
            other => Err(format!("{other:?}")),
        }
    }
}

impl Weights {
    /// Opens the weights in `folder`. If it holds both forms the single file counts, as for `from_pretrained`.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let single = folder.join(SINGLE);
        if single.exists() {
            let mut weights = Weights { shards: Vec::new(), tensors: BTreeMap::new() };
            weights.add_file(single)?;
            return Ok(weights);
        }
        let index = folder.join(INDEX);
        if !index.exists() {
            let file = format!("{SINGLE} and no {INDEX}");
            return Err(Error::MissingFile { folder: folder.to_path_buf(), file });
        }
        Self::open_sharded(folder, &index)
    }

    /// The weights of the checkpoint that is part of the program.
    pub(crate) fn bundled(bytes: &'static [u8]) -> Result<Self, Error> {
        let mut weights = Weights { shards: Vec::new(), tensors: BTreeMap::new() };
        weights.add(PathBuf::from("demo").join(SINGLE), Bytes::Bundled(bytes))?;
        Ok(weights)
    }

    fn open_sharded(folder: &Path, index: &Path) -> Result<Self, Error> {
        let promised = weight_map(index)?;
        let names: BTreeSet<&String> = promised.values().collect();
        let mut weights = Weights { shards: Vec::new(), tensors: BTreeMap::new() };
        for name in names {
            let path = folder.join(name);
            if !path.exists() {
                let reason = format!("lists the shard {name}, which is absent: download it again");
                return Err(Error::bad_file(index, reason));
            }
            weights.add_file(path)?;
        }
        for (tensor, shard) in &promised {
            let found = weights.tensors.get(tensor).map(|t| &weights.shards[t.shard].path);
            if found != Some(&folder.join(shard)) {
                let reason = format!("promises tensor \"{tensor}\" in {shard}, which does not hold it");
                return Err(Error::bad_file(index, reason));
            }
        }
        Ok(weights)
    }

    fn add_file(&mut self, path: PathBuf) -> Result<(), Error> {
        let file = File::open(&path).map_err(Error::io("cannot read", &path))?;
        let len = file.metadata().map_err(Error::io("cannot read", &path))?.len();
        self.add(path, Bytes::File(file, len))
    }

    fn add(&mut self, path: PathBuf, bytes: Bytes) -> Result<(), Error> {
        let whole = usize::try_from(bytes.len())
            .map_err(|_| Error::bad_file(&path, "too large for this machine's address space"))?;
        let (header, metadata) = {
            if whole == 0 {
                return Err(Error::bad_file(&path, "the file is empty: download it again"));
            }
            let window = bytes.window(0, whole).map_err(Error::io("cannot read", &path))?;
            SafeTensors::read_metadata(&window).map_err(|e| Error::bad_file(&path, explain(&e, &window)))?
        };
        // 8 bytes hold the header's length.
        let data = (8 + header) as u64;
        let shard = self.shards.len();
        for (name, info) in metadata.tensors() {
            let (start, end) = info.data_offsets;
            let stored = StoredTensor {
                dtype: info.dtype,
                shape: info.shape.clone(),
                shard,
                start: data + start as u64,
                bytes: end - start,
            };
            if self.tensors.insert(name.clone(), stored).is_some() {
                return Err(Error::bad_file(&path, format!("tensor \"{name}\" is in another shard as well")));
            }
        }
        self.shards.push(Shard { path, bytes });
        Ok(())
    }

    /// Every tensor with its stored name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &StoredTensor)> {
        self.tensors.iter().map(|(name, t)| (name.as_str(), t))
    }

    /// The file that holds `t`.
    pub(crate) fn path(&self, t: &StoredTensor) -> &Path {
        &self.shards[t.shard].path
    }

    /// `len` bytes of `t` from its byte `offset` on.
    pub(crate) fn window(&self, t: &StoredTensor, offset: usize, len: usize) -> Result<Window, Error> {
        debug_assert!(offset + len <= t.bytes);
        let shard = &self.shards[t.shard];
        shard.bytes.window(t.start + offset as u64, len).map_err(Error::io("cannot read", &shard.path))
    }
}

/// Reads the index: tensor name to shard file name.
fn weight_map(index: &Path) -> Result<BTreeMap<String, String>, Error> {
    let map = super::json_file(index)?;
    let map = map.get("weight_map").and_then(|m| m.as_object());
    let map = map.ok_or_else(|| Error::bad_file(index, "has no \"weight_map\""))?;
    map.iter()
        .map(|(tensor, file)| match file.as_str() {
            // A plain name in the same folder: an index must not reach for other files.
            Some(f) if Path::new(f).file_name().is_some_and(|n| n == f) => {
                Ok((tensor.clone(), f.to_string()))
            }
            _ => Err(Error::bad_file(
                index,
                format!("{file} for tensor \"{tensor}\" is no file name in this folder"),
            )),
        })
        .collect()
}

/// The crate's findings in our words.
fn explain(e: &SafeTensorError, file: &[u8]) -> String {
    let again = "the file is damaged or not a safetensors file, download it again";
    let header = file.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
    match e {
        SafeTensorError::HeaderTooSmall => format!("{} bytes are too few for a header; {again}", file.len()),
        SafeTensorError::HeaderTooLarge => format!("its header claims {header} bytes, over the cap; {again}"),
        SafeTensorError::InvalidHeaderLength => {
            format!("its header claims {header} bytes, the file has {}; {again}", file.len())
        }
        SafeTensorError::InvalidOffset(name) => format!(
            "tensor \"{name}\" does not begin where the one before it ends (overlap or hole); {again}"
        ),
        SafeTensorError::TensorInvalidInfo => {
            format!("a tensor's shape and type do not fit its number of bytes; {again}")
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            format!("its tensors do not end where the file of {} bytes ends; {again}", file.len())
        }
        SafeTensorError::ValidationOverflow => format!("a tensor's shape is impossibly large; {again}"),
        other => format!("{other}; {again}"),
    }
}
