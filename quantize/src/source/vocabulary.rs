//! A vocabulary as both readers (`sentencepiece`, `tokenizer_json`) hand it on: what the model file will store.
//!
//! Made by the readers, taken by the writer of the model file. In: nothing; out: pieces in id order.

use pg_runtime::error::TokenizerError;
use pg_runtime::tokenizer::{PieceKind, SpecialIds, Tokenizer};

/// All pieces and the ids with a meaning of their own.
#[derive(Debug, Clone, PartialEq)]
pub struct Vocabulary {
    /// In id order, without `<image>`.
    pub pieces: Vec<Piece>,
    /// `<image>` is the id after the last piece, or a later one.
    pub special: SpecialIds,
}

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// U+2581 stands for a space.
    pub text: String,
    /// The higher, the earlier merged.
    pub score: f32,
    /// What sort of piece it is.
    pub kind: PieceKind,
}

impl Vocabulary {
    /// The tokenizer that the runtime will make of these pieces. Fails where the runtime would.
    pub fn tokenizer(&self) -> Result<Tokenizer, TokenizerError> {
        let pieces = self.pieces.iter().map(|piece| (piece.text.as_str(), piece.score, piece.kind));
        Tokenizer::new(pieces, self.special)
    }
}

/// Most pieces a reader accepts: sixty times as many as Gemma has.
pub(super) const MAX_PIECES: usize = 1 << 24;
