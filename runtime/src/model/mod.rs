//! Opening a model file: every size, tensor and piece is checked here, once; nothing is run.
//!
//! A file is untrusted. What this module hands out afterwards ([`Weights`], [`Config`], the tokenizer) needs no
//! further check anywhere. [`Header`] is all of it but the weights, and enough to plan with.

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
#[cfg(feature = "std")]
use crate::platform::mmap;
use crate::tokenizer::Tokenizer;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use names::{Part, TensorRole, Usage};
use zerocopy::FromBytes;

#[cfg(target_endian = "big")]
compile_error!("model files hold little-endian numbers that are used in place");

/// Bytes read of a file to begin with; the header of a full-size one takes some 8 MB.
#[cfg(feature = "std")]
const FIRST_READ: usize = 1 << 20;

/// A model file, checked and ready to be run.
#[derive(Debug)]
pub struct Model {
    data: Data,
    header: Header,
}

/// What a model file says of itself before its weights begin, checked.
#[derive(Debug)]
pub struct Header {
    name: String,
    is_synthetic: bool,
    config: Config,
    tokenizer: Tokenizer,
    tensors: BTreeMap<String, Tensor>,
    file_bytes: usize,
}

/// Where a model's weights are while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placement {
    /// In the file's own pages, which the system shares, keeps from run to run and drops when memory is short.
    #[default]
    Mapped,
    /// In a copy on huge pages, where the system has them: read faster, and takes the time and memory of a copy.
    Huge,
}

impl Placement {
    /// The name on command lines and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Placement::Mapped => "mapped",
            Placement::Huge => "huge",
        }
    }
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
    #[cfg(feature = "std")]
    Huge(mmap::Anonymous),
    Copied(Region<u8>),
    Static(&'static [u8]),
}

impl Data {
    fn bytes(&self) -> &[u8] {
        match self {
            #[cfg(feature = "std")]
            Data::Mapped(map) => map,
            #[cfg(feature = "std")]
            Data::Huge(memory) => memory,
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
        Self::open_in(path, Placement::Mapped, &mut |_, _| ())
    }

    /// As [`Model::open`], with the weights where `placement` says. A copy is made in pieces, and `progress` is told the
    /// bytes read and all bytes after each.
    ///
    /// # Errors
    /// As [`Model::open`], and [`SetupError::Copy`](crate::error::SetupError::Copy) if the machine has not the memory for a copy.
    #[cfg(feature = "std")]
    pub fn open_in(
        path: impl AsRef<std::path::Path>,
        placement: Placement,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, Error> {
        let path = path.as_ref();
        match placement {
            Placement::Mapped => Self::check(Data::Mapped(mmap::map(path)?)),
            Placement::Huge => {
                // A file that cannot be run is refused before gigabytes are read.
                Header::read(path)?;
                Self::check(Data::Huge(mmap::read(path, progress)?))
            }
        }
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
        let header = Header::parse(data.bytes(), data.bytes().len())?;
        header.check_alignment(data.bytes())?;
        Ok(Model { data, header })
    }

    /// Everything but the weights.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The model's sizes.
    pub fn config(&self) -> &Config {
        &self.header.config
    }

    /// The model's name, as its packer wrote it.
    pub fn name(&self) -> &str {
        &self.header.name
    }

    /// Whether the weights are random, so that only the time of an answer means anything. Whoever shows results has
    /// to say so.
    pub fn is_synthetic(&self) -> bool {
        self.header.is_synthetic
    }

    /// The model's vocabulary.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.header.tokenizer
    }

    /// All tensors, by name.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.header.tensors()
    }

    /// Size of the file in bytes.
    pub fn file_bytes(&self) -> usize {
        self.header.file_bytes
    }

    /// How much of the weights lies in huge pages now, in bytes; `None` where the system does not say.
    #[cfg(feature = "std")]
    pub fn huge_page_bytes(&self) -> Option<u64> {
        mmap::huge_bytes(self.data.bytes())
    }

    fn tensor(&self, name: &str) -> (&Tensor, &[u8]) {
        let t = &self.header.tensors[name];
        (t, &self.data.bytes()[t.info.bytes.clone()])
    }

    /// The bytes of the tensor called `name`, which has to be one of [`names::all`].
    pub(crate) fn bytes(&self, name: &str) -> &[u8] {
        self.tensor(name).1
    }

    /// The matrix called `name`, which has to be one of [`names::all`], without its bias.
    pub(crate) fn matrix(&self, name: &str) -> Matrix<'_> {
        let (t, bytes) = self.tensor(name);
        Matrix { weights: WeightRows::new(t.info.format, bytes, t.k, t.rows), bias: None }
    }

    fn values(&self, name: &str) -> &[f32] {
        <[f32]>::ref_from_bytes(self.bytes(name)).expect("checked when the file was opened")
    }
}

impl Header {
    /// Reads the beginning of the file at `path`, and nothing of its weights.
    ///
    /// # Errors
    /// As [`Model::open`].
    #[cfg(feature = "std")]
    pub fn read(path: impl AsRef<std::path::Path>) -> Result<Self, Error> {
        use std::io::Read;
        let path = path.as_ref();
        let (mut file, file_bytes) = mmap::open(path)?;
        let file_bytes = usize::try_from(file_bytes).unwrap_or(usize::MAX);
        let mut beginning = alloc::vec::Vec::new();
        let mut wanted = FIRST_READ;
        loop {
            let more = wanted.min(file_bytes).saturating_sub(beginning.len());
            let read = (&mut file).take(more as u64).read_to_end(&mut beginning);
            read.map_err(|e| Error::Io { path: path.display().to_string(), reason: e.to_string() })?;
            match Self::parse(&beginning, file_bytes) {
                // Its length is only known once it was read: more of the file is needed, and there is more.
                Err(Error::Format(FormatError::Truncated { at, needed, .. }))
                    if beginning.len() == wanted && at as u64 + needed <= file_bytes as u64 =>
                {
                    wanted *= 2;
                }
                Err(Error::Format(FormatError::Truncated { what, at, needed, .. })) => {
                    let left = file_bytes.saturating_sub(at);
                    return Err(FormatError::Truncated { what, at, needed, left }.into());
                }
                result => return result,
            }
        }
    }

    /// Checks what a file of `file_bytes` begins with: all of it up to the first tensor.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn parse(beginning: &[u8], file_bytes: usize) -> Result<Self, Error> {
        // First of all: what kind of file it is decides whether anything else can be expected.
        let file = Container::parse_beginning(beginning, file_bytes, |file| {
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
            check_tensor(&role, &tensor)?;
            let (k, rows) = (role.dims[0], role.dims[1..].iter().product());
            tensors.insert(role.name, Tensor { info: tensor, k, rows, usage: role.usage, part: role.part });
        }
        if let Some(name) = found.into_keys().next() {
            return Err(ModelError::UnexpectedTensor(name).into());
        }
        check_shared_inputs(&config, &tensors)?;
        Ok(Header { name, is_synthetic, config, tokenizer, tensors, file_bytes })
    }

    /// Values are used in place, wherever the file's bytes are.
    fn check_alignment(&self, file: &[u8]) -> Result<(), FormatError> {
        for (name, t) in self.tensors.iter().filter(|(_, t)| t.usage == Usage::Values) {
            if <[f32]>::ref_from_bytes(&file[t.info.bytes.clone()]).is_err() {
                let reason = "not aligned in memory: link the file in with an alignment of 64".to_string();
                return Err(FormatError::Tensor { name: name.clone(), reason });
            }
        }
        Ok(())
    }

    /// The model's sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The model's name, as its packer wrote it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the weights are random: see [`Model::is_synthetic`].
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

    /// Size of the file in bytes.
    pub fn file_bytes(&self) -> usize {
        self.file_bytes
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

fn check_tensor(role: &TensorRole, found: &TensorInfo) -> Result<(), Error> {
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
