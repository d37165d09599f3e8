//! Checkpoints that must be refused: each with a message that names the place, status 2, and nothing written.

use crate::checkpoint::{Case, Weights, demo_weights, refusal, write_weights};
use safetensors::Dtype;
use serde_json::{Value, json};
use std::fs;

const TABLE: &str = "language_model.model.embed_tokens.weight";
const PROJECTOR: &str = "multi_modal_projector.linear.weight";
const UP: &str = "language_model.model.layers.1.mlp.up_proj.weight";

/// A safetensors file with this header and this many data bytes.
fn raw(header: &str, claimed: Option<u64>, data: usize) -> Vec<u8> {
    let claimed = claimed.unwrap_or(header.len() as u64);
    [&claimed.to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
}

fn weights(case: &Case, change: impl FnOnce(&mut Weights)) {
    let mut weights = demo_weights();
    change(&mut weights);
    write_weights(&case.folder().join("model.safetensors"), &weights);
}

fn file(case: &Case, name: &str, bytes: impl AsRef<[u8]>) {
    fs::write(case.folder().join(name), bytes).unwrap();
}

fn config(case: &Case, edit: impl FnOnce(&mut Value)) {
    case.edit_json("config.json", edit);
}

fn remove(case: &Case, name: &str) {
    fs::remove_file(case.folder().join(name)).unwrap();
}

fn two_shards(case: &Case) {
    let mut first = demo_weights();
    let second = first.split_off(UP);
    let names = ["a.safetensors", "b.safetensors"];
    let map: serde_json::Map<String, Value> = (first.keys().map(|k| (k.clone(), names[0].into())))
        .chain(second.keys().map(|k| (k.clone(), names[1].into())))
        .collect();
    remove(case, "model.safetensors");
    write_weights(&case.folder().join(names[0]), &first);
    write_weights(&case.folder().join(names[1]), &second);
    file(case, "model.safetensors.index.json", json!({ "weight_map": map }).to_string());
}

type Damage = fn(&Case);

const CASES: [(&str, Damage, &str); 35] = [
    ("no config", |c| remove(c, "config.json"), "tiny has no config.json"),
    ("config is not JSON", |c| file(c, "config.json", "{"), "config.json: is not JSON"),
    ("config is a list", |c| file(c, "config.json", "[]"), "config.json: is no JSON object"),
    (
        "llava",
        |c| config(c, |j| j["model_type"] = "llava".into()),
        "this is a \"llava\" model, only PaliGemma",
    ),
    (
        "version 2",
        |c| config(c, |j| j["text_config"]["model_type"] = "gemma2".into()),
        "this is PaliGemma 2 (its decoder is Gemma 2)",
    ),
    (
        "a size of text",
        |c| config(c, |j| j["text_config"]["head_dim"] = "64".into()),
        "text_config.head_dim is \"64\"",
    ),
    (
        "patches",
        |c| config(c, |j| j["vision_config"]["image_size"] = 113.into()),
        "picture of 113 in patches of 14",
    ),
    ("no image token", |c| config(c, |j| j["image_token_index"] = Value::Null), "image_token_index"),
    ("more layers", |c| config(c, |j| j["text_config"]["num_hidden_layers"] = 5.into()), "layers.4"),
    (
        "a million layers",
        |c| config(c, |j| j["text_config"]["num_hidden_layers"] = 1_000_000.into()),
        "decoder layers is 1000000, expected 1 to 512",
    ),
    ("fewer layers", |c| config(c, |j| j["text_config"]["num_hidden_layers"] = 3.into()), "layers.3"),
    (
        "no weights",
        |c| remove(c, "model.safetensors"),
        "has no model.safetensors and no model.safetensors.index.json",
    ),
    ("empty weights", |c| file(c, "model.safetensors", ""), "the file is empty"),
    ("too short for a header", |c| file(c, "model.safetensors", "abc"), "3 bytes are too few"),
    (
        "header beyond the file",
        |c| file(c, "model.safetensors", raw("{}", Some(9999), 0)),
        "claims 9999 bytes",
    ),
    ("huge header", |c| file(c, "model.safetensors", raw("{}", Some(u64::MAX), 0)), "over the cap"),
    ("header is no JSON", |c| file(c, "model.safetensors", raw("{x", None, 0)), "JSON"),
    (
        "overlap",
        |c| {
            let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
            file(c, "model.safetensors", raw(header, None, 12));
        },
        "overlap or hole",
    ),
    (
        "shape and bytes differ",
        |c| {
            let header = r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#;
            file(c, "model.safetensors", raw(header, None, 8));
        },
        "do not fit its number of bytes",
    ),
    (
        "shape overflows",
        |c| {
            let header = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,8]}}"#;
            file(c, "model.safetensors", raw(header, None, 8));
        },
        "impossibly large",
    ),
    (
        "truncated data",
        |c| {
            let whole = fs::read(c.folder().join("model.safetensors")).unwrap();
            file(c, "model.safetensors", &whole[..whole.len() - 1]);
        },
        "do not end where the file",
    ),
    ("missing tensor", |c| weights(c, |w| drop(w.remove(UP))), "layers.1.mlp.up_proj.weight\" is missing"),
    (
        "misshapen tensor",
        |c| weights(c, |w| w.get_mut(UP).unwrap().1 = vec![160, 640]),
        "has the shape [160, 640], config.json asks for [640, 160]",
    ),
    (
        "small table",
        |c| config(c, |j| j["image_token_index"] = 1985.into()),
        "tokenizer.model: has 1920 pieces, the model has 1985 tokens",
    ),
    (
        "integers",
        |c| weights(c, |w| w.get_mut(UP).unwrap().0 = Dtype::I16),
        "is stored as I16, expected F32, F16 or BF16",
    ),
    (
        "not a number",
        |c| weights(c, |w| w.get_mut(UP).unwrap().2[322..324].copy_from_slice(&[0xc0, 0x7f])),
        "up_proj.weight\" holds NaN in row 1, column 1",
    ),
    (
        "too large for q8",
        |c| weights(c, |w| w.get_mut(PROJECTOR).unwrap().2[0..2].copy_from_slice(&[0x00, 0x7e])),
        "too large for q8: pack it with --f32",
    ),
    (
        "adapter",
        |c| {
            weights(c, |w| {
                let t = w[UP].clone();
                w.insert("base.lora_A.weight".into(), t);
            });
        },
        "\"base.lora_A.weight\" belongs to no part",
    ),
    (
        "untied head",
        |c| {
            weights(c, |w| {
                let mut head = w[TABLE].clone();
                head.2[7] ^= 1;
                w.insert("lm_head.weight".into(), head);
            });
        },
        "\"lm_head.weight\" differs from",
    ),
    (
        "both names",
        |c| {
            weights(c, |w| {
                let table = w[TABLE].clone();
                w.insert("model.language_model.embed_tokens.weight".into(), table);
            });
        },
        "is there twice",
    ),
    (
        "missing shard",
        |c| {
            two_shards(c);
            remove(c, "b.safetensors");
        },
        "lists the shard b.safetensors, which is absent",
    ),
    (
        "shard elsewhere",
        |c| {
            two_shards(c);
            c.edit_json("model.safetensors.index.json", |j| j["weight_map"][UP] = "../x.safetensors".into());
        },
        "is no file name in this folder",
    ),
    (
        "shard without its tensor",
        |c| {
            two_shards(c);
            c.edit_json("model.safetensors.index.json", |j| j["weight_map"][UP] = "a.safetensors".into());
        },
        "which does not hold it",
    ),
    ("no tokenizer", |c| remove(c, "tokenizer.model"), "has no tokenizer.model and no tokenizer.json"),
    ("damaged tokenizer", |c| file(c, "tokenizer.model", [0xff; 40]), "tiny/tokenizer.model: byte 0: "),
];

#[test]
fn bad_checkpoints() {
    for (what, damage, message) in CASES {
        let case = Case::new();
        damage(&case);
        let found = refusal(&case.run(["../tiny"]));
        assert!(found.contains(message), "{what}: {found} does not say {message}");
        assert!(case.written().is_empty(), "{what}: {:?}", case.written());
    }
}

#[test]
fn bad_arguments() {
    let case = Case::new();
    for (args, message) in [
        (&["no/such/path"][..], "\"no/such/path\" is no checkpoint: looked for a folder"),
        (&["../tiny/config.json"], "is a file: give the folder"),
        (&[], "MODEL is missing"),
        (&["demo", "--q5"], "--q5"),
        (&["demo", "--q4", "--f32"], "only one of"),
    ] {
        let found = refusal(&case.run(args));
        assert!(found.contains(message), "{found} does not say {message}");
        assert!(case.written().is_empty());
    }
}

/// Any single changed byte of the small files or of the header is refused or harmless; nothing panics.
#[test]
fn damaged_bytes_are_refused_or_harmless() {
    use pg_quantize::{Checkpoint, Source};
    use std::os::unix::fs::FileExt;

    let case = Case::new();
    let mut n_refused = 0;
    for (name, bytes, step) in
        [("config.json", 1312, 3), ("tokenizer.model", 34_653, 101), ("model.safetensors", 15_896, 37)]
    {
        let file = fs::OpenOptions::new().read(true).write(true).open(case.folder().join(name)).unwrap();
        for at in (0..bytes).step_by(step) {
            let mut original = [0];
            file.read_exact_at(&mut original, at).unwrap();
            for damage in [original[0] ^ 0x01, original[0] ^ 0x80, b'9', b'"'] {
                file.write_all_at(&[damage], at).unwrap();
                n_refused += usize::from(Checkpoint::open(&Source::folder(&case.folder())).is_err());
            }
            file.write_all_at(&original, at).unwrap();
        }
    }
    assert!(Checkpoint::open(&Source::folder(&case.folder())).is_ok());
    println!("{n_refused} damaged checkpoints refused");
    assert!(n_refused > 1000);
}
