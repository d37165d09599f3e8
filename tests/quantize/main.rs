//! `pg-quantize` from outside: the files it writes, the checkpoints it refuses, the places it looks in.
//!
//! Checkpoints are made from the one bundled in `quantize/demo`.

mod against_ggml;
mod cache;
mod checkpoint;
mod output;
mod refusals;
mod same_file;
mod synthetic;
mod values;
