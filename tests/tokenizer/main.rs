//! Our tokenizer against SentencePiece's results, string by string.
//!
//! The strings and their ids come from `tests/goldens/tokenizer` (a small vocabulary, always) and from the folder
//! that `gemma-vocabulary.py` there makes (the real vocabulary, when somebody has fetched it). Every vocabulary is
//! tested as `tokenizer.model` and as `tokenizer.json` with both forms of merges.

mod convert;

use pg_quantize::source::{sentencepiece, tokenizer_json, vocabulary::Vocabulary};
use pg_runtime::tokenizer::{TokenId, Tokenizer};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Texts that the real vocabulary may encode otherwise than SentencePiece does with the rebuilt file. None do.
const GEMMA_EXCEPTIONS: [&str; 0] = [];

#[test]
fn small_vocabulary_agrees_with_sentencepiece() {
    let folder = repository().join("tests/goldens/tokenizer");
    let vocabulary = read_model(&folder);
    let goldens = Goldens::read(&folder);
    goldens.check("tokenizer.model", &tokenizer(&vocabulary), &[]);
    for form in [convert::Merges::Strings, convert::Merges::Pairs] {
        let json = convert::tokenizer_json(&vocabulary, form).to_string();
        let converted = tokenizer_json::read(json.as_bytes()).expect("converted tokenizer.json");
        goldens.check(&format!("tokenizer.json, merges as {form:?}"), &tokenizer(&converted), &[]);
    }
}

#[test]
fn gemma_vocabulary_agrees_with_sentencepiece() {
    let named = std::env::var_os("PG_GEMMA_VOCABULARY").map(PathBuf::from);
    let folder = named.clone().unwrap_or_else(|| repository().join("target/gemma-vocabulary"));
    if named.is_none() && !folder.join("strings.json").exists() {
        println!("skipped: no Gemma vocabulary; tests/goldens/tokenizer/gemma-vocabulary.py fetches it");
        return;
    }
    let vocabulary = read_model(&folder);
    let goldens = Goldens::read(&folder);
    goldens.check("tokenizer.model", &tokenizer(&vocabulary), &GEMMA_EXCEPTIONS);
    let converted = convert::tokenizer_json(&vocabulary, convert::Merges::Pairs).to_string();
    for (what, json) in
        [("tokenizer.json", read(&folder.join("tokenizer.json"))), ("its newer form", converted.into())]
    {
        let vocabulary = tokenizer_json::read(&json).expect(what);
        goldens.check(what, &tokenizer(&vocabulary), &GEMMA_EXCEPTIONS);
    }
}

/// What SentencePiece said: `strings.json`.
struct Goldens {
    strings: Vec<Encoded>,
    /// Arbitrary ids and what they decode to.
    decodes: Vec<(Vec<TokenId>, String)>,
}

struct Encoded {
    text: String,
    ids: Vec<TokenId>,
    decoded: String,
}

impl Goldens {
    fn read(folder: &Path) -> Goldens {
        let root: Value = serde_json::from_slice(&read(&folder.join("strings.json"))).expect("strings.json");
        let entries = |key: &str| root[key].as_array().map_or(&[][..], Vec::as_slice).iter();
        let strings = entries("strings").map(|entry| {
            let text = text(&entry["text"]);
            let decoded = entry.get("decoded").map_or(text.clone(), self::text);
            Encoded { ids: ids(&entry["ids"]), text, decoded }
        });
        let decodes = entries("decodes").map(|entry| (ids(&entry["ids"]), text(&entry["decoded"])));
        Goldens { strings: strings.collect(), decodes: decodes.collect() }
    }

    fn check(&self, what: &str, tokenizer: &Tokenizer, exceptions: &[&str]) {
        let mut wrong = Vec::new();
        let mut n_agreeing = 0;
        for Encoded { text, ids, decoded } in &self.strings {
            let ours = tokenizer.encode(text);
            if ours == *ids && tokenizer.decode(ids) == *decoded {
                n_agreeing += 1;
            } else if !exceptions.contains(&text.as_str()) {
                wrong
                    .push(format!("{text:?}: expected {ids:?}, found {ours:?}, {:?}", tokenizer.decode(ids)));
            }
        }
        for (ids, expected) in &self.decodes {
            let found = tokenizer.decode(ids);
            if found != *expected {
                wrong.push(format!("{ids:?}: expected {expected:?}, found {found:?}"));
            }
        }
        println!("{what}: {n_agreeing} of {} strings, {} id lists", self.strings.len(), self.decodes.len());
        assert!(!self.strings.is_empty(), "{what}: no strings");
        let n_wrong = wrong.len();
        wrong.truncate(8);
        assert!(wrong.is_empty(), "{what}: {n_wrong} differ, such as\n{}", wrong.join("\n"));
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_string()
}

fn ids(value: &Value) -> Vec<TokenId> {
    value.as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id") as TokenId).collect()
}

fn tokenizer(vocabulary: &Vocabulary) -> Tokenizer {
    let start = Instant::now();
    let tokenizer = vocabulary.tokenizer().expect("a complete vocabulary");
    println!("{} pieces indexed in {:.1} ms", tokenizer.len(), start.elapsed().as_secs_f64() * 1e3);
    tokenizer
}

fn read_model(folder: &Path) -> Vocabulary {
    sentencepiece::read(&read(&folder.join("tokenizer.model"))).expect("tokenizer.model")
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository")
}
