//! The model file: bytes to a checked view, and a checked view to bytes.
//!
//! Works on `&[u8]` alone, so that fuzzers, bare metal and the packer use the same code as a mapped file. The
//! format is GGUF version 3 with the additions written down in `SPEC.md` beside this file.
//!
//! Not here: files, memory maps, threads, arithmetic beyond reading or writing one block, and what a model
//! needs to hold (that is [`crate::model`]).

pub mod block;
pub mod container;
#[cfg(feature = "std")]
pub mod emit;
pub mod limits;
pub mod metadata;

pub use block::WeightFormat;
pub use container::{Container, TensorInfo};
pub use metadata::{Array, Value};

/// Version of the additions in `SPEC.md` that this code writes, and the newest that it reads.
///
/// A reader of version N reads every file whose `paligemma.format.minimum_reader` is at most N.
pub const FORMAT_VERSION: u32 = 1;

/// Every tensor starts at a multiple of this many bytes from the beginning of the file (a cache line).
pub const TENSOR_ALIGNMENT: usize = 64;
