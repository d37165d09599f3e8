//! Longest match among the user-defined pieces (`<loc0000>`, runs of newlines and spaces, HTML tags).
//!
//! Called by `encode` at every character. In: the rest of the text; out: how many of its bytes are one piece.

use super::vocabulary::Vocabulary;
use super::{PieceKind, TokenId};
use alloc::vec::Vec;

/// The user-defined pieces, arranged for prefix search.
pub(super) struct UserDefined {
    /// Sorted by text, so that the pieces with a common start are neighbours and the shortest comes first.
    sorted: Vec<TokenId>,
    /// Which bytes a piece begins with; settles most characters at once.
    first_bytes: [bool; 256],
}

impl UserDefined {
    pub(super) fn new(vocabulary: &Vocabulary) -> UserDefined {
        let mut sorted: Vec<TokenId> = (0..vocabulary.len() as TokenId)
            .filter(|&id| vocabulary.kind(id) == Some(PieceKind::UserDefined))
            .collect();
        sorted.sort_unstable_by(|&a, &b| vocabulary.bytes(a).cmp(vocabulary.bytes(b)));
        let mut first_bytes = [false; 256];
        for &id in &sorted {
            if let Some(&byte) = vocabulary.bytes(id).first() {
                first_bytes[usize::from(byte)] = true;
            }
        }
        UserDefined { sorted, first_bytes }
    }

    /// Bytes of the longest piece that `text` begins with.
    pub(super) fn longest_prefix(&self, vocabulary: &Vocabulary, text: &[u8]) -> Option<usize> {
        if !self.first_bytes[usize::from(*text.first()?)] {
            return None;
        }
        let mut longest = None;
        // Always the pieces that begin with the bytes looked at so far.
        let mut candidates = &self.sorted[..];
        for (depth, byte) in text.iter().enumerate() {
            let byte_at = |&id: &TokenId| vocabulary.bytes(id).get(depth);
            let start = candidates.partition_point(|id| byte_at(id) < Some(byte));
            let end = candidates.partition_point(|id| byte_at(id) <= Some(byte));
            candidates = &candidates[start..end];
            match candidates.first() {
                Some(&id) if vocabulary.bytes(id).len() == depth + 1 => longest = Some(depth + 1),
                Some(_) => {}
                None => break,
            }
        }
        longest
    }
}
