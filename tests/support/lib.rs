//! What tests of several rooms share.

pub mod gguf;
pub mod programs;
