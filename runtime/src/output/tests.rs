//! Answers well-formed and not, token by token.

use super::*;
use crate::tokenizer::{PieceKind, SpecialIds};
use alloc::format;
use alloc::string::ToString;

/// A vocabulary of control pieces, bytes, a few words and the location and segment tokens.
fn tokenizer() -> Tokenizer {
    let mut pieces: Vec<(String, PieceKind)> = ["<pad>", "<eos>", "<bos>"]
        .map(|p| (p.to_string(), PieceKind::Control))
        .into_iter()
        .chain([("<unk>".to_string(), PieceKind::Unknown), ("\n".to_string(), PieceKind::UserDefined)])
        .collect();
    pieces.extend((0..256).map(|b| (format!("<0x{b:02X}>"), PieceKind::Byte)));
    pieces.extend(["▁cat", "▁dog", "▁;", ";", "▁red"].map(|p| (p.to_string(), PieceKind::Normal)));
    pieces.extend((0..1024).map(|i| (format!("<loc{i:04}>"), PieceKind::UserDefined)));
    pieces.extend((0..128).map(|i| (format!("<seg{i:03}>"), PieceKind::UserDefined)));
    let image = pieces.len() as TokenId;
    let ids = SpecialIds { pad: 0, eos: 1, bos: 2, unk: 3, image };
    Tokenizer::new(pieces.iter().map(|(p, k)| (p.as_str(), 0.0, *k)), ids).unwrap()
}

/// Feeds an answer written as text: `5` is a location, `s5` a segment, anything else a piece.
fn collect(answer: &str) -> Collector {
    let t = tokenizer();
    let mut c = Collector::new(&t, 100);
    for word in answer.split_whitespace() {
        let id = if let Ok(loc) = word.parse() {
            t.loc_id(loc).unwrap()
        } else if let Some(seg) = word.strip_prefix('s').and_then(|s| s.parse().ok()) {
            t.seg_id(seg).unwrap()
        } else {
            (0..t.len() as TokenId).find(|&id| t.piece(id) == Some(word)).unwrap()
        };
        c.push(&t, id, || 0.5);
    }
    c.finish();
    c
}

/// What came out: `label@x0,y0,x1,y1` for objects, then reasons for what was dropped.
fn summary(c: &Collector) -> String {
    let objects = c.objects().iter().map(|o| {
        let b = o.bbox;
        let mask = if o.mask_codes.is_some() { "+mask" } else { "" };
        format!("{}@{},{},{},{}{mask}", &c.text()[o.label.clone()], b.x0, b.y0, b.x1, b.y1)
    });
    let dropped = c.dropped().iter().map(|d| format!("[{}] {}", &c.text()[d.text.clone()], d.reason));
    objects.chain(dropped).collect::<Vec<_>>().join(" | ")
}

#[test]
fn answers_are_read_as_the_reference_reads_them() {
    let segments = (0..16).map(|i| format!("s{i} ")).collect::<String>();
    for (answer, expected) in [
        ("", ""),
        ("▁cat ▁dog", ""),
        ("1 2 3 4 ▁cat", "cat@2,1,4,3"),
        ("1 2 3 4 ▁red ▁cat ▁; 5 6 7 8 ▁dog", "red cat@2,1,4,3 | dog@6,5,8,7"),
        ("1 2 3 4 ▁cat 5 6 7 8 ▁dog", "cat@2,1,4,3 | dog@6,5,8,7"),
        ("1 2 3 4", "@2,1,4,3"),
        ("1 2 3 4 ; ▁cat", "@2,1,4,3"),
        ("1 2 3 ▁cat", "[<loc0001><loc0002><loc0003> cat] 3 location tokens, a box has 4"),
        (
            "1 2 3 4 5 ▁cat ; 1 2 3 4 ▁dog",
            "dog@2,1,4,3 | [<loc0001><loc0002><loc0003><loc0004><loc0005> cat;] 5 location tokens, a box has 4",
        ),
        ("3 2 1 4 ▁cat", "[<loc0003><loc0002><loc0001><loc0004> cat] the box has no area"),
        (
            "1 2 3 4 s9 ▁cat",
            "cat@2,1,4,3 | [<loc0001><loc0002><loc0003><loc0004><seg009> cat] 1 segment tokens, a mask has 16",
        ),
        ("s9 ▁cat", "[<seg009> cat] segment tokens without a box"),
        (&format!("1 2 3 4 {segments} ▁cat"), "cat@2,1,4,3+mask"),
        (&format!("1 2 3 4 {segments} 5 6 7 8"), "@2,1,4,3+mask | @6,5,8,7"),
    ] {
        assert_eq!(summary(&collect(answer)), expected, "{answer}");
    }
}

#[test]
fn scores_are_geometric_means() {
    let t = tokenizer();
    let mut c = Collector::new(&t, 10);
    for (loc, p) in [(1, 1.0), (2, 0.5), (3, 0.25), (4, 0.125)] {
        c.push(&t, t.loc_id(loc).unwrap(), || p);
    }
    c.finish();
    assert!((c.objects()[0].score - 0.353_553_4).abs() < 1e-6);
}

#[test]
fn any_tokens_give_some_answer_within_the_room_taken() {
    let t = tokenizer();
    let n = t.len() as u64 + 20;
    let mut c = Collector::new(&t, 64);
    let room = (c.text.capacity(), c.objects.capacity(), c.dropped.capacity());
    let mut seed = 1u64;
    for _ in 0..2_000 {
        c.clear();
        for _ in 0..64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            c.push(&t, ((seed >> 33) % n) as TokenId, || 0.5);
        }
        c.finish();
        summary(&c);
    }
    assert_eq!(room, (c.text.capacity(), c.objects.capacity(), c.dropped.capacity()));
}
