//! The pieces with a meaning of their own: where they are, and whether the vocabulary has them at all.
//!
//! Called by `Tokenizer::new`. In: the vocabulary and the ids that the model file names; out: [`Special`], or which
//! piece is missing.

use super::vocabulary::Vocabulary;
use super::{PieceKind, TokenId};
use crate::error::TokenizerError;
use alloc::{format, string::String};
use core::fmt::Write;

/// Location tokens: `<loc0000>` to `<loc1023>`.
pub(super) const N_LOC: u16 = 1024;
/// Mask tokens: `<seg000>` to `<seg127>`.
pub(super) const N_SEG: u8 = 128;

/// Ids that the model file states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialIds {
    /// `<bos>`, starts a prompt.
    pub bos: TokenId,
    /// `<eos>`, ends an answer.
    pub eos: TokenId,
    /// `<pad>`.
    pub pad: TokenId,
    /// `<unk>`.
    pub unk: TokenId,
    /// `<image>`; may lie at or after the end of the pieces.
    pub image: TokenId,
}

/// The ids above and those found by their text.
pub(super) struct Special {
    pub(super) ids: SpecialIds,
    pub(super) newline: TokenId,
    pub(super) first_loc: TokenId,
    pub(super) first_seg: TokenId,
    /// The piece of each byte value. [256]
    pub(super) bytes: [TokenId; 256],
}

impl Special {
    pub(super) fn find(vocabulary: &Vocabulary, ids: SpecialIds) -> Result<Special, TokenizerError> {
        check_kinds(vocabulary, &ids)?;
        let newline = vocabulary
            .find_mergeable(b"\n")
            .filter(|&id| vocabulary.kind(id) != Some(PieceKind::Unused))
            .ok_or_else(|| TokenizerError::MissingPiece(String::from("\\n")))?;
        let first_loc = find_series(vocabulary, "loc", 4, u32::from(N_LOC))?;
        let first_seg = find_series(vocabulary, "seg", 3, u32::from(N_SEG))?;
        Ok(Special { ids, newline, first_loc, first_seg, bytes: find_bytes(vocabulary)? })
    }
}

fn check_kinds(vocabulary: &Vocabulary, ids: &SpecialIds) -> Result<(), TokenizerError> {
    let wanted = [
        ("<bos>", ids.bos, PieceKind::Control),
        ("<eos>", ids.eos, PieceKind::Control),
        ("<pad>", ids.pad, PieceKind::Control),
        ("<unk>", ids.unk, PieceKind::Unknown),
        ("<image>", ids.image, PieceKind::Control),
    ];
    for (name, id, kind) in wanted {
        match vocabulary.kind(id) {
            Some(found) if found == kind => {}
            None if id == ids.image => {}
            None => {
                let n_pieces = vocabulary.len();
                let reason = format!("{name} is token {id}, but there are {n_pieces} pieces");
                return Err(TokenizerError::Vocabulary(reason));
            }
            Some(found) => {
                let reason =
                    format!("{name} is token {id}, which is a piece of kind {found:?}, not {kind:?}");
                return Err(TokenizerError::Vocabulary(reason));
            }
        }
    }
    Ok(())
}

/// The first id of `<{stem}0..>` to `<{stem}{count - 1}>`, which have to be consecutive and user-defined.
fn find_series(
    vocabulary: &Vocabulary,
    stem: &str,
    digits: usize,
    count: u32,
) -> Result<TokenId, TokenizerError> {
    let mut name = String::new();
    let mut find = |number: u32| {
        name.clear();
        // Writing to a string does not fail.
        let _ = write!(name, "<{stem}{number:0digits$}>");
        let found = vocabulary.find(name.as_bytes());
        let id = found.filter(|&id| vocabulary.kind(id) == Some(PieceKind::UserDefined));
        id.ok_or_else(|| TokenizerError::MissingPiece(name.clone()))
    };
    let first = find(0)?;
    for number in 1..count {
        let (id, expected) = (find(number)?, first + number);
        if id != expected {
            let reason = format!(
                "\"<{stem}{number:0digits$}>\" is token {id}, expected {expected}: the series has a gap"
            );
            return Err(TokenizerError::Vocabulary(reason));
        }
    }
    Ok(first)
}

fn find_bytes(vocabulary: &Vocabulary) -> Result<[TokenId; 256], TokenizerError> {
    let mut bytes = [None; 256];
    for id in 0..vocabulary.len() as TokenId {
        if vocabulary.kind(id) == Some(PieceKind::Byte) {
            let text = vocabulary.piece(id).unwrap_or_default();
            let value = byte_value(text).ok_or_else(|| {
                TokenizerError::Vocabulary(format!(
                    "byte piece {id} is called \"{text}\", not <0x00> to <0xFF>"
                ))
            })?;
            bytes[usize::from(value)] = Some(id);
        }
    }
    let mut ids = [0; 256];
    for (value, (id, found)) in ids.iter_mut().zip(bytes).enumerate() {
        *id = found.ok_or_else(|| TokenizerError::MissingPiece(format!("<0x{value:02X}>")))?;
    }
    Ok(ids)
}

/// The byte that `<0xNN>` (upper case, as SentencePiece writes it) stands for.
pub(super) fn byte_value(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?.as_bytes();
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    };
    match digits {
        &[high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    }
}
