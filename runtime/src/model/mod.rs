//! Opening a model file: every size, tensor and piece is checked here, once; nothing is run.

mod config;
pub mod names;

pub use config::{ARCHITECTURE, Config, TextConfig, VisionConfig};
