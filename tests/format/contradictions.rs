//! Files whose parts contradict each other or this runtime: each refused with a message that names the place.

use crate::{demo, refusal};
use pg_runtime::format::FORMAT_VERSION;
use pg_tests::gguf::{Gguf, Tensor, text};

const NORM: &str = "output_norm.weight";
const MATRIX: &str = "blk.1.ffn_up.weight";
const TOKENS: &str = "tokenizer.ggml.tokens";

type Change = fn(&mut Gguf);

fn number(g: &mut Gguf, key: &str, n: u32) {
    *g.key(&format!("paligemma.{key}")).1 = n.to_le_bytes().to_vec();
}

fn float(g: &mut Gguf, key: &str, x: f32) {
    *g.key(&format!("paligemma.{key}")).1 = x.to_le_bytes().to_vec();
}

fn push(g: &mut Gguf, key: &str, kind: u32, value: &[u8]) {
    g.keys.push((key.into(), kind, value.into()));
}

/// Drops a list's last number, or its last text of `bytes` bytes.
fn shorten(g: &mut Gguf, key: &str, bytes: usize) {
    let value = g.key(key).1;
    let n = u64::from_le_bytes(value[4..12].try_into().unwrap());
    value[4..12].copy_from_slice(&(n - 1).to_le_bytes());
    value.truncate(value.len() - bytes);
}

fn second_offset(g: &mut Gguf, change: i64) {
    let t = &mut g.tensors[1];
    t.offset = t.offset.checked_add_signed(change).unwrap();
}

fn remove(g: &mut Gguf, name: &str) {
    g.tensors.retain(|t| t.name != name);
    g.lay_out();
}

#[rustfmt::skip]
const CASES: &[(&str, Change, &str)] = &[
    ("future version", |g| number(g, "format.minimum_reader", FORMAT_VERSION + 1), "the file needs a reader of format version 2 or later, this one has 1"),
    ("draft version", |g| number(g, "format.version", 0), "the file follows a draft of the format (version 0): pack the checkpoint again"),
    ("llama", |g| *g.key("general.architecture").1 = text("llama"), "the file holds a \"llama\" model"),
    ("another program's file", |g| { *g.key("general.architecture").1 = text("llama"); g.keys.retain(|k| k.0 != "general.alignment"); g.tensor(NORM).kind = 77; }, "the file holds a \"llama\" model"),
    ("architecture is no text", |g| { *g.key("general.architecture").0 = 4; *g.key("general.architecture").1 = vec![0; 4]; }, "is not text"),

    ("missing tensor", |g| remove(g, NORM), "tensor \"output_norm.weight\" is missing"),
    ("shape", |g| g.tensor(NORM).dims = vec![80, 2], "tensor \"output_norm.weight\" is [80, 2] in f32, the model needs [160] in f32"),
    ("shape of a matrix", |g| { g.tensor(MATRIX).dims[1] = 81; g.tensor(MATRIX).data.extend([0; 768]); g.lay_out(); }, "tensor \"blk.1.ffn_up.weight\" is [160, 648] in q4, the model needs [160, 640] in any format"),
    ("type", |g| { let t = g.tensor(NORM); t.kind = 1; t.data.truncate(320); g.lay_out(); }, "is [160] in f16, the model needs [160] in f32"),
    ("unknown type", |g| g.tensor(NORM).kind = 77, "tensor \"output_norm.weight\" of [160] has the unknown type 77"),
    ("floats beside blocks", |g| { let t = g.tensor("blk.0.attn_k.weight"); t.kind = 0; t.dims = vec![160, 64]; t.data = vec![0; 64 * 160 * 4]; g.lay_out(); }, "integer blocks or floats as \"blk.0.attn_q.weight\""),
    ("overlap", |g| second_offset(g, -64), "tensors may neither overlap nor leave holes"),
    ("hole", |g| second_offset(g, 64), "tensors may neither overlap nor leave holes"),
    ("not aligned", |g| second_offset(g, 4), "tensors may neither overlap nor leave holes"),
    ("offset", |g| g.tensors[1].offset = u64::MAX, "its data starts at 18446744073709551615"),
    ("one name twice", |g| g.tensor(NORM).name = MATRIX.into(), "\"blk.1.ffn_up.weight\" occurs twice"),
    ("unexpected tensor", |g| { g.tensors.push(Tensor { name: "extra".into(), dims: vec![16], kind: 0, offset: 0, data: vec![0; 64] }); g.lay_out(); }, "tensor \"extra\" belongs to no part of the model"),
    ("no dimensions", |g| g.tensor(NORM).dims.clear(), "0 dimensions, expected 1 to 4"),
    ("five dimensions", |g| g.tensor(NORM).dims.resize(5, 1), "5 dimensions, expected 1 to 4"),
    ("empty dimension", |g| g.tensor(NORM).dims[0] = 0, "dimension 0 makes it empty or too large"),
    ("huge dimension", |g| g.tensor(NORM).dims[0] = u64::MAX, "dimension 18446744073709551615 makes it empty or too large"),
    ("dimensions overflow", |g| g.tensor(NORM).dims = vec![1 << 32, 1 << 32], "makes it empty or too large"),
    ("largest tensor", |g| g.tensor(NORM).dims = vec![1 << 36], "the file ends inside tensor \"output_norm.weight\""),
    ("tiles of no format", |g| g.tensor(MATRIX).dims[0] = 769, "tensor \"blk.1.ffn_up.weight\" of [769, 80] has the unknown type 24"),
    ("longer file", |g| g.tensor(NORM).data.extend([0; 64]), "the file's length is"),

    ("no layers", |g| number(g, "block_count", 0), "decoder layers is 0, expected 1 to"),
    ("more layers", |g| number(g, "block_count", 5), "tensor \"blk.4.attn_norm.weight\" is missing"),
    ("fewer layers", |g| number(g, "block_count", 3), "belongs to no part of the model"),
    // Refused before a list of so many tensors is made.
    ("absurd layers", |g| number(g, "vision.block_count", 1 << 20), "vision layers is 1048576, expected 1 to 512"),
    ("huge width", |g| number(g, "embedding_length", u32::MAX), "decoder width is 4294967295, expected 1 to 1048576"),
    ("largest width", |g| number(g, "embedding_length", 1 << 20), "is [160, 160] in q8, the model needs [160, 1048576] in any format"),
    ("vision heads", |g| number(g, "vision.attention.head_count", 7), "vision width 160 in 7 heads"),
    ("decoder heads", |g| number(g, "attention.head_count_kv", 3), "4 query heads over 3 key/value heads"),
    ("odd head", |g| number(g, "attention.key_length", 63), "decoder head width 63 is odd"),
    ("patches", |g| number(g, "vision.image_size", 113), "picture of 113 in patches of 14"),
    ("no patch", |g| number(g, "vision.patch_size", 0), "patch size is 0"),
    ("context", |g| number(g, "context_length", 64), "64 image tokens in a context of 64"),
    ("epsilon", |g| float(g, "attention.layer_norm_rms_epsilon", 0.0), "decoder norm epsilon 0"),
    ("negative epsilon", |g| float(g, "vision.attention.layer_norm_epsilon", -1.0), "vision norm epsilon -1"),
    ("epsilon is NaN", |g| float(g, "attention.layer_norm_rms_epsilon", f32::NAN), "is not a finite number"),
    ("rotary base", |g| float(g, "rope.freq_base", 1.0), "rotary base 1"),
    ("vocabulary", |g| number(g, "vocab_size", 1919), "1920 entries, paligemma.vocab_size is 1919"),
    ("tokens list", |g| { let n = text("<seg127>").len(); shorten(g, TOKENS, n); }, "1919 entries, paligemma.vocab_size is 1920"),
    ("scores list", |g| shorten(g, "tokenizer.ggml.scores", 4), "1919 entries, paligemma.vocab_size is 1920"),
    ("types list", |g| shorten(g, "tokenizer.ggml.token_type", 4), "1919 entries, paligemma.vocab_size is 1920"),
    ("tokens are numbers", |g| g.key(TOKENS).1.splice(.., [4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).for_each(drop), "not a list of text"),
    ("begin token", |g| *g.key("tokenizer.ggml.bos_token_id").1 = 99_999u32.to_le_bytes().into(), "<bos> is token 99999, but there are 1920 pieces"),

    ("no key", |g| g.keys.retain(|(k, ..)| k != "paligemma.block_count"), "metadata key \"paligemma.block_count\" is missing"),
    ("key twice", |g| g.keys.push(g.keys[7].clone()), "occurs twice"),
    ("alignment", |g| *g.key("general.alignment").1 = 32u32.to_le_bytes().into(), "expected a power of two from 64 to 4096"),
    ("no alignment", |g| g.keys.retain(|(k, ..)| k != "general.alignment"), "metadata key \"general.alignment\" is missing"),
    ("number is a float", |g| *g.key("paligemma.block_count").0 = 6, "is not a whole number of 32 bits"),
    ("unknown value type", |g| *g.key("paligemma.block_count").0 = 13, "paligemma.block_count has the unknown type 13"),
    ("truth value", |g| push(g, "x", 7, &[2]), "a truth value other than 0 and 1"),
    ("list of lists", |g| push(g, "x", 9, &[9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), "lists of lists are not used"),
    ("list too long", |g| push(g, "x", 9, &[0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]), "x is 18446744073709551615, more than the 4194304"),
    ("list beyond the file", |g| push(g, "x", 9, &[12, 0, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0]), "the file ends inside x"),
    ("text too long", |g| push(g, "x", 8, &[255; 8]), "x is 18446744073709551615, more than the 1048576"),
    ("texts too long", |g| g.key(TOKENS).1[12..20].fill(255), "tokenizer.ggml.tokens is 18446744073709551615"),
    ("no UTF-8", |g| push(g, "x", 8, &[1, 0, 0, 0, 0, 0, 0, 0, 255]), "x is not valid UTF-8"),
    ("piece is no UTF-8", |g| g.key(TOKENS).1[20] = 255, "tokenizer.ggml.tokens is not valid UTF-8"),
];

#[test]
fn contradictions_are_refused() {
    let (good, _) = Gguf::parse(demo());
    assert!(good.to_bytes() == demo(), "the editor changes nothing by itself");
    let mut wrong = Vec::new();
    for (what, change, message) in CASES {
        let mut gguf = good.clone();
        change(&mut gguf);
        let found = refusal(&gguf.to_bytes());
        if found.is_empty() || message.is_empty() || !found.contains(message) {
            wrong.push(format!("{what}: \"{found}\" does not say \"{message}\""));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn bad_first_bytes_are_refused() {
    let (_, layout) = Gguf::parse(demo());
    let most = u64::MAX.to_le_bytes();
    for (at, bytes, message) in [
        (0, &b"GGML"[..], "not a GGUF file: it begins with 47 47 4d 4c"),
        (0, b"\x89PNG", "not a GGUF file"),
        (4, &[2, 0, 0, 0], "GGUF version 2, this runtime reads version 3"),
        (4, &[0, 0, 0, 3], "GGUF version 50331648"),
        (8, &most, "the number of tensors is 18446744073709551615, more than the 8192"),
        (8, &[126, 0, 0, 0, 0, 0, 0, 0], ""),
        (16, &most, "the number of metadata keys is 18446744073709551615, more than the 1024"),
        (24, &most, "a metadata key is 18446744073709551615, more than the 1048576"),
        (layout.rows[0], &most, "a tensor name is 18446744073709551615, more than the 1048576"),
    ] {
        let mut file = demo().to_vec();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        let found = refusal(&file);
        assert!(!found.is_empty() && found.contains(message), "\"{found}\" does not say \"{message}\"");
    }
}
