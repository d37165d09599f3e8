//! Packs a PaliGemma checkpoint into one GGUF file.
//!
//! ```no_run
//! # fn main() -> Result<(), pg_quantize::Error> {
//! let source = pg_quantize::resolve("mix-224")?;
//! let checkpoint = pg_quantize::Checkpoint::open(&source)?;
//! let output = std::path::Path::new("mix-224.gguf");
//! let report = pg_quantize::pack(&checkpoint, pg_quantize::Preset::Q4, output, &mut |_| {})?;
//! print!("{report}");
//! # Ok(())
//! # }
//! ```
//!
//! | room | what |
//! | --- | --- |
//! | [`source`] | finds and checks checkpoints: config.json, safetensors, tokenizer |
//! | [`recipe`] | which tensor gets which format |
//! | [`quant`] | values to blocks: the choice of scales |
//! | `pack` | the file, tensor by tensor, complete or not at all |
//! | [`synthetic`] | random weights in place of a checkpoint |
//! | [`report`] | what was written and what it lost |
//!
//! Not here: any layout. Blocks, container and tensor names are `pg_runtime::format` and `pg_runtime::model`,
//! which read them as well. Nothing here is needed to run a model, and nothing here uses the network.

pub mod error;
mod pack;
pub mod quant;
pub mod recipe;
pub mod report;
pub mod source;
pub mod synthetic;

pub use error::Error;
pub use pack::{Progress, pack, pack_to_vec};
pub use recipe::Preset;
pub use report::{Group, Report};
pub use source::{Checkpoint, Source, resolve};
pub use synthetic::Synthetic;
