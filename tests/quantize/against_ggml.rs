//! Our integers against ggml's: their size at a real model's widths, and what they cost a model's scores.
//!
//! `tests/peers/ggml-loss.py` computes and judges the latter; here are the cases that it needs, with real runs. With
//! `PG_RECIPES` set it also prints what other recipes would cost.

use crate::checkpoint::{Case, Weights, write_weights};
use pg_quantize::{Checkpoint, Preset, Source, pack_to_vec};
use pg_runtime::format::WeightFormat;
use pg_runtime::{Model, Session, SessionOptions, TokenId, pictures};
use pg_tests::golden::{Tensor, cases, full_set, small_set};
use pg_tests::models::demo_sample;
use pg_tests::stages::Recorder;
use safetensors::Dtype;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A model of random weights.
const MODEL: &str = "tiny-b";
/// Tokens of an answer.
const STEPS: usize = 12;

/// Lengths of rows of PaliGemma 3B, and their numbers.
const SHAPES: [(usize, usize); 9] = [
    (588, 1152),
    (1152, 1152),
    (1152, 4304),
    (4304, 1152),
    (1152, 2048),
    (2048, 257_152),
    (2048, 256),
    (2048, 16_384),
    (16_384, 2048),
];

#[test]
fn integers_take_no_more_room_than_ggmls() {
    for (k, rows) in SHAPES {
        for (format, ggml_block) in [(WeightFormat::Q4, 18), (WeightFormat::Q8, 34)] {
            let (ours, theirs) = (format.matrix_bytes(k, rows), k.div_ceil(32) * ggml_block * rows);
            assert!(ours <= theirs, "{} rows of {k} as {}: {ours} bytes, {theirs}", rows, format.name());
        }
    }
}

/// The reference's cases with the reference's tokens, then other pictures with the f32 model's own: few cases cannot
/// tell two quantizers apart.
#[test]
fn integers_cost_no_more_than_ggmls() {
    let Some(python) = std::env::var_os("PG_PYTHON") else {
        println!("skipped: PG_PYTHON names no Python with the packages gguf and numpy");
        return;
    };
    let folder = Case::new();
    let goldens = full_set().unwrap_or_else(small_set);
    let checkpoint_folder = goldens.join(MODEL).join("checkpoint");
    let checkpoint = Checkpoint::open(&Source::folder(&checkpoint_folder)).unwrap();
    let packed = [Preset::F32, Preset::Q4, Preset::Q8].map(|preset| {
        let file = pack_to_vec(&checkpoint, preset).unwrap().0;
        let path = folder.out().join(format!("{}.gguf", preset.name()));
        std::fs::write(&path, &file).unwrap();
        (preset, path, Model::from_bytes(&file).unwrap())
    });
    let options =
        SessionOptions { threads: 2, max_prompt_tokens: 16, max_new_tokens: STEPS, ..Default::default() };
    let mut sessions = packed.each_ref().map(|(_, _, model)| Session::new(model, options.clone()).unwrap());

    let mut written = Weights::new();
    let mut n_cases = 0;
    let mut add = |picture: &Path, prompt: &str, forced: Option<&[TokenId]>| {
        let picture = pictures::load(picture).unwrap();
        let prompt = sessions[0].prompt(prompt).unwrap();
        let forced = match forced {
            Some(tokens) => tokens.to_vec(),
            None => sessions[0].run(&picture.frame(), &prompt).unwrap().tokens().to_vec(),
        };
        if forced.is_empty() {
            return;
        }
        let mut put = |what: &str, tensor| written.insert(format!("{n_cases}.{what}"), tensor);
        for (session, (preset, ..)) in sessions.iter_mut().zip(&packed) {
            let mut recorder = Recorder::new(session.model().config().vision);
            session.trace(&picture.frame(), &prompt, Some(&forced), &mut recorder).unwrap();
            let stages = recorder.into_stages();
            put(preset.name(), floats(&stages["step_logits"]));
            put("pixel_values", floats(&stages["pixel_values"]));
        }
        put("text_ids", ids(prompt.ids()));
        put("forced", ids(&forced));
        n_cases += 1;
    };
    for case in cases(&goldens, MODEL) {
        add(&case.picture, &case.prompt, Some(&case.generated));
    }
    for (i, picture) in other_pictures().iter().enumerate() {
        for prompt in ["caption en", ["detect cat ; dog", "answer en what is this?", ""][i % 3]] {
            add(picture, prompt, None);
        }
    }
    let path = folder.out().join("cases.safetensors");
    write_weights(&path, &written);

    let mut judge = Command::new(python);
    judge.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/ggml-loss.py"));
    judge.arg("--checkpoint").arg(checkpoint_folder).arg("--cases").arg(path);
    for (preset, path, _) in &packed[1..] {
        judge.arg(format!("--{}", preset.name())).arg(path);
    }
    judge.args(std::env::var_os("PG_RECIPES").map(|_| "--recipes"));
    let output = judge.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

fn other_pictures() -> Vec<PathBuf> {
    (0..12).map(|i| demo_sample(&format!("scene-{i:02}.png"))).collect()
}

fn floats(tensor: &Tensor) -> (Dtype, Vec<usize>, Vec<u8>) {
    (Dtype::F32, tensor.shape.clone(), tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

fn ids(ids: &[TokenId]) -> (Dtype, Vec<usize>, Vec<u8>) {
    (Dtype::I64, vec![ids.len()], ids.iter().flat_map(|&id| i64::from(id).to_le_bytes()).collect())
}
