//! The vocabulary in a model file: written and read side by side.
//!
//! `emit` is called by the packer, [`Tokenizer::from_container`] by the model loader. In: pieces and special ids, or
//! a checked container; out: metadata keys, or a tokenizer. The keys are llama.cpp's for SentencePiece vocabularies,
//! with PaliGemma's `<image>` beside them.

use super::{PieceKind, SpecialIds, TokenId, Tokenizer};
use crate::Error;
use crate::error::FormatError;
use crate::format::Container;
#[cfg(feature = "std")]
use crate::format::emit::Metadata;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

const MODEL: &str = "tokenizer.ggml.model";
/// What `tokenizer.ggml.model` says for SentencePiece BPE with byte fallback.
const SENTENCEPIECE: &str = "llama";
const TOKENS: &str = "tokenizer.ggml.tokens";
const SCORES: &str = "tokenizer.ggml.scores";
const KINDS: &str = "tokenizer.ggml.token_type";
const BOS: &str = "tokenizer.ggml.bos_token_id";
const EOS: &str = "tokenizer.ggml.eos_token_id";
const UNK: &str = "tokenizer.ggml.unknown_token_id";
const PAD: &str = "tokenizer.ggml.padding_token_id";
const IMAGE: &str = "paligemma.image_token_id";
const VOCAB_SIZE: &str = "paligemma.vocab_size";

/// What the tokenizer does and does not do, in the words of the keys; other answers are another tokenizer.
const OPTIONS: [(&str, bool); 4] = [
    ("tokenizer.ggml.add_bos_token", true),
    ("tokenizer.ggml.add_eos_token", false),
    ("tokenizer.ggml.add_space_prefix", false),
    ("tokenizer.ggml.remove_extra_whitespaces", false),
];

/// Writes `pieces` (in id order) and the special ids under the keys that [`Tokenizer::from_container`] reads.
#[cfg(feature = "std")]
pub fn emit<'a>(
    pieces: impl ExactSizeIterator<Item = (&'a str, f32, PieceKind)> + Clone,
    special: SpecialIds,
    m: &mut Metadata,
) {
    m.text(MODEL, SENTENCEPIECE);
    m.texts(TOKENS, pieces.clone().map(|(text, ..)| text));
    m.f32s(SCORES, pieces.clone().map(|(_, score, _)| score));
    m.i32s(KINDS, pieces.map(|(.., kind)| kind as i32));
    m.u32(BOS, special.bos);
    m.u32(EOS, special.eos);
    m.u32(UNK, special.unk);
    m.u32(PAD, special.pad);
    for (key, value) in OPTIONS {
        m.bool(key, value);
    }
    m.u32(IMAGE, special.image);
}

impl Tokenizer {
    /// Reads the vocabulary of a model file.
    ///
    /// # Errors
    /// A key that is missing or of the wrong type, lists that do not have one entry per token, another kind of
    /// tokenizer, or pieces that [`Tokenizer::new`] refuses.
    pub fn from_container(file: &Container<'_>) -> Result<Tokenizer, Error> {
        let model = file.text(MODEL)?;
        if model != SENTENCEPIECE {
            return Err(bad(
                MODEL,
                format!("\"{model}\", this runtime reads \"{SENTENCEPIECE}\" vocabularies"),
            ));
        }
        for (key, expected) in OPTIONS {
            check_option(file, key, expected)?;
        }
        let (n_texts, texts) = file.list(TOKENS, "text", |a| a.strings())?;
        let (n_scores, scores) = file.list(SCORES, "numbers", |a| a.f32s())?;
        let (n_kinds, kinds) = file.list(KINDS, "whole numbers", |a| a.i32s())?;
        let n_vocab = file.u32(VOCAB_SIZE)? as usize;
        for (key, n) in [(TOKENS, n_texts), (SCORES, n_scores), (KINDS, n_kinds)] {
            if n != n_vocab {
                return Err(bad(key, format!("{n} entries, {VOCAB_SIZE} is {n_vocab}")));
            }
        }
        let kinds = checked_kinds(kinds)?;
        let special = SpecialIds {
            bos: file.u32(BOS)?,
            eos: file.u32(EOS)?,
            pad: file.u32(PAD)?,
            unk: file.u32(UNK)?,
            image: file.u32(IMAGE)?,
        };
        let pieces = texts.zip(scores).zip(kinds).map(|((text, score), kind)| (text, score, kind));
        Ok(Tokenizer::new(pieces, special)?)
    }
}

fn check_option(file: &Container<'_>, key: &str, expected: bool) -> Result<(), Error> {
    use crate::format::Value;
    match file.get(key) {
        Some(Value::Bool(found)) if found == expected => Ok(()),
        Some(other) => Err(bad(key, format!("{other:?}, PaliGemma's tokenizer has {expected}"))),
        None => Err(FormatError::MissingKey(key.into()).into()),
    }
}

fn checked_kinds(kinds: impl Iterator<Item = i32>) -> Result<Vec<PieceKind>, Error> {
    let known = |(id, number): (usize, i32)| {
        let kind = u32::try_from(number).ok().and_then(PieceKind::from_u32);
        kind.ok_or_else(|| bad(KINDS, format!("token {} is of the unknown kind {number}", id as TokenId)))
    };
    kinds.enumerate().map(known).collect()
}

fn bad(key: &str, reason: String) -> Error {
    FormatError::BadValue { key: key.into(), reason }.into()
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::super::tests::{Pieces, pieces, special};
    use super::*;
    use crate::format::emit::TensorWriter;
    use alloc::string::ToString;

    /// A file without tensors that holds `pieces`; `n_vocab` is what the sizes say.
    fn file(pieces: &Pieces, n_vocab: usize) -> Vec<u8> {
        let mut m = Metadata::new();
        m.u32(VOCAB_SIZE, n_vocab as u32);
        emit(
            pieces.iter().map(|(text, score, kind)| (text.as_str(), *score, *kind)),
            special(pieces),
            &mut m,
        );
        TensorWriter::new(Vec::new(), &m, &[]).unwrap().finish()
    }

    fn read(file: &[u8]) -> Result<Tokenizer, String> {
        Tokenizer::from_container(&Container::parse(file).unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_vocabulary_survives_the_round_trip() {
        let pieces = pieces();
        let t = read(&file(&pieces, pieces.len())).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(t.len(), pieces.len());
        for (id, (text, _, kind)) in (0..).zip(&pieces) {
            assert_eq!((t.piece(id), t.kind(id)), (Some(text.as_str()), Some(*kind)));
        }
        let ids = [t.bos(), t.eos(), t.pad(), t.unk(), t.image()];
        assert_eq!(ids, [2, 1, 0, 3, pieces.len() as TokenId]);
        // Only with its score does a pair merge at its turn.
        let direct =
            Tokenizer::new(pieces.iter().map(|(s, x, k)| (s.as_str(), *x, *k)), special(&pieces)).unwrap();
        assert_eq!(t.encode("abcab aba<loc0007>"), direct.encode("abcab aba<loc0007>"));
    }

    #[test]
    fn files_that_contradict_themselves_are_refused() {
        let pieces = pieces();
        let good = file(&pieces, pieces.len());
        let refused = |file: &[u8]| read(file).expect_err("refused");
        assert!(refused(&file(&pieces, pieces.len() + 1)).contains("paligemma.vocab_size is"));

        // The same keys with another value each, found by the bytes of key and type.
        let patch = |key: &str, at: usize, bytes: &[u8]| {
            let mut f = good.clone();
            let key_end = f.windows(key.len()).position(|w| w == key.as_bytes()).unwrap() + key.len();
            f[key_end + at..key_end + at + bytes.len()].copy_from_slice(bytes);
            f
        };
        for (file, message) in [
            (patch(MODEL, 12, b"bert."), "\"bert.\", this runtime reads"),
            (patch("add_space_prefix", 4, &[1]), "add_space_prefix"),
            (patch(KINDS, 16, &[77, 0, 0, 0]), "token 0 is of the unknown kind 77"),
            (patch(KINDS, 4, &[6, 0, 0, 0]), "not a list of whole numbers"),
            (patch(SCORES, 16, &f32::NAN.to_le_bytes()), "score"),
            (patch(BOS, 4, &[9, 0, 0, 0]), "<bos>"),
        ] {
            let found = refused(&file);
            assert!(found.contains(message), "{found} does not say {message}");
        }
    }
}
