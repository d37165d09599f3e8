//! Both vocabulary readers on the demo checkpoint's files, and on damaged copies of them.

use super::{sentencepiece, tokenizer_json};
use pg_runtime::tokenizer::PieceKind;
use serde_json::{Value, json};

const MODEL: &[u8] = include_bytes!("../../demo/tokenizer.model");
const JSON: &[u8] = include_bytes!("../../demo/tokenizer.json");

const TEXTS: [&str; 8] = [
    "",
    "caption en\n",
    "a large red circle, left of the green square",
    "<loc0001><loc1023><seg000> red ; <image><bos>",
    "\n\n\n\n\n  \t\t      x",
    "日本語 é 😀 \0",
    "detect circle ; square\n",
    "a ▁ ▁▁ b",
];

/// Splitmix64: the same damage in every run.
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 31)) >> 16) as usize
}

fn json() -> Value {
    serde_json::from_slice(JSON).expect("the demo's tokenizer.json is JSON")
}

fn read_json(value: &Value) -> Result<super::vocabulary::Vocabulary, String> {
    tokenizer_json::read(value.to_string().as_bytes())
}

#[test]
fn both_files_give_the_same_tokenizer() {
    let model = sentencepiece::read(MODEL).expect("tokenizer.model");
    let json = tokenizer_json::read(JSON).expect("tokenizer.json");
    assert_eq!(model.special, json.special);
    assert_eq!(model.pieces.len(), json.pieces.len());
    for (id, (a, b)) in model.pieces.iter().zip(&json.pieces).enumerate() {
        assert_eq!((&a.text, a.kind), (&b.text, b.kind), "piece {id}");
    }
    let (model, json) = (model.tokenizer().expect("model"), json.tokenizer().expect("json"));
    for text in TEXTS {
        assert_eq!(model.encode(text), json.encode(text), "{text:?}");
    }
}

#[test]
fn merges_are_read_as_strings_and_as_pairs() {
    let mut value = json();
    let as_pairs = read_json(&value).expect("pairs");
    for merge in value["model"]["merges"].as_array_mut().expect("merges") {
        *merge = json!(format!("{} {}", merge[0].as_str().expect("left"), merge[1].as_str().expect("right")));
    }
    assert_eq!(read_json(&value).expect("strings"), as_pairs);
}

#[test]
fn a_truncated_model_is_refused() {
    // Every length where it is cheap (the start) and where the options are (the end), samples between.
    let (start, end) = (2000, MODEL.len() - 400);
    for length in (0..start).chain((start..end).step_by(13)).chain(end..MODEL.len()) {
        assert!(sentencepiece::read(&MODEL[..length]).is_err(), "{length} bytes were accepted");
    }
}

#[test]
fn a_damaged_model_is_refused_or_usable() {
    let mut state = 1;
    for _ in 0..2000 {
        let mut bytes = MODEL.to_vec();
        let at = random(&mut state) % bytes.len();
        bytes[at] = random(&mut state) as u8;
        let read = sentencepiece::read(&bytes).ok();
        if let Some(tokenizer) = read.and_then(|vocabulary| vocabulary.tokenizer().ok()) {
            for text in TEXTS {
                tokenizer.decode(&tokenizer.encode(text));
            }
        }
    }
}

#[test]
fn damaged_json_is_refused_or_usable() {
    let mut state = 2;
    for _ in 0..300 {
        let mut bytes = JSON.to_vec();
        let at = random(&mut state) % bytes.len();
        bytes[at] = random(&mut state) as u8;
        let read = tokenizer_json::read(&bytes).ok();
        if let Some(tokenizer) = read.and_then(|vocabulary| vocabulary.tokenizer().ok()) {
            tokenizer.decode(&tokenizer.encode(TEXTS[3]));
        }
    }
}

/// Protobuf: field `number` of wire type 0 or 2.
fn field(number: u8, varint: Option<u8>, bytes: &[u8]) -> Vec<u8> {
    let key = |wire: u8| {
        let key = u16::from(number) << 3 | u16::from(wire);
        if key < 0x80 { vec![key as u8] } else { vec![key as u8 | 0x80, (key >> 7) as u8] }
    };
    match varint {
        Some(value) => [key(0), vec![value]].concat(),
        None => [key(2), vec![bytes.len() as u8], bytes.to_vec()].concat(),
    }
}

/// The demo's model with one more field in sub-message `part`, which overrides what the file says.
fn with_option(part: u8, option: Vec<u8>) -> String {
    let bytes = [MODEL.to_vec(), field(part, None, &option)].concat();
    sentencepiece::read(&bytes).err().unwrap_or_default()
}

#[test]
fn models_with_other_options_are_refused() {
    assert!(with_option(2, field(3, Some(1), b"")).contains("not BPE"));
    assert!(with_option(2, field(35, Some(0), b"")).contains("byte fallback"));
    assert!(with_option(2, field(43, Some(99), b"")).is_empty());
    assert!(with_option(2, [field(43, Some(0xff), b""), vec![0x7f]].concat()).contains("<pad>"));
    assert!(with_option(3, field(2, None, b"rules")).contains("normalizes"));
    assert!(with_option(3, field(3, Some(1), b"")).contains("before every text"));
    assert!(with_option(3, field(4, Some(1), b"")).contains("whitespace"));
    assert!(with_option(3, field(5, Some(0), b"")).contains("U+2581"));
    assert!(with_option(5, field(2, None, b"rules")).contains("decoded"));
    assert!(with_option(1, field(1, None, b"\xff")).contains("UTF-8"));
    assert!(with_option(1, field(3, Some(9), b"x")).contains("unknown kind"));
    assert!(with_option(1, vec![]).contains("no text"));
}

#[test]
fn json_with_other_options_is_refused() {
    let fails = |change: &dyn Fn(&mut Value)| {
        let mut value = json();
        change(&mut value);
        read_json(&value).err().unwrap_or_default()
    };
    assert!(fails(&|v| v["model"]["type"] = json!("Unigram")).contains("BPE"));
    assert!(fails(&|v| v["model"]["byte_fallback"] = json!(false)).contains("byte fallback"));
    assert!(fails(&|v| v["normalizer"] = json!({"type": "NFC"})).contains("normalizer"));
    assert!(fails(&|v| v["pre_tokenizer"] = json!({"type": "ByteLevel"})).contains("split"));
    assert!(fails(&|v| v["model"]["merges"][5] = json!("a")).contains("merge 5"));
    assert!(fails(&|v| v["model"]["vocab"]["<bos>"] = json!(-1)).contains("<bos>"));
    assert!(fails(&|v| v["model"]["vocab"]["new"] = json!(7)).contains("two pieces"));
    assert!(
        fails(&|v| drop(v["model"]["vocab"].as_object_mut().and_then(|m| m.remove("a"))))
            .contains("no piece")
    );
    assert!(tokenizer_json::read(b"{").is_err());
    assert!(tokenizer_json::read(b"{}").is_err());
}

#[test]
fn json_rows_behind_the_image_token_are_left_out() {
    let mut value = json();
    let before = read_json(&value).expect("the demo");
    let added = value["added_tokens"].as_array_mut().expect("added tokens");
    added.push(json!({"id": before.special.image + 1, "content": "<extra>", "special": true}));
    assert_eq!(read_json(&value).expect("one more row"), before);
}

#[test]
fn json_calls_byte_nine_by_its_character() {
    let mut value = json();
    let vocab = value["model"]["vocab"].as_object_mut().expect("vocab");
    if let Some(id) = vocab.remove("<0x09>") {
        vocab.insert(String::from("\t"), id);
    }
    let vocabulary = read_json(&value).expect("renamed");
    let piece = vocabulary.pieces.iter().find(|piece| piece.text == "<0x09>").expect("byte 9");
    assert_eq!(piece.kind, PieceKind::Byte);
}
