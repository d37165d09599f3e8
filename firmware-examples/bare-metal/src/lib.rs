//! What the program says and shows, free of hardware: `examples/host.rs` makes the same screen in memory, to compare.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod canvas;
pub mod picture;
pub mod report;
pub mod screen;

use alloc::string::String;
use alloc::vec::Vec;
use pg_runtime::{Answer, Bbox, SessionOptions};

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

/// What the screen shows of the answers, kept beyond the session's next run.
#[derive(Debug, Default)]
pub struct Seen {
    /// What the picture is of.
    pub caption: String,
    /// What was found in it.
    pub found: Vec<Found>,
}

/// An object that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What it is.
    pub label: String,
    /// Where.
    pub bbox: Bbox,
}

impl Seen {
    /// Keeps the answer to one of [`PROMPTS`].
    pub fn keep(&mut self, prompt: &str, answer: &Answer<'_>) {
        if prompt.starts_with("caption") {
            self.caption = answer.text().into();
        } else {
            let objects = answer.objects().iter();
            self.found = objects.map(|o| Found { label: answer.label(o).into(), bbox: o.bbox }).collect();
        }
    }
}
