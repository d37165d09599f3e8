//! Text to ids: SentencePiece's BPE (`bpe_model.cc`, `Model::SampleEncode` without sampling).
//!
//! Called by `Tokenizer::encode`. In: any text; out: its ids. The best pair is merged first (highest score of the
//! merged piece, then the leftmost), found by a priority queue: O(n log n) in the length of the text.

use super::{PieceKind, SPACE, TokenId, Tokenizer};
use alloc::{
    collections::{BTreeMap, BinaryHeap},
    vec::Vec,
};
use core::cmp::Ordering;

pub(super) fn encode(tokenizer: &Tokenizer, text: &str) -> Vec<TokenId> {
    let text = text.replace(' ', SPACE);
    let mut merger = Merger {
        tokenizer,
        text: text.as_bytes(),
        symbols: split(tokenizer, &text),
        agenda: BinaryHeap::new(),
        unused_splits: BTreeMap::new(),
    };
    merger.merge();
    merger.into_ids()
}

/// A stretch of the text, in a list linked both ways. Merged ones grow, the ones they swallow get length 0.
struct Symbol {
    start: usize,
    len: usize,
    prev: usize,
    next: usize,
    /// A user-defined piece: never merged.
    frozen: bool,
}

/// Stands for "no neighbour".
const NONE: usize = usize::MAX;

/// One symbol per user-defined piece and per remaining character.
fn split(tokenizer: &Tokenizer, text: &str) -> Vec<Symbol> {
    let mut symbols: Vec<Symbol> = Vec::with_capacity(text.chars().count());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let matched = tokenizer.user_defined.longest_prefix(&tokenizer.vocabulary, rest.as_bytes());
        let len = matched.unwrap_or(first.len_utf8());
        let index = symbols.len();
        symbols.push(Symbol {
            start: text.len() - rest.len(),
            len,
            prev: index.checked_sub(1).unwrap_or(NONE),
            next: index + 1,
            frozen: matched.is_some(),
        });
        // Pieces are whole characters, so the cut is always between two.
        rest = rest.get(len..).unwrap_or_default();
    }
    if let Some(last) = symbols.last_mut() {
        last.next = NONE;
    }
    symbols
}

/// Two neighbours that make a piece.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// Length of both when this was queued; it is stale when they have another length by now.
    len: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Pair) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Pair) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Pair) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Pair {}

struct Merger<'a> {
    tokenizer: &'a Tokenizer,
    text: &'a [u8],
    symbols: Vec<Symbol>,
    agenda: BinaryHeap<Pair>,
    /// For each unused piece that came up: how many of its bytes were the left half. The last one seen counts,
    /// wherever in the text it was.
    unused_splits: BTreeMap<TokenId, usize>,
}

impl Merger<'_> {
    fn merge(&mut self) {
        for right in 1..self.symbols.len() {
            self.consider(right - 1, right);
        }
        while let Some(Pair { left, right, len, .. }) = self.agenda.pop() {
            let (left_len, right_len) = (self.symbols[left].len, self.symbols[right].len);
            if left_len == 0 || right_len == 0 || left_len + right_len != len {
                continue;
            }
            let next = self.symbols[right].next;
            self.symbols[right].len = 0;
            self.symbols[left].len = len;
            self.symbols[left].next = next;
            if next != NONE {
                self.symbols[next].prev = left;
            }
            self.consider(self.symbols[left].prev, left);
            self.consider(left, next);
        }
    }

    /// Queues two neighbours if they make a piece.
    fn consider(&mut self, left: usize, right: usize) {
        if left == NONE || right == NONE || self.symbols[left].frozen || self.symbols[right].frozen {
            return;
        }
        let (start, left_len) = (self.symbols[left].start, self.symbols[left].len);
        let len = left_len + self.symbols[right].len;
        let vocabulary = &self.tokenizer.vocabulary;
        if let Some(id) = vocabulary.find_mergeable(&self.text[start..start + len]) {
            self.agenda.push(Pair { score: vocabulary.score(id), left, right, len });
            if vocabulary.kind(id) == Some(PieceKind::Unused) {
                self.unused_splits.insert(id, left_len);
            }
        }
    }

    fn into_ids(self) -> Vec<TokenId> {
        let mut ids = Vec::new();
        let mut parts = Vec::new();
        let mut index = if self.symbols.is_empty() { NONE } else { 0 };
        while index != NONE {
            let symbol = &self.symbols[index];
            parts.push(&self.text[symbol.start..symbol.start + symbol.len]);
            self.emit(&mut parts, &mut ids);
            index = symbol.next;
        }
        ids
    }

    /// The ids of merged symbols, last one first: the symbol itself, the parts of an unused piece, or the bytes of
    /// an unknown character.
    fn emit(&self, parts: &mut Vec<&[u8]>, ids: &mut Vec<TokenId>) {
        let vocabulary = &self.tokenizer.vocabulary;
        while let Some(part) = parts.pop() {
            let found = vocabulary.find_mergeable(part);
            let used = found.filter(|&id| vocabulary.kind(id) != Some(PieceKind::Unused));
            let split = found.and_then(|id| self.unused_splits.get(&id));
            match (used, split) {
                (Some(id), _) => ids.push(id),
                (None, Some(&left_len)) => {
                    let (left, right) = part.split_at(left_len);
                    parts.extend([right, left]);
                }
                // A character without a piece of its own, or with an unused one.
                (None, None) => {
                    ids.extend(part.iter().map(|&byte| self.tokenizer.special.bytes[usize::from(byte)]));
                }
            }
        }
    }
}
