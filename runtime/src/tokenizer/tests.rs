//! The tokenizer on a vocabulary made by hand. Agreement with SentencePiece itself is tested in `tests/tokenizer`.

use super::{Decoder, PieceKind, SpecialIds, TokenId, Tokenizer};
use crate::error::TokenizerError;
use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use std::time::{Duration, Instant};

pub(super) type Pieces = Vec<(String, f32, PieceKind)>;

const LEARNED: [&str; 14] =
    ["▁", "a", "b", "c", "ab", "bc", "▁a", "▁ab", "aa", "aaaa", "abc", "é", "cab", "aba"];

/// Specials, bytes, user-defined runs, learned pieces with scores that tie now and then, loc and seg.
pub(super) fn pieces() -> Pieces {
    let mut pieces: Pieces = Vec::new();
    for name in ["<pad>", "<eos>", "<bos>"] {
        pieces.push((name.to_string(), 0.0, PieceKind::Control));
    }
    pieces.push(("<unk>".to_string(), 0.0, PieceKind::Unknown));
    pieces.extend((0..256).map(|byte| (format!("<0x{byte:02X}>"), 0.0, PieceKind::Byte)));
    for text in ["\n", "\n\n", "▁▁", "▁▁▁", "<b>"] {
        pieces.push((text.to_string(), 0.0, PieceKind::UserDefined));
    }
    let scored = LEARNED.iter().enumerate();
    pieces.extend(scored.map(|(rank, text)| (text.to_string(), -((rank / 2) as f32), PieceKind::Normal)));
    pieces.extend((0..1024).map(|n| (format!("<loc{n:04}>"), 0.0, PieceKind::UserDefined)));
    pieces.extend((0..128).map(|n| (format!("<seg{n:03}>"), 0.0, PieceKind::UserDefined)));
    pieces
}

pub(super) fn special(pieces: &Pieces) -> SpecialIds {
    SpecialIds { bos: 2, eos: 1, pad: 0, unk: 3, image: pieces.len() as TokenId }
}

fn build(pieces: &Pieces) -> Result<Tokenizer, TokenizerError> {
    let special = special(pieces);
    Tokenizer::new(pieces.iter().map(|(text, score, kind)| (text.as_str(), *score, *kind)), special)
}

fn tokenizer() -> Tokenizer {
    build(&pieces()).expect("the hand-made vocabulary is complete")
}

fn encoded(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    tokenizer.encode(text).iter().map(|&id| tokenizer.piece(id).unwrap_or("?").to_string()).collect()
}

/// Splitmix64: the same strings in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 31)) >> 16) as usize % n
    }

    fn text(&mut self, alphabet: &[&str], max: usize) -> String {
        (0..self.below(max + 1)).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }
}

#[test]
fn merges_by_score_then_leftmost() {
    let t = tokenizer();
    assert_eq!(encoded(&t, "abc"), ["abc"]);
    assert_eq!(encoded(&t, "aaaaa"), ["aaaa", "a"]);
    assert_eq!(encoded(&t, "aaa"), ["aa", "a"]);
    assert_eq!(encoded(&t, " ab"), ["▁ab"]);
    assert_eq!(encoded(&t, ""), [""; 0]);
}

#[test]
fn user_defined_pieces_are_split_off_by_longest_match() {
    let t = tokenizer();
    assert_eq!(encoded(&t, "a<loc0012>b"), ["a", "<loc0012>", "b"]);
    assert_eq!(encoded(&t, "    a"), ["▁▁▁", "▁a"]);
    assert_eq!(encoded(&t, "\n\n\n"), ["\n\n", "\n"]);
    assert_eq!(encoded(&t, "<b"), ["<0x3C>", "b"]);
    assert_eq!(t.encode("\n"), [t.newline()]);
}

#[test]
fn control_pieces_in_text_are_plain_text() {
    let t = tokenizer();
    for text in ["<bos>", "<image>", "<unk>", "<0x41>"] {
        let ids = t.encode(text);
        assert!(ids.len() > 1, "{text} became {ids:?}");
        assert_eq!(t.decode(&ids), text);
    }
}

#[test]
fn unused_pieces_are_taken_apart_again() {
    let mut pieces = pieces();
    for (text, _, kind) in &mut pieces {
        if text == "abc" || text == "ab" {
            *kind = PieceKind::Unused;
        }
    }
    let t = build(&pieces).expect("still complete");
    assert_eq!(encoded(&t, "abc"), ["a", "b", "c"]);
}

#[test]
fn encoding_equals_merging_one_best_pair_at_a_time() {
    let t = tokenizer();
    let mut random = Random(1);
    for _ in 0..3000 {
        // Without runs of spaces and tags nothing is user-defined, which the naive version knows nothing of.
        let text = random.text(&["a", "b", "c", "é", "aa", "ab"], 12);
        assert_eq!(encoded(&t, &text), naive(&t, &text), "{text:?}");
    }
}

fn naive(t: &Tokenizer, text: &str) -> Vec<String> {
    let mut parts: Vec<String> = text.chars().map(String::from).collect();
    loop {
        let mut best: Option<(f32, usize)> = None;
        for (left, pair) in parts.windows(2).enumerate() {
            let id = t.vocabulary.find(pair.concat().as_bytes());
            let normal = id.filter(|&id| t.kind(id) == Some(PieceKind::Normal));
            if let Some(score) = normal.map(|id| t.vocabulary.score(id))
                && best.is_none_or(|(highest, _)| score > highest)
            {
                best = Some((score, left));
            }
        }
        let Some((_, left)) = best else { return parts };
        let right = parts.remove(left + 1);
        parts[left].push_str(&right);
    }
}

#[test]
fn random_text_comes_back() {
    let t = tokenizer();
    let mut random = Random(2);
    let alphabet = [
        "a",
        "b",
        "c",
        " ",
        "  ",
        "\n",
        "<b>",
        "<",
        "é",
        "日",
        "😀",
        "\0",
        "\t",
        "<loc0001>",
        "<seg127>",
        "�",
    ];
    for _ in 0..3000 {
        let text = random.text(&alphabet, 20);
        assert_eq!(t.decode(&t.encode(&text)), text);
    }
}

#[test]
fn decoding_takes_any_ids() {
    let t = tokenizer();
    let mut random = Random(3);
    for _ in 0..2000 {
        let ids: Vec<TokenId> = (0..random.below(12))
            .map(|_| match random.below(4) {
                0 => random.below(t.len() + 3) as TokenId,
                1 => TokenId::MAX - random.below(3) as TokenId,
                _ => 4 + random.below(256) as TokenId,
            })
            .collect();
        let text = t.decode(&ids);
        assert!(text.len() <= ids.len() * t.longest_piece_bytes());
        let bytes: Option<Vec<u8>> = ids.iter().map(|id| u8::try_from(id.checked_sub(4)?).ok()).collect();
        if let Some(Ok(exact)) = bytes.map(String::from_utf8) {
            assert_eq!(text, exact);
        }
    }
}

#[test]
fn invalid_bytes_are_replaced_one_by_one() {
    let t = tokenizer();
    let decoded = |bytes: &[u8]| t.decode(&bytes.iter().map(|&b| 4 + TokenId::from(b)).collect::<Vec<_>>());
    assert_eq!(decoded(b"\xe6\x97\xa5"), "日");
    assert_eq!(decoded(b"\xe6\x97"), "\u{fffd}\u{fffd}");
    assert_eq!(decoded(b"\xe6A\xf0\x9f\x98\x80"), "\u{fffd}A😀");
    assert_eq!(decoded(b"\xff\xc0\x80"), "\u{fffd}\u{fffd}\u{fffd}");
    assert_eq!(t.decode(&[4 + 0xe6, 2, 4 + 0x97]), "\u{fffd}\u{fffd}");
    assert_eq!(t.decode(&[3, 2, 1, t.image()]), " \u{2047} ");
}

#[test]
fn streaming_gives_characters_as_soon_as_they_are_complete() {
    let t = tokenizer();
    let mut decoder = Decoder::new();
    let mut text = String::new();
    let lengths: Vec<usize> = t.encode("a日 ").iter().fold(vec![], |mut lengths, &id| {
        decoder.push(&t, id, &mut |part| text.push_str(part));
        lengths.push(text.len());
        lengths
    });
    assert_eq!(lengths, [1, 1, 1, 4, 5]);
    decoder.finish(&mut |_| panic!("nothing is left"));
}

#[test]
fn locations_and_masks() {
    let t = tokenizer();
    let id = |text: &str| t.encode(text)[0];
    assert_eq!((t.loc(id("<loc0000>")), t.loc(id("<loc1023>"))), (Some(0), Some(1023)));
    assert_eq!((t.seg(id("<seg000>")), t.seg(id("<seg127>"))), (Some(0), Some(127)));
    assert_eq!((t.loc(id("<seg000>")), t.seg(id("<loc1023>")), t.loc(0)), (None, None, None));
    assert_eq!((t.loc_id(7), t.loc_id(1024)), (Some(id("<loc0007>")), None));
    assert_eq!((t.seg_id(7), t.seg_id(128)), (Some(id("<seg007>")), None));
}

#[test]
fn incomplete_vocabularies_are_refused() {
    let fails = |change: &dyn Fn(&mut Pieces)| {
        let mut changed = pieces();
        change(&mut changed);
        build(&changed).err().map(|e| e.to_string()).unwrap_or_default()
    };
    let named = |pieces: &Pieces, name: &str| pieces.iter().position(|(text, ..)| text == name).unwrap_or(0);
    assert!(fails(&|p| drop(p.remove(named(p, "<0x7F>")))).contains("<0x7F>"));
    assert!(fails(&|p| drop(p.remove(named(p, "\n")))).contains("\\n"));
    assert!(fails(&|p| drop(p.pop())).contains("<seg127>"));
    assert!(
        fails(&|p| p.insert(named(p, "<loc0005>"), ("x".into(), 0.0, PieceKind::Normal))).contains("gap")
    );
    assert!(fails(&|p| p.push(("a".into(), 0.0, PieceKind::Normal))).contains("both token"));
    assert!(fails(&|p| p.push((String::new(), 0.0, PieceKind::Normal))).contains("no text"));
    assert!(fails(&|p| p.push(("x".into(), f32::NAN, PieceKind::Normal))).contains("NaN"));
    assert!(fails(&|p| p[2].2 = PieceKind::Normal).contains("<bos>"));
    assert!(fails(&|p| p[9].0 = "<0x5>".into()).contains("byte piece"));
    assert!(fails(&|p| p.clear()).contains("0 pieces"));
}

#[test]
fn a_megabyte_is_encoded_in_reasonable_time() {
    let t = tokenizer();
    let mut random = Random(4);
    let mixed: String = (0..1 << 20).map(|_| ['a', 'b', 'c', ' ', '<', '日'][random.below(6)]).collect();
    for text in ["a".repeat(1 << 20), "\n".repeat(1 << 20), "<loc".repeat(1 << 18), mixed] {
        let start = Instant::now();
        let ids = t.encode(&text);
        // A quadratic algorithm would take hours; this bound only has to tell the two apart.
        assert!(start.elapsed() < Duration::from_secs(60));
        assert_eq!(t.decode(&ids), text);
    }
}
