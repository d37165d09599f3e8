//! Runs quantized PaliGemma on small CPUs: a picture and a prompt in; text, boxes and mask codes out.
//!
//! ```no_run
//! use pg_runtime::{Frame, Model, PixelFormat, Session, SessionOptions};
//!
//! # fn main() -> Result<(), pg_runtime::Error> {
//! let model = Model::open("demo.q4.gguf")?;
//! let mut session = Session::new(&model, SessionOptions::default())?;
//! let prompt = session.prompt("detect red circle")?;
//!
//! let pixels = vec![0; 640 * 480 * 3];
//! let frame = Frame::new(&pixels, 640, 480, PixelFormat::Rgb8)?;
//! let answer = session.run(&frame, &prompt)?;
//! println!("{}", answer.text());
//! for object in answer.objects() {
//!     println!("{} at {:?}", answer.label(object), object.bbox.pixels(640, 480));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Everything that can fail or allocate happens in [`Model::open`], [`Session::new`] and [`Session::prompt`]; a run
//! only refuses pictures it was not set up for. The rooms (modules) and their ranks are explained in
//! `ARCHITECTURE.md` at the top of the repository: a room imports only from rooms listed above it here.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

// Rank 0
pub mod error;
pub mod probe;
// Rank 1
pub mod format;
pub mod platform;
// Rank 2
pub mod kernels;
// Rank 3
pub mod memory;
pub mod self_test;
pub mod threads;
// Rank 4
pub mod imaging;
pub mod ops;
pub mod tokenizer;
// Rank 5
pub mod model;
#[cfg(feature = "labels")]
pub mod pictures;
// Rank 6
pub mod prefix;
pub mod vision;
// Rank 7
pub mod decoder;
pub mod output;
pub mod sampler;
// Rank 8
pub mod session;
// Rank 9
#[cfg(feature = "std")]
pub mod bench;

pub use decoder::KvPrecision;
pub use error::Error;
pub use imaging::{Frame, PixelFormat};
pub use kernels::Kernels;
pub use model::Model;
pub use output::{Bbox, Object};
pub use session::{Answer, Event, Look, Prompt, Session, SessionOptions, Stage, Timing};
pub use tokenizer::TokenId;
