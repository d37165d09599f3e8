//! `trace`: the tensors that it documents, and forced tokens.

use crate::run::{command, done, folder, refused, scene};
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

const N_VOCAB: usize = 1920;
const N_IMAGE: usize = 64;
const WIDTH: usize = 160;
const LAYERS: usize = 4;

fn trace(out: &Path, options: &[&str]) -> (String, Vec<u8>) {
    let mut run = command(["trace", "--prompt", "caption en", "--out"]);
    let printed = done(run.arg(out).args(options).arg(scene(3)));
    (printed, std::fs::read(out).unwrap())
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap();
    tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn ids(file: &SafeTensors<'_>, name: &str) -> Vec<i64> {
    let tensor = file.tensor(name).unwrap();
    tensor.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect()
}

/// Checks names, types and shapes.
fn check(file: &SafeTensors<'_>, n_prefix: usize, steps: usize) {
    let mut expected = vec![
        ("pixel_values".to_string(), Dtype::F32, vec![3, 112, 112]),
        ("input_ids".into(), Dtype::I64, vec![n_prefix]),
        ("vision_last_hidden".into(), Dtype::F32, vec![N_IMAGE, WIDTH]),
        ("image_features".into(), Dtype::F32, vec![N_IMAGE, WIDTH]),
        ("prefill_logits".into(), Dtype::F32, vec![N_VOCAB]),
        ("step_logits".into(), Dtype::F32, vec![steps, N_VOCAB]),
        ("generated".into(), Dtype::I64, vec![steps]),
    ];
    expected.extend((0..=LAYERS).map(|i| (format!("hidden.{i}"), Dtype::F32, vec![n_prefix, WIDTH])));
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    let mut found: Vec<_> =
        file.iter().map(|(name, t)| (name.to_string(), t.dtype(), t.shape().to_vec())).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(found, expected);
    for (name, dtype, _) in &found {
        if *dtype == Dtype::F32 {
            assert!(floats(file, name).iter().all(|x| x.is_finite()), "{name}");
        }
    }
}

#[test]
fn the_documented_tensors() {
    let folder = folder();
    let out = folder.path().join("x.safetensors");
    let (printed, bytes) = trace(&out, &[]);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let generated = ids(&file, "generated");
    let input = ids(&file, "input_ids");
    check(&file, input.len(), generated.len());
    assert_eq!(printed, format!("{}: 12 tensors, {} steps\n", out.display(), generated.len()));
    // The picture's places, <bos>, "caption en", a newline.
    assert!(input[..N_IMAGE].iter().all(|id| *id == input[0]) && input[0] as usize >= N_VOCAB, "{input:?}");
    assert_eq!(input[N_IMAGE..], [2, 301, 283, 5]);
    assert!(floats(&file, "pixel_values").iter().all(|x| (-1.0..=1.0).contains(x)));
    let logits = floats(&file, "step_logits");
    assert_eq!(floats(&file, "prefill_logits"), logits[..N_VOCAB]);
    for (row, id) in logits.chunks_exact(N_VOCAB).zip(&generated) {
        let best = row.iter().copied().fold(f32::MIN, f32::max);
        assert_eq!(row[*id as usize], best, "the best token of each step");
    }
    // The answer of `caption`, and the end token when it ended by itself.
    let answer = done(command(["caption", "--json"]).arg(scene(3)));
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let mut tokens: Vec<i64> =
        answer["tokens"].as_array().unwrap().iter().map(|t| t.as_i64().unwrap()).collect();
    tokens.push(1);
    assert_eq!(generated, tokens[..generated.len()]);
    assert!(generated.len() + 1 >= tokens.len(), "{generated:?} {tokens:?}");
}

#[test]
fn forced_tokens_are_fed() {
    let folder = folder();
    let out = folder.path().join("x.safetensors");
    let free = trace(&out, &["--max-tokens", "4"]).1;
    let free = SafeTensors::deserialize(&free).unwrap();
    let greedy = ids(&free, "generated");
    assert_eq!(greedy.len(), 4);

    // The end token does not end a forced answer.
    let forced = trace(&out, &["--force", "5, 1,1919"]).1;
    let forced = SafeTensors::deserialize(&forced).unwrap();
    assert_eq!(ids(&forced, "generated"), [5, 1, 1919]);
    check(&forced, N_IMAGE + 4, 3);
    let row =
        |file: &SafeTensors<'_>, i: usize| floats(file, "step_logits")[i * N_VOCAB..][..N_VOCAB].to_vec();
    assert_eq!(row(&forced, 0), row(&free, 0), "the first step comes before any token");
    assert_ne!(row(&forced, 1), row(&free, 1), "the second one has seen another token");

    // Forcing what the model says changes nothing.
    let list: Vec<String> = greedy.iter().map(i64::to_string).collect();
    let same = trace(&out, &["--force", &list.join(",")]).1;
    let same = SafeTensors::deserialize(&same).unwrap();
    assert_eq!(floats(&same, "step_logits"), floats(&free, "step_logits"));
    let cut = trace(&out, &["--force", &list.join(","), "--max-tokens", "2"]).1;
    check(&SafeTensors::deserialize(&cut).unwrap(), N_IMAGE + 4, 2);
}

#[test]
fn tokens_that_do_not_exist() {
    let folder = folder();
    for (list, message) in [
        ("5,1920", "token 1920 is outside the vocabulary of 1920"),
        ("4294967295", "token 4294967295 is outside the vocabulary"),
        ("4294967296", "--force: \"4294967296\" is not a token id"),
        ("-1", "--force: \"-1\" is not a token id"),
        ("", "--force: \"\" is not a token id"),
    ] {
        let mut run = command(["trace", "--prompt", "ocr", "--force", list, "--out"]);
        refused(run.arg(folder.path().join("x")).arg(scene(0)), message);
    }
    assert!(crate::run::names(folder.path()).is_empty());
}
