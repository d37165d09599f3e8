//! Reads `tokenizer.json`, Hugging Face's form of a vocabulary, back into SentencePiece's terms.
//!
//! Called by the checkpoint readers when there is no `tokenizer.model`. In: the bytes of the file; out: a
//! [`Vocabulary`] that encodes as the SentencePiece model does which the file was converted from.
//!
//! The file has no scores and no kinds. Kinds follow from names and from `added_tokens`; scores follow from the
//! merges, which the converter lists by falling score. Merges come as `"a b"` or as `["a", "b"]`, and the two forms
//! list the merges that make one piece in different orders: only the rank of a piece among pieces counts here.

use super::vocabulary::{MAX_PIECES, Piece, Vocabulary};
use pg_runtime::tokenizer::{PieceKind, SpecialIds};
use serde_json::Value;
use std::collections::HashMap;

/// The character that stands for a space.
const SPACE: char = '\u{2581}';
const IMAGE: &str = "<image>";

/// Reads a whole `tokenizer.json`.
pub fn read(bytes: &[u8]) -> Result<Vocabulary, String> {
    let root: Value =
        serde_json::from_slice(bytes).map_err(|e| format!("tokenizer.json: {e}; fetch it again"))?;
    check_options(&root)?;
    let names = Names::read(&root)?;
    let ids: HashMap<&str, u32> =
        names.by_id.iter().zip(0..).map(|(name, id)| (name.text.as_str(), id)).collect();
    if ids.len() < names.by_id.len() {
        return Err(String::from("tokenizer.json gives two ids to one piece"));
    }
    let special_id = |name: &str| {
        ids.get(name).copied().ok_or(format!("tokenizer.json has no {name}; PaliGemma's own file is needed"))
    };
    let special = SpecialIds {
        bos: special_id("<bos>")?,
        eos: special_id("<eos>")?,
        pad: special_id("<pad>")?,
        unk: special_id("<unk>")?,
        image: names.image,
    };
    let kinds = kinds(&names, &ids, &special);
    let scores = scores(&merged_pieces(&root, &ids)?, &kinds);
    let pieces = names.by_id.into_iter().zip(kinds).zip(scores);
    let pieces = pieces
        .map(|((name, kind), score)| {
            // The converter calls byte 9 by its character.
            let is_tab = kind == PieceKind::Byte && name.text == "\t";
            Piece { text: if is_tab { String::from("<0x09>") } else { name.text }, score, kind }
        })
        .collect();
    Ok(Vocabulary { pieces, special })
}

/// A piece as the file names it.
struct Name {
    text: String,
    added: bool,
}

struct Names {
    /// Every id below `<image>`.
    by_id: Vec<Name>,
    image: u32,
}

impl Names {
    /// Joins `model.vocab` and `added_tokens`. Ids from `<image>` on are left out: no published checkpoint has
    /// trained rows there.
    fn read(root: &Value) -> Result<Names, String> {
        let vocab = root["model"]["vocab"].as_object().ok_or("tokenizer.json has no model.vocab")?;
        let added = root["added_tokens"].as_array().map_or(&[][..], Vec::as_slice);
        let mut entries = Vec::with_capacity(vocab.len() + added.len());
        for (text, id) in vocab {
            entries.push((id_of(text, id)?, text.as_str(), false));
        }
        for token in added {
            let text =
                token["content"].as_str().ok_or("tokenizer.json: an entry of added_tokens has no content")?;
            entries.push((id_of(text, &token["id"])?, text, true));
        }
        if entries.len() > MAX_PIECES {
            return Err(format!("tokenizer.json has more than {MAX_PIECES} pieces"));
        }
        let image = entries.iter().find(|(_, text, _)| *text == IMAGE).map(|(id, ..)| *id);
        entries.retain(|&(id, text, _)| text != IMAGE && image.is_none_or(|image| id < image));
        entries.sort_unstable();
        let mut by_id: Vec<Name> = Vec::with_capacity(entries.len());
        for (id, text, added) in entries {
            let next = by_id.len() as u32;
            match by_id.last_mut() {
                Some(last) if id + 1 == next && last.text == text => last.added |= added,
                _ if id == next => by_id.push(Name { text: text.to_string(), added }),
                _ if id > next => return Err(format!("tokenizer.json has no piece with the id {next}")),
                _ => {
                    return Err(format!("tokenizer.json gives the id {id} to two pieces, one is \"{text}\""));
                }
            }
        }
        let image = image.unwrap_or(by_id.len() as u32);
        Ok(Names { by_id, image })
    }
}

fn id_of(text: &str, id: &Value) -> Result<u32, String> {
    let found = id.as_u64().filter(|&id| id < MAX_PIECES as u64);
    found.map(|id| id as u32).ok_or(format!("tokenizer.json: piece \"{text}\" has the id {id}"))
}

fn kinds(names: &Names, ids: &HashMap<&str, u32>, special: &SpecialIds) -> Vec<PieceKind> {
    // Byte 9 is "\t" when it stands where <0x09> would.
    let tab = ids.get("<0x08>").map(|id| id + 1).filter(|_| !ids.contains_key("<0x09>"));
    let kind = |(name, id): (&Name, u32)| {
        if id == special.unk {
            PieceKind::Unknown
        } else if [special.bos, special.eos, special.pad].contains(&id) {
            PieceKind::Control
        } else if is_byte(&name.text) || (tab == Some(id) && name.text == "\t") {
            PieceKind::Byte
        } else if name.added || is_run_of_spaces(&name.text) {
            // `special` in `added_tokens` says nothing: the turn markers have it and are user-defined all the same.
            PieceKind::UserDefined
        } else {
            PieceKind::Normal
        }
    };
    names.by_id.iter().zip(0..).map(kind).collect()
}

fn is_byte(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')).unwrap_or_default();
    digits.len() == 2 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'))
}

/// Gemma's runs of two and more spaces are user-defined. Some files do not list them among `added_tokens`, which
/// are looked for before spaces become U+2581.
fn is_run_of_spaces(text: &str) -> bool {
    text.chars().nth(1).is_some() && text.chars().all(|c| c == SPACE)
}

/// The ids of the pieces that merges make, by the rank of their first merge.
fn merged_pieces(root: &Value, ids: &HashMap<&str, u32>) -> Result<Vec<u32>, String> {
    let merges = root["model"]["merges"].as_array().ok_or("tokenizer.json has no model.merges")?;
    let mut ranked = Vec::new();
    let mut seen = vec![false; ids.len()];
    let mut merged = String::new();
    for (rank, merge) in merges.iter().enumerate() {
        let pair = match merge {
            Value::String(pair) => pair.split_once(' '),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(left), Value::String(right)] => Some((left.as_str(), right.as_str())),
                _ => None,
            },
            _ => None,
        };
        let (left, right) = pair.ok_or(format!("tokenizer.json: merge {rank} is not a pair of pieces"))?;
        merged.clear();
        merged.push_str(left);
        merged.push_str(right);
        // Merges into pieces from `<image>` on are left out with the pieces.
        if let Some(&id) = ids.get(merged.as_str())
            && !std::mem::replace(&mut seen[id as usize], true)
        {
            ranked.push(id);
        }
    }
    Ok(ranked)
}

/// One score per piece, such that comparing scores is comparing ranks.
fn scores(ranked: &[u32], kinds: &[PieceKind]) -> Vec<f32> {
    let is_normal = |&id: &u32| kinds[id as usize] == PieceKind::Normal;
    let normal: Vec<u32> = ranked.iter().copied().filter(is_normal).collect();
    let n_tied = n_tied(&normal);
    // Pieces that no merge makes, such as single characters, come last; nothing compares their scores.
    let last = -(normal.len() as f32) - 1.0;
    let mut scores: Vec<f32> =
        kinds.iter().map(|kind| if *kind == PieceKind::Normal { last } else { 0.0 }).collect();
    for (rank, &id) in normal.iter().enumerate() {
        scores[id as usize] = if rank < n_tied { 0.0 } else { -(rank as f32) };
    }
    scores
}

/// How many of the first pieces have one score.
///
/// Training numbers pieces in the order it makes them, with scores 0, -1, -2 and so on. A piece that ranks before
/// one with a lower id was added by hand, with the score of user-defined pieces: 0, which the first trained piece
/// has too. Gemma's runs of tabs are such pieces. Where the order of ids says anything else, it says nothing.
fn n_tied(ranked: &[u32]) -> usize {
    let mut lowest_later = u32::MAX;
    let mut by_hand = vec![false; ranked.len()];
    for (by_hand, &id) in by_hand.iter_mut().zip(ranked).rev() {
        *by_hand = id > lowest_later;
        lowest_later = lowest_later.min(id);
    }
    let n_tied = by_hand.iter().rposition(|&by_hand| by_hand).map_or(0, |last| last + 1);
    let n_trained = by_hand[..n_tied].iter().filter(|&&by_hand| !by_hand).count();
    if n_trained <= 1 { n_tied } else { 0 }
}

/// Refuses what would encode or decode otherwise than the runtime does.
fn check_options(root: &Value) -> Result<(), String> {
    let refuse = |what: String| Err(format!("tokenizer.json: {what}; PaliGemma's own file is needed"));
    let model = &root["model"];
    if model["type"] != "BPE" {
        return refuse(format!("the model is of type {}, not \"BPE\"", model["type"]));
    }
    if model["byte_fallback"] != true {
        return refuse(String::from("there is no byte fallback"));
    }
    if !model["continuing_subword_prefix"].as_str().unwrap_or_default().is_empty()
        || !model["end_of_word_suffix"].as_str().unwrap_or_default().is_empty()
    {
        return refuse(String::from("pieces have a prefix or suffix inside words"));
    }
    if !is_space_replacement(&root["normalizer"]) {
        return refuse(format!(
            "the normalizer is not just \" \" to U+2581 but {}",
            shortened(&root["normalizer"])
        ));
    }
    let split = &root["pre_tokenizer"];
    // After normalization there are no spaces left to split at.
    let splits_nowhere = split["type"] == "Split" && split["pattern"]["String"] == " ";
    if !split.is_null() && !splits_nowhere {
        return refuse(format!("text is split before merging, by {}", shortened(split)));
    }
    Ok(())
}

fn is_space_replacement(normalizer: &Value) -> bool {
    if let (true, Some([only])) =
        (normalizer["type"] == "Sequence", normalizer["normalizers"].as_array().map(Vec::as_slice))
    {
        return is_space_replacement(only);
    }
    normalizer["type"] == "Replace"
        && normalizer["pattern"]["String"] == " "
        && normalizer["content"].as_str().is_some_and(|content| content.chars().eq([SPACE]))
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(120).collect()
}
