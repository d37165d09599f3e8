//! What tests of several rooms share.

pub mod compare;
pub mod disk;
pub mod gguf;
pub mod golden;
pub mod models;
pub mod programs;
pub mod stages;
pub mod tolerances;
