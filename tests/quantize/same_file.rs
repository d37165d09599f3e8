//! Checkpoints that say the same in different ways become the same file, byte for byte.

use crate::checkpoint::{Case, Weights, demo, demo_weights, widened, write_weights};
use pg_quantize::{Checkpoint, Preset, Source, pack_to_vec};
use pg_runtime::format::Container;
use pg_runtime::tokenizer::Tokenizer;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;

fn packed(case: &Case, preset: Preset) -> Vec<u8> {
    let checkpoint = Checkpoint::open(&Source::folder(&case.folder())).unwrap_or_else(|e| panic!("{e}"));
    pack_to_vec(&checkpoint, preset).unwrap_or_else(|e| panic!("{e}")).0
}

/// Replaces the weights by shards; tensor i goes to shard i % n.
fn shard(case: &Case, weights: &Weights, n: usize) {
    fs::remove_file(case.folder().join("model.safetensors")).unwrap();
    let name = |i: usize| format!("model-{:05}-of-{n:05}.safetensors", i + 1);
    let mut shards = vec![Weights::new(); n];
    let mut map = BTreeMap::new();
    for (i, (tensor, value)) in weights.iter().enumerate() {
        shards[i % n].insert(tensor.clone(), value.clone());
        map.insert(tensor.clone(), name(i % n));
    }
    for (i, shard) in shards.iter().enumerate() {
        write_weights(&case.folder().join(name(i)), shard);
    }
    let index = json!({"metadata": {"total_size": 1}, "weight_map": map});
    fs::write(case.folder().join("model.safetensors.index.json"), index.to_string()).unwrap();
}

#[test]
fn one_file_of_bf16_and_shards_of_f32() {
    let sharded = Case::new();
    shard(&sharded, &widened(&demo_weights()), 4);
    let single = Case::new();
    for preset in Preset::ALL {
        assert!(packed(&sharded, preset) == packed(&single, preset), "{}", preset.name());
    }
}

#[test]
fn both_generations_of_names() {
    let newer = Case::with_weights(|weights| {
        *weights = std::mem::take(weights)
            .into_iter()
            .map(|(name, t)| {
                (format!("model.{}", name.replace("language_model.model.", "language_model.")), t)
            })
            .collect();
    });
    assert!(packed(&newer, Preset::Q4) == packed(&Case::new(), Preset::Q4));
}

#[test]
fn a_tied_head_and_known_buffers_change_nothing() {
    let case = Case::with_weights(|weights| {
        let table = weights["language_model.model.embed_tokens.weight"].clone();
        let positions = (safetensors::Dtype::I64, vec![1, 2], vec![0; 16]);
        weights.insert("language_model.lm_head.weight".into(), table);
        weights.insert("vision_tower.vision_model.embeddings.position_ids".into(), positions);
    });
    assert!(packed(&case, Preset::Q8) == packed(&Case::new(), Preset::Q8));
}

#[test]
fn a_folder_is_packed_like_the_bundled_checkpoint() {
    let bundled = Checkpoint::open(&Source::demo()).unwrap();
    let folder = Checkpoint::open(&Source::folder(&demo())).unwrap();
    assert_eq!((bundled.name(), folder.name()), ("demo", "demo"));
    let pack = |c| pack_to_vec(c, Preset::Q4).unwrap().0;
    assert!(pack(&bundled) == pack(&folder));
}

#[test]
fn the_program_writes_what_the_library_does() {
    let case = Case::new();
    let output = case.run(["../tiny", "-o", "x.gguf"]);
    assert!(output.status.success(), "{output:?}");
    assert!(fs::read(case.out().join("x.gguf")).unwrap() == packed(&case, Preset::Q4));
    assert_eq!(case.written(), ["x.gguf"]);
}

#[test]
fn a_short_sentencepiece_file_gives_way_to_the_other() {
    let case = Case::new();
    let mut model = fs::read(case.folder().join("tokenizer.model")).unwrap();
    let text = b"<seg127>";
    let at = model.windows(text.len()).position(|w| w == text).unwrap();
    // The last piece becomes a field that readers skip; before its text come two tags and two lengths.
    let tag = (0..at).rev().find(|&i| model[i] == 0x0a && i + 4 == at).unwrap();
    model[tag] = 0x7a;
    fs::write(case.folder().join("tokenizer.model"), model).unwrap();
    fs::copy(demo().join("tokenizer.json"), case.folder().join("tokenizer.json")).unwrap();
    let file = packed(&case, Preset::Q4);
    let tokenizer =
        Tokenizer::from_container(&Container::parse(&file).unwrap()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(tokenizer.piece(1919), Some("<seg127>"));
}

/// Scores differ between the two forms of a vocabulary, so files do; what they encode to does not.
#[test]
fn a_vocabulary_from_json_encodes_the_same() {
    let from_json = Case::new();
    fs::remove_file(from_json.folder().join("tokenizer.model")).unwrap();
    fs::copy(demo().join("tokenizer.json"), from_json.folder().join("tokenizer.json")).unwrap();
    let files = [packed(&from_json, Preset::Q4), packed(&Case::new(), Preset::Q4)];
    let [json, model] = files.each_ref().map(|f| {
        let container = Container::parse(f).unwrap();
        Tokenizer::from_container(&container).unwrap_or_else(|e| panic!("{e}"))
    });
    assert_eq!(json.len(), model.len());
    assert_eq!(json.image(), model.image());
    for id in 0..json.len() as u32 {
        assert_eq!((json.piece(id), json.kind(id)), (model.piece(id), model.kind(id)));
    }
    for text in [
        "caption en\n",
        "detect a large red circle ; blue square\n",
        "segment <loc0001><seg127>\n\n  \t x",
        "is there a triangle left of the circle?\n",
        "naïve 日本語 😀 <bos><image>",
    ] {
        assert_eq!(json.encode(text), model.encode(text), "{text}");
    }
}

/// The file that `pg-camera` carries along.
#[test]
fn the_bundled_file_is_what_the_demo_checkpoint_packs_to() {
    let checkpoint = Checkpoint::open(&Source::demo()).unwrap();
    let (packed, _) = pack_to_vec(&checkpoint, Preset::Q4).unwrap();
    let bundled =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware-examples/linux/demo.q4.gguf");
    let is_same = fs::read(&bundled).unwrap() == packed;
    assert!(
        is_same,
        "pack it again: cargo run -p pg-quantize -- demo --q4 -o firmware-examples/linux/demo.q4.gguf"
    );
}
