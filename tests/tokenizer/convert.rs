//! Makes a `tokenizer.json` of a SentencePiece vocabulary the way Hugging Face's converter does.
//!
//! Called by the tokenizer tests, which so have both forms of a vocabulary without storing both. In: the pieces of a
//! `tokenizer.model`; out: the parts of the JSON that decide encoding.

use pg_quantize::source::vocabulary::Vocabulary;
use pg_runtime::tokenizer::PieceKind;
use serde_json::{Map, Value, json};
use std::cmp::Reverse;
use std::collections::HashMap;

/// How merges are written, and with it the converter's order of the merges that have one score.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Merges {
    /// `"a b"`, by the ids of the two.
    Strings,
    /// `["a", "b"]`, the longest left half first.
    Pairs,
}

pub(crate) fn tokenizer_json(vocabulary: &Vocabulary, form: Merges) -> Value {
    let ids: HashMap<&str, usize> =
        vocabulary.pieces.iter().enumerate().map(|(id, piece)| (name(&piece.text), id)).collect();
    let vocab: Map<String, Value> = ids.iter().map(|(text, id)| (text.to_string(), json!(id))).collect();
    let added = vocabulary.pieces.iter().enumerate().filter_map(|(id, piece)| {
        let special = match piece.kind {
            PieceKind::Control | PieceKind::Unknown => true,
            PieceKind::UserDefined => false,
            _ => return None,
        };
        Some(json!({"id": id, "content": piece.text, "special": special}))
    });
    let image = json!({"id": vocabulary.special.image, "content": "<image>", "special": true});
    json!({
        "added_tokens": added.chain([image]).collect::<Vec<_>>(),
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"},
        "pre_tokenizer": null,
        "model": {
            "type": "BPE",
            "byte_fallback": true,
            "vocab": vocab,
            "merges": merges(vocabulary, &ids, form),
        },
    })
}

fn name(text: &str) -> &str {
    if text == "<0x09>" { "\t" } else { text }
}

/// Every way to make a piece of two others.
fn merges(vocabulary: &Vocabulary, ids: &HashMap<&str, usize>, form: Merges) -> Vec<Value> {
    let mut merges = Vec::new();
    for (id, piece) in vocabulary.pieces.iter().enumerate() {
        let cuts = piece.text.char_indices().skip(1).map(|(at, _)| piece.text.split_at(at));
        let halves = cuts.filter_map(|(left, right)| Some((ids.get(left)?, ids.get(right)?, left, right)));
        merges.extend(halves.map(|(l, r, left, right)| (piece.score, id, *l, *r, left, right)));
    }
    merges.sort_by(|a, b| {
        let by_score = b.0.total_cmp(&a.0);
        by_score.then_with(|| match form {
            Merges::Strings => (a.1, a.2, a.3).cmp(&(b.1, b.2, b.3)),
            Merges::Pairs => {
                let lengths =
                    |left: &str, right: &str| Reverse((left.chars().count(), right.chars().count()));
                lengths(a.4, a.5).cmp(&lengths(b.4, b.5))
            }
        })
    });
    let written = |(.., left, right): &(f32, usize, usize, usize, &str, &str)| match form {
        Merges::Strings => json!(format!("{left} {right}")),
        Merges::Pairs => json!([left, right]),
    };
    merges.iter().map(written).collect()
}
