//! What the program says and shows, free of hardware: `examples/host.rs` makes the same screen in memory, to compare.
#![no_std]

extern crate alloc;

pub mod canvas;
pub mod picture;
pub mod report;
pub mod screen;

use alloc::string::String;
use pg_runtime::{Answer, SessionOptions};

/// What the model is asked about the picture: a caption, and boxes of two kinds of things.
pub const PROMPTS: [&str; 2] = ["caption en", "detect red circle ; card"];

/// A session for [`PROMPTS`] and a picture of this size.
pub fn options(picture: &picture::Picture<'_>) -> SessionOptions {
    SessionOptions {
        max_prompt_tokens: 16,
        max_new_tokens: 64,
        max_side: picture.width.max(picture.height),
        threads: 1,
        ..SessionOptions::default()
    }
}

/// An object that was found, kept beyond the session's next run.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What it is.
    pub label: String,
    /// Where.
    pub bbox: pg_runtime::Bbox,
}

impl Found {
    /// The objects of an answer.
    pub fn all(answer: &Answer<'_>) -> alloc::vec::Vec<Found> {
        let objects = answer.objects().iter();
        objects.map(|o| Found { label: answer.label(o).into(), bbox: o.bbox }).collect()
    }
}
