//! Ids to text, one at a time and without allocating.
//!
//! Called by `Tokenizer::decode` and by the generation loop, which streams its answer. In: ids; out: pieces of
//! text, handed to a callback as soon as they are certain. The rules are those of SentencePiece's
//! `SentencePieceProcessor::Decode`.

use super::special::byte_value;
use super::{PieceKind, SPACE, TokenId, Tokenizer};

/// What SentencePiece shows for `<unk>`.
const UNKNOWN_SURFACE: &str = " \u{2047} ";
/// What stands for a byte that is part of no character.
const REPLACEMENT: &str = "\u{FFFD}";

/// A decoder of one stream of ids. Holds the bytes of a character whose end has not come yet.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    /// Bytes that may become a character, `n_pending` of them.
    pending: [u8; 4],
    n_pending: usize,
}

impl Decoder {
    /// A decoder at the start of a text.
    pub const fn new() -> Decoder {
        Decoder { pending: [0; 4], n_pending: 0 }
    }

    /// Passes the text that `id` adds to `out`, in zero or more parts. Control pieces and ids without a piece add
    /// nothing; a byte piece may have to wait for the next ones.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: TokenId, out: &mut impl FnMut(&str)) {
        let piece = tokenizer.piece(id).unwrap_or_default();
        match tokenizer.kind(id) {
            Some(PieceKind::Byte) => match byte_value(piece) {
                Some(byte) => self.push_byte(byte, out),
                None => self.finish(out),
            },
            Some(PieceKind::Unknown) => {
                self.finish(out);
                out(UNKNOWN_SURFACE);
            }
            Some(PieceKind::Normal | PieceKind::UserDefined | PieceKind::Unused) => {
                self.finish(out);
                for (index, part) in piece.split(SPACE).enumerate() {
                    if index > 0 {
                        out(" ");
                    }
                    if !part.is_empty() {
                        out(part);
                    }
                }
            }
            Some(PieceKind::Control) | None => self.finish(out),
        }
    }

    /// Passes on what is left when no more ids come. The decoder is then at the start of a text again.
    pub fn finish(&mut self, out: &mut impl FnMut(&str)) {
        while self.n_pending > 0 {
            out(REPLACEMENT);
            self.drop_bytes(1);
            self.drain(out);
        }
    }

    fn push_byte(&mut self, byte: u8, out: &mut impl FnMut(&str)) {
        // `drain` leaves at most three bytes, so there is room for one.
        if let Some(slot) = self.pending.get_mut(self.n_pending) {
            *slot = byte;
            self.n_pending += 1;
        }
        self.drain(out);
    }

    /// Settles the pending bytes from the front until a character is incomplete. A byte that begins no character
    /// is replaced alone, and the next one gets its chance.
    fn drain(&mut self, out: &mut impl FnMut(&str)) {
        while self.n_pending > 0 {
            let needed = char_bytes(self.pending[0]);
            if needed > self.n_pending {
                return;
            }
            match core::str::from_utf8(&self.pending[..needed]) {
                Ok(text) => {
                    out(text);
                    self.drop_bytes(needed);
                }
                Err(_) => {
                    out(REPLACEMENT);
                    self.drop_bytes(1);
                }
            }
        }
    }

    fn drop_bytes(&mut self, n: usize) {
        self.pending.copy_within(n.., 0);
        self.n_pending -= n;
    }
}

/// Bytes of the character that `first` begins; 1 if it begins none.
fn char_bytes(first: u8) -> usize {
    match first {
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF7 => 4,
        _ => 1,
    }
}
