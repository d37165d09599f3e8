//! The pieces in compact form: text of an id, id of a text.
//!
//! Called by the rest of `tokenizer` only. In: the pieces in id order; out: slices of one text blob, and ids by way
//! of an open-addressing hash table of `u32`. A PaliGemma vocabulary of 257 152 pieces takes about 6.5 MB.

use super::{PieceKind, TokenId};
use crate::error::TokenizerError;
use alloc::{format, string::String, vec, vec::Vec};

/// Most pieces a vocabulary may have; scores that count merges are exact in `f32` up to here.
const MAX_PIECES: usize = 1 << 24;
/// Marks a free slot of the hash table.
const FREE: u32 = u32::MAX;

/// All pieces and the index over their texts.
pub(super) struct Vocabulary {
    /// Texts of all pieces, one after another.
    texts: String,
    /// Where the text of each piece ends in `texts`. [n_pieces]
    ends: Vec<u32>,
    /// [n_pieces]
    scores: Vec<f32>,
    /// [n_pieces]
    kinds: Vec<PieceKind>,
    /// Ids at the place their text hashes to, or the next free one; at most half full. [power of two]
    slots: Vec<u32>,
    longest_bytes: usize,
}

impl Vocabulary {
    pub(super) fn new<'a>(
        pieces: impl Iterator<Item = (&'a str, f32, PieceKind)>,
    ) -> Result<Vocabulary, TokenizerError> {
        // A hint is only a hint: what it makes us reserve stays bounded.
        let expected = pieces.size_hint().0.min(1 << 19);
        let mut vocabulary = Vocabulary {
            texts: String::with_capacity(8 * expected),
            ends: Vec::with_capacity(expected),
            scores: Vec::with_capacity(expected),
            kinds: Vec::with_capacity(expected),
            slots: Vec::new(),
            longest_bytes: 0,
        };
        for (text, score, kind) in pieces {
            vocabulary.push(text, score, kind)?;
        }
        vocabulary.texts.shrink_to_fit();
        vocabulary.index()?;
        Ok(vocabulary)
    }

    fn push(&mut self, text: &str, score: f32, kind: PieceKind) -> Result<(), TokenizerError> {
        let id = self.ends.len();
        if id >= MAX_PIECES {
            return Err(TokenizerError::Vocabulary(format!("more than {MAX_PIECES} pieces")));
        }
        if text.is_empty() {
            return Err(TokenizerError::Vocabulary(format!("piece {id} has no text")));
        }
        if !score.is_finite() {
            return Err(TokenizerError::Vocabulary(format!("piece {id} \"{text}\" has the score {score}")));
        }
        let end = u32::try_from(self.texts.len() + text.len()).map_err(|_| {
            TokenizerError::Vocabulary(String::from("the pieces have more than 4 GB of text"))
        })?;
        self.texts.push_str(text);
        self.ends.push(end);
        // Makes -0 and 0 one score, as comparing floats does.
        self.scores.push(score + 0.0);
        self.kinds.push(kind);
        self.longest_bytes = self.longest_bytes.max(text.len());
        Ok(())
    }

    fn index(&mut self) -> Result<(), TokenizerError> {
        let mut slots = vec![FREE; (2 * self.len()).next_power_of_two()];
        let mask = slots.len() - 1;
        for id in 0..self.ends.len() as TokenId {
            let text = self.bytes(id);
            let mut slot = hash(text) as usize & mask;
            while slots[slot] != FREE {
                if self.bytes(slots[slot]) == text {
                    let piece = self.piece(id).unwrap_or_default().into();
                    return Err(TokenizerError::DuplicatePiece { piece, ids: [slots[slot], id] });
                }
                slot = (slot + 1) & mask;
            }
            slots[slot] = id;
        }
        self.slots = slots;
        Ok(())
    }

    /// The piece with exactly this text, of any kind.
    pub(super) fn find(&self, text: &[u8]) -> Option<TokenId> {
        if text.len() > self.longest_bytes {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut slot = hash(text) as usize & mask;
        while self.slots[slot] != FREE {
            if self.bytes(self.slots[slot]) == text {
                return Some(self.slots[slot]);
            }
            slot = (slot + 1) & mask;
        }
        None
    }

    /// The piece with this text if text may be merged into it.
    pub(super) fn find_mergeable(&self, text: &[u8]) -> Option<TokenId> {
        let mergeable = |&id: &TokenId| {
            matches!(self.kind(id), Some(PieceKind::Normal | PieceKind::UserDefined | PieceKind::Unused))
        };
        self.find(text).filter(mergeable)
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn piece(&self, id: TokenId) -> Option<&str> {
        let end = *self.ends.get(id as usize)? as usize;
        let start = if id == 0 { 0 } else { self.ends[id as usize - 1] as usize };
        self.texts.get(start..end)
    }

    /// The text of a piece; nothing for an id without one.
    pub(super) fn bytes(&self, id: TokenId) -> &[u8] {
        self.piece(id).unwrap_or_default().as_bytes()
    }

    pub(super) fn kind(&self, id: TokenId) -> Option<PieceKind> {
        self.kinds.get(id as usize).copied()
    }

    /// The higher, the earlier merged.
    pub(super) fn score(&self, id: TokenId) -> f32 {
        self.scores.get(id as usize).copied().unwrap_or(f32::MIN)
    }

    pub(super) fn longest_bytes(&self) -> usize {
        self.longest_bytes
    }
}

/// FNV-1a with its upper half folded in: 32-bit arithmetic, so it is cheap on small boards as well.
fn hash(text: &[u8]) -> u32 {
    let hash =
        text.iter().fold(0x811c_9dc5_u32, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash ^ (hash >> 15)
}
