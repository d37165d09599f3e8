//! Opening a model file: every size, tensor and piece is checked here, once; nothing is run.
//!
//! A file is untrusted. What this module hands out afterwards ([`Weights`], [`Config`], the tokenizer) needs no
//! further check anywhere.

mod config;
pub mod names;
mod weights;

pub use config::{ARCHITECTURE, Config, SYNTHETIC, TextConfig, VisionConfig};
pub use weights::{DecoderLayer, DecoderWeights, LayerNorm, VisionLayer, VisionWeights, Weights};

use crate::error::{Error, FormatError, ModelError};
use crate::format::{Container, TensorInfo, Value, WeightFormat};
use crate::kernels::WeightRows;
use crate::memory::{Block, Carver, Region};
use crate::ops::{Kinds, Matrix};
use crate::tokenizer::Tokenizer;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use names::{Part, TensorRole, Usage};
use zerocopy::FromBytes;

#[cfg(target_endian = "big")]
compile_error!("model files hold little-endian numbers that are used in place");

/// A model file, checked and ready to be run.
#[derive(Debug)]
pub struct Model {
    data: Data,
    name: String,
    is_synthetic: bool,
    config: Config,
    tokenizer: Tokenizer,
    tensors: BTreeMap<String, Tensor>,
}

/// A tensor that was found as expected.
#[derive(Debug)]
struct Tensor {
    info: TensorInfo,
    /// Row length without padding, which only the sizes tell.
    k: usize,
    /// Number of rows without padding.
    rows: usize,
    usage: Usage,
    part: Part,
}

/// Where the file's bytes are.
#[derive(Debug)]
enum Data {
    #[cfg(feature = "std")]
    Mapped(memmap2::Mmap),
    Copied(Region<u8>),
    Static(&'static [u8]),
}

impl Data {
    fn bytes(&self) -> &[u8] {
        match self {
            #[cfg(feature = "std")]
            Data::Mapped(map) => map,
            Data::Copied(region) => region,
            Data::Static(bytes) => bytes,
        }
    }
}

impl Model {
    /// Maps and checks the file at `path`, which must not be written to while the model is in use.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read; [`Error::Format`], [`Error::Model`] or [`Error::Tokenizer`] if it does
    /// not hold a model that this runtime can run.
    #[cfg(feature = "std")]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self, Error> {
        Self::check(Data::Mapped(crate::platform::mmap::map(path.as_ref())?))
    }

    /// Checks a file in memory that lives as long as the program, such as one linked into it.
    ///
    /// # Errors
    /// As [`Model::open`]; also if `file` is not aligned to [`crate::format::TENSOR_ALIGNMENT`].
    pub fn from_static(file: &'static [u8]) -> Result<Self, Error> {
        Self::check(Data::Static(file))
    }

    /// Copies and checks a file in memory.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn from_bytes(file: &[u8]) -> Result<Self, Error> {
        let mut measure = Carver::measuring();
        let _ = measure.region::<u8>("model", file.len());
        let plan = measure.into_plan();
        let mut copy = Carver::cutting(Block::allocate(plan.bytes())?, &plan)?.region("model", file.len());
        copy.copy_from_slice(file);
        Self::check(Data::Copied(copy))
    }

    fn check(data: Data) -> Result<Self, Error> {
        // First of all: what kind of file it is decides whether anything else can be expected.
        let file = Container::parse_if(data.bytes(), |file| {
            Config::check_architecture(file)?;
            file.check_version()
        })?;
        let config = Config::from_container(&file)?;
        let name = file.text("general.name").unwrap_or("unnamed").to_string();
        let is_synthetic = is_synthetic(&file)?;
        let tokenizer = Tokenizer::from_container(&file)?;
        if tokenizer.len() != config.text.n_vocab {
            let reason = format!("{} pieces for {} embedding rows", tokenizer.len(), config.text.n_vocab);
            return Err(ModelError::Config { reason }.into());
        }
        let mut found: BTreeMap<String, TensorInfo> =
            file.tensors().iter().map(|t| (t.name.clone(), t.clone())).collect();
        let mut tensors = BTreeMap::new();
        for role in names::all(&config) {
            let Some(tensor) = found.remove(&role.name) else {
                return Err(ModelError::MissingTensor(role.name).into());
            };
            check_tensor(&role, &tensor, data.bytes())?;
            let (k, rows) = (role.dims[0], role.dims[1..].iter().product());
            tensors.insert(role.name, Tensor { info: tensor, k, rows, usage: role.usage, part: role.part });
        }
        if let Some(name) = found.into_keys().next() {
            return Err(ModelError::UnexpectedTensor(name).into());
        }
        check_shared_inputs(&config, &tensors)?;
        Ok(Model { data, name, is_synthetic, config, tokenizer, tensors })
    }

    /// The model's sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The model's name, as its packer wrote it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the weights are random, so that only the time of an answer means anything. Whoever shows results has
    /// to say so.
    pub fn is_synthetic(&self) -> bool {
        self.is_synthetic
    }

    /// The model's vocabulary.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// All tensors, by name.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.tensors.values().map(|t| &t.info)
    }

    /// Size of the file.
    pub fn file_bytes(&self) -> usize {
        self.data.bytes().len()
    }

    /// The longest row of a matrix stored in floats, which need room to be unpacked; 0 if all are quantized.
    pub fn longest_float_row(&self) -> usize {
        let is_float = |t: &&Tensor| t.usage == Usage::Matrix && !t.info.format.is_quantized();
        self.tensors.values().filter(is_float).map(|t| t.k).max().unwrap_or(0)
    }

    /// The kinds of matrices that `part` has.
    pub fn kinds(&self, part: Part) -> Kinds {
        let has = |quantized| {
            let mut matrices = self.tensors.values().filter(|t| t.part == part && t.usage == Usage::Matrix);
            matrices.any(|t| t.info.format.is_quantized() == quantized)
        };
        Kinds { floats: has(false), integers: has(true) }
    }

    fn tensor(&self, name: &str) -> (&Tensor, &[u8]) {
        let t = &self.tensors[name];
        (t, &self.data.bytes()[t.info.bytes.clone()])
    }

    fn matrix(&self, name: &str) -> Matrix<'_> {
        let (t, bytes) = self.tensor(name);
        Matrix { weights: WeightRows::new(t.info.format, bytes, t.k, t.rows), bias: None }
    }

    fn values(&self, name: &str) -> &[f32] {
        <[f32]>::ref_from_bytes(self.tensor(name).1).expect("checked when the file was opened")
    }
}

fn is_synthetic(file: &Container<'_>) -> Result<bool, FormatError> {
    match file.get(SYNTHETIC) {
        None => Ok(false),
        Some(Value::Bool(is_synthetic)) => Ok(is_synthetic),
        Some(other) => {
            let reason = format!("{other:?}, expected true or false");
            Err(FormatError::BadValue { key: SYNTHETIC.into(), reason })
        }
    }
}

fn check_tensor(role: &TensorRole, found: &TensorInfo, file: &[u8]) -> Result<(), Error> {
    let mut dims = role.dims.clone();
    dims[0] = found.format.padded(dims[0]);
    if let Some(rows) = dims.get_mut(1) {
        *rows = found.format.padded_rows(*rows);
    }
    let format_fits = role.usage == Usage::Matrix || found.format == WeightFormat::F32;
    if dims != found.dims || !format_fits {
        let wanted = if role.usage == Usage::Matrix { "any format" } else { "f32" };
        return Err(ModelError::Tensor {
            name: role.name.clone(),
            expected: format!("{:?} in {wanted}", dims),
            found: format!("{:?} in {}", found.dims, found.format.name()),
        }
        .into());
    }
    if role.usage == Usage::Values && <[f32]>::ref_from_bytes(&file[found.bytes.clone()]).is_err() {
        let reason = "not aligned in memory: link the file in with an alignment of 64".to_string();
        return Err(FormatError::Tensor { name: role.name.clone(), reason }.into());
    }
    Ok(())
}

/// Matrices that multiply the same activations must agree on whether those are quantized.
fn check_shared_inputs(config: &Config, tensors: &BTreeMap<String, Tensor>) -> Result<(), ModelError> {
    let vision = (0..config.vision.n_layers)
        .map(|i| ["attn_q", "attn_k", "attn_v"].map(|w| format!("{}.weight", names::vision(i, w))).to_vec());
    let decoder = (0..config.text.n_layers)
        .flat_map(|i| [vec_of(i, &["attn_q", "attn_k", "attn_v"]), vec_of(i, &["ffn_gate", "ffn_up"])]);
    for group in vision.chain(decoder) {
        let first = &tensors[&group[0]].info;
        for other in &group[1..] {
            let other = &tensors[other].info;
            if other.format.is_quantized() != first.format.is_quantized() {
                return Err(ModelError::Tensor {
                    name: other.name.clone(),
                    expected: format!(
                        "integer blocks or floats as \"{}\", {}",
                        first.name,
                        first.format.name()
                    ),
                    found: other.format.name().to_string(),
                });
            }
        }
    }
    Ok(())
}

fn vec_of(i: usize, names: &[&str]) -> alloc::vec::Vec<String> {
    names.iter().map(|w| names::decoder(i, w)).collect()
}
