//! Text to tokens and back: SentencePiece BPE as Gemma and PaliGemma use it, plus the location and mask tokens.
//!
//! Called by the model loader (which hands in the pieces of the file), by the prompt builder (`encode`), by the
//! generation loop (`Decoder`) and by `output` (`loc`, `seg`). In: pieces with score and kind, then text or
//! ids; out: ids or text. Nothing here fails after [`Tokenizer::new`].
//!
//! The algorithm is that of SentencePiece's `bpe_model.cc` and `sentencepiece_processor.cc` under Gemma's options:
//! identity normalization, no dummy prefix, no whitespace removal, spaces written as U+2581, byte fallback.

mod decode;
mod encode;
mod metadata;
mod special;
#[cfg(test)]
mod tests;
mod user_defined;
mod vocabulary;

pub use decode::Decoder;
#[cfg(feature = "std")]
pub use metadata::emit;
pub use special::SpecialIds;

use crate::error::TokenizerError;
use alloc::{string::String, vec::Vec};
use special::Special;
use user_defined::UserDefined;
use vocabulary::Vocabulary;

/// Number of a piece, which is its row in the embedding table.
pub type TokenId = u32;

/// The character that stands for a space inside pieces.
const SPACE: &str = "\u{2581}";

/// A vocabulary that is ready to encode and decode.
pub struct Tokenizer {
    vocabulary: Vocabulary,
    user_defined: UserDefined,
    special: Special,
}

impl Tokenizer {
    /// Indexes `pieces` (text, score, kind; in id order) and checks everything PaliGemma relies on: the special
    /// ids, all 256 byte pieces, `<loc0000>`..`<loc1023>`, `<seg000>`..`<seg127>` and the newline piece.
    ///
    /// `<image>` may lie at or after the end of the pieces; when it is a piece it has to be a control piece, so
    /// that no user's text turns into it.
    pub fn new<'a>(
        pieces: impl Iterator<Item = (&'a str, f32, PieceKind)>,
        special: SpecialIds,
    ) -> Result<Tokenizer, TokenizerError> {
        let vocabulary = Vocabulary::new(pieces)?;
        let special = Special::find(&vocabulary, special)?;
        let user_defined = UserDefined::new(&vocabulary);
        Ok(Tokenizer { vocabulary, user_defined, special })
    }

    /// The ids of `text`, without `<bos>`. Control pieces that the text spells out (`<image>`, `<bos>`) stay
    /// plain text.
    pub fn encode(&self, text: &str) -> Vec<TokenId> {
        encode::encode(self, text)
    }

    /// The text of `ids`. Control pieces and ids without a piece are dropped, `<unk>` shows as " ⁇ ", and bytes that
    /// are part of no character become U+FFFD each.
    pub fn decode(&self, ids: &[TokenId]) -> String {
        let mut text = String::new();
        let mut decoder = Decoder::new();
        for &id in ids {
            decoder.push(self, id, &mut |part| text.push_str(part));
        }
        decoder.finish(&mut |part| text.push_str(part));
        text
    }

    /// The number that a location token stands for, 0 to 1023.
    pub fn loc(&self, id: TokenId) -> Option<u16> {
        let offset = id.checked_sub(self.special.first_loc)?;
        u16::try_from(offset).ok().filter(|&loc| loc < special::N_LOC)
    }

    /// The codeword that a mask token stands for, 0 to 127.
    pub fn seg(&self, id: TokenId) -> Option<u8> {
        let offset = id.checked_sub(self.special.first_seg)?;
        u8::try_from(offset).ok().filter(|&seg| seg < special::N_SEG)
    }

    /// The token of location `loc`; none from 1024 on.
    pub fn loc_id(&self, loc: u16) -> Option<TokenId> {
        (loc < special::N_LOC).then(|| self.special.first_loc + TokenId::from(loc))
    }

    /// The token of mask codeword `seg`; none from 128 on.
    pub fn seg_id(&self, seg: u8) -> Option<TokenId> {
        (seg < special::N_SEG).then(|| self.special.first_seg + TokenId::from(seg))
    }

    /// `<bos>`, which starts every prompt.
    pub fn bos(&self) -> TokenId {
        self.special.ids.bos
    }

    /// `<eos>`, which ends every answer.
    pub fn eos(&self) -> TokenId {
        self.special.ids.eos
    }

    /// `<pad>`.
    pub fn pad(&self) -> TokenId {
        self.special.ids.pad
    }

    /// `<unk>`. Never encoded to, because every byte has a piece.
    pub fn unk(&self) -> TokenId {
        self.special.ids.unk
    }

    /// `<image>`, the placeholder of one image token. May be an id without a piece.
    pub fn image(&self) -> TokenId {
        self.special.ids.image
    }

    /// The piece `"\n"`, which separates prompt and answer.
    pub fn newline(&self) -> TokenId {
        self.special.newline
    }

    /// Number of pieces.
    pub fn len(&self) -> usize {
        self.vocabulary.len()
    }

    /// Whether there are no pieces; never true for a tokenizer that exists.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text of a piece as the vocabulary has it (U+2581 for a space).
    pub fn piece(&self, id: TokenId) -> Option<&str> {
        self.vocabulary.piece(id)
    }

    /// What sort of piece `id` is.
    pub fn kind(&self, id: TokenId) -> Option<PieceKind> {
        self.vocabulary.kind(id)
    }

    /// Bytes of the longest piece. `n` tokens decode to at most `n` times as many bytes.
    pub fn longest_piece_bytes(&self) -> usize {
        self.vocabulary.longest_bytes()
    }
}

/// What sort of piece a token is. The numbers are those of SentencePiece's `Type` and of GGUF's
/// `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum PieceKind {
    /// A learned piece.
    Normal = 1,
    /// `<unk>`.
    Unknown = 2,
    /// A piece that text never encodes to and that decodes to nothing, such as `<bos>`.
    Control = 3,
    /// A piece that is split off before anything is merged, such as `<loc0000>`.
    UserDefined = 4,
    /// A piece that takes part in merges and is taken apart again afterwards.
    Unused = 5,
    /// One byte of text that no other piece covers, `<0x00>` to `<0xFF>`.
    Byte = 6,
}

impl PieceKind {
    /// The kind with this number.
    pub fn from_u32(number: u32) -> Option<PieceKind> {
        Some(match number {
            1 => PieceKind::Normal,
            2 => PieceKind::Unknown,
            3 => PieceKind::Control,
            4 => PieceKind::UserDefined,
            5 => PieceKind::Unused,
            6 => PieceKind::Byte,
            _ => return None,
        })
    }
}
