//! Tokens to text, boxes and mask codes, as they come.
//!
//! The model writes an object as four location tokens (y0 x0 y1 x1), for a mask sixteen segment tokens, and its
//! label; objects are separated by " ;". Whatever does not follow that form is reported, never guessed at.

mod boxes;

pub use boxes::Bbox;

use crate::tokenizer::{Decoder, TokenId, Tokenizer};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// Location tokens of one box.
const BOX_TOKENS: usize = 4;
/// Segment tokens of one mask.
pub const MASK_TOKENS: usize = 16;

/// One detected object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Where.
    pub bbox: Bbox,
    /// Geometric mean of the probabilities of the four location tokens, 0 to 1.
    pub score: f32,
    /// The mask's codes, if the model gave a whole mask.
    pub mask_codes: Option<[u8; MASK_TOKENS]>,
    /// Its label: a range of the answer's text.
    pub label: Range<usize>,
}

/// Something that looked like an object and was not one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// A range of the answer's text.
    pub text: Range<usize>,
    /// What is wrong with it.
    pub reason: DropReason,
}

/// What is wrong with something dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// Another number of location tokens than four.
    Locations(usize),
    /// A box without area, or with its corners swapped.
    EmptyBox,
    /// Another number of segment tokens than sixteen; the box itself was kept.
    Segments(usize),
    /// Segment tokens without a box.
    MaskWithoutBox,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DropReason::Locations(n) => write!(f, "{n} location tokens, a box has {BOX_TOKENS}"),
            DropReason::EmptyBox => write!(f, "the box has no area"),
            DropReason::Segments(n) => write!(f, "{n} segment tokens, a mask has {MASK_TOKENS}"),
            DropReason::MaskWithoutBox => write!(f, "segment tokens without a box"),
        }
    }
}

/// Collects an answer. All room is taken at set-up.
#[derive(Debug)]
pub struct Collector {
    tokens: Vec<TokenId>,
    text: String,
    objects: Vec<Object>,
    dropped: Vec<Dropped>,
    decoder: Decoder,
    state: State,
}

/// The object being read.
#[derive(Debug, Clone)]
struct State {
    /// Where its text starts.
    start: usize,
    n_loc: usize,
    loc: [u16; BOX_TOKENS],
    /// Sum of the logarithms of the locations' probabilities.
    log_probability: f32,
    n_seg: usize,
    seg: [u8; MASK_TOKENS],
    /// Where its label starts, once something else than locations and segments has come.
    label: Option<usize>,
}

impl State {
    fn at(start: usize) -> Self {
        State {
            start,
            n_loc: 0,
            loc: [0; BOX_TOKENS],
            log_probability: 0.0,
            n_seg: 0,
            seg: [0; MASK_TOKENS],
            label: None,
        }
    }

    fn is_empty(&self) -> bool {
        self.n_loc == 0 && self.n_seg == 0
    }
}

impl Collector {
    /// Room for answers of up to `max_tokens` tokens.
    pub fn new(tokenizer: &Tokenizer, max_tokens: usize) -> Self {
        // A byte that is no UTF-8 becomes the three bytes of U+FFFD.
        let piece_bytes = tokenizer.longest_piece_bytes().max(3);
        Collector {
            tokens: Vec::with_capacity(max_tokens),
            text: String::with_capacity(max_tokens * piece_bytes + 3),
            objects: Vec::with_capacity(max_tokens / BOX_TOKENS + 1),
            dropped: Vec::with_capacity(max_tokens + 1),
            decoder: Decoder::new(),
            state: State::at(0),
        }
    }

    /// Starts another answer.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.text.clear();
        self.objects.clear();
        self.dropped.clear();
        self.decoder = Decoder::new();
        self.state = State::at(0);
    }

    /// Takes the next token; `probability` is asked for only where a score needs it.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: TokenId, probability: impl FnOnce() -> f32) {
        self.tokens.push(id);
        let (loc, seg) = (tokenizer.loc(id), tokenizer.seg(id));
        let starts_object = loc.is_some() && (self.state.label.is_some() || self.state.n_seg > 0);
        if starts_object {
            self.end_object();
        }
        if self.state.is_empty() {
            self.state.start = self.text.len();
        }
        let before = self.text.len();
        let text = &mut self.text;
        self.decoder.push(tokenizer, id, &mut |piece| text.push_str(piece));

        if let Some(loc) = loc {
            if let Some(slot) = self.state.loc.get_mut(self.state.n_loc) {
                *slot = loc;
                self.state.log_probability += libm::logf(probability());
            }
            self.state.n_loc += 1;
        } else if let Some(seg) = seg {
            if let Some(slot) = self.state.seg.get_mut(self.state.n_seg) {
                *slot = seg;
            }
            self.state.n_seg += 1;
        } else if !self.state.is_empty() {
            self.state.label.get_or_insert(before);
            if self.text[before..].contains(';') {
                self.end_object();
            }
        }
    }

    /// Ends the answer.
    pub fn finish(&mut self) {
        let text = &mut self.text;
        self.decoder.finish(&mut |piece| text.push_str(piece));
        self.end_object();
    }

    fn end_object(&mut self) {
        let end = self.text.len();
        let state = core::mem::replace(&mut self.state, State::at(end));
        if state.is_empty() {
            return;
        }
        let dropped = |reason| Dropped { text: state.start..end, reason };
        if state.n_loc == 0 {
            return self.dropped.push(dropped(DropReason::MaskWithoutBox));
        }
        if state.n_loc != BOX_TOKENS {
            return self.dropped.push(dropped(DropReason::Locations(state.n_loc)));
        }
        let Some(bbox) = Bbox::from_locations(state.loc) else {
            return self.dropped.push(dropped(DropReason::EmptyBox));
        };
        if state.n_seg != 0 && state.n_seg != MASK_TOKENS {
            self.dropped.push(dropped(DropReason::Segments(state.n_seg)));
        }
        self.objects.push(Object {
            bbox,
            score: libm::expf(state.log_probability / BOX_TOKENS as f32),
            mask_codes: (state.n_seg == MASK_TOKENS).then_some(state.seg),
            label: label(&self.text, state.label.unwrap_or(end)..end),
        });
    }

    /// The tokens so far.
    pub fn tokens(&self) -> &[TokenId] {
        &self.tokens
    }

    /// The text so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The objects so far.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// What was dropped so far.
    pub fn dropped(&self) -> &[Dropped] {
        &self.dropped
    }
}

/// The label inside a range of text: without the separator and surrounding space.
fn label(text: &str, range: Range<usize>) -> Range<usize> {
    let whole = &text[range.clone()];
    let name = whole.split(';').next().unwrap_or_default();
    let start = range.start + (name.len() - name.trim_start().len());
    start..start + name.trim().len()
}

#[cfg(test)]
mod tests;
