//! Models of random weights: the same for the same seed, runnable, and never taken for a real one.

use crate::checkpoint::{Case, refusal};
use pg_quantize::{Preset, Synthetic};
use pg_runtime::probe::{Probe, Tap};
use pg_runtime::{Frame, Model, PixelFormat, Session, SessionOptions};
use pg_tests::gguf::Gguf;
use pg_tests::models::{demo, demo_sample};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn small(seed: u64, preset: Preset) -> Vec<u8> {
    Synthetic::parse("synthetic-small", seed).expect("a synthetic name").unwrap().to_vec(preset)
}

#[test]
fn the_seed_decides_every_byte() {
    let case = Case::new();
    for args in [&["--seed", "5"][..], &["--seed", "5", "-o", "again"], &["--seed", "6", "-o", "other"]] {
        assert!(case.run(["synthetic-small"].iter().chain(args)).status.success());
    }
    assert!(case.run(["synthetic-small", "-o", "zero"]).status.success());
    let read = |name: &str| fs::read(case.out().join(name)).unwrap();
    let first = read("synthetic-small.q4.gguf");
    assert!((20_000_000..40_000_000).contains(&first.len()), "{} bytes", first.len());
    assert!(first == read("again") && first != read("other"));
    assert!(first == small(5, Preset::Q4) && read("zero") == small(0, Preset::Q4));
    assert_eq!(case.written(), ["again", "other", "synthetic-small.q4.gguf", "zero"]);

    let ((a, _), (mut b, _)) = (Gguf::parse(&first), Gguf::parse(&read("other")));
    assert!(a.keys == b.keys, "only the weights differ");
    let [gate, up] = ["blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"].map(|name| b.tensor(name).data.clone());
    assert!(gate.len() == up.len() && gate != up, "tensors do not repeat each other");
}

#[test]
fn it_is_made_by_the_recipe_of_real_models() {
    for preset in Preset::ALL {
        let model = Model::from_bytes(&small(1, preset)).unwrap_or_else(|e| panic!("{preset:?}: {e}"));
        assert!(model.is_synthetic());
        let real = demo(preset);
        assert!(!real.is_synthetic());
        let real: BTreeMap<_, _> = real.tensors().map(|t| (t.name.as_str(), t.format)).collect();
        for t in model.tensors() {
            assert_eq!(real.get(t.name.as_str()), Some(&t.format), "{preset:?} {}", t.name);
        }
    }
    let keys = |file: &[u8]| Gguf::parse(file).0.keys.into_iter().map(|(key, ..)| key).collect::<Vec<_>>();
    let checkpoint = pg_quantize::Checkpoint::open(&pg_quantize::Source::demo()).unwrap();
    let mut real = keys(&pg_quantize::pack_to_vec(&checkpoint, Preset::Q4).unwrap().0);
    real.push("paligemma.synthetic".into());
    assert_eq!(keys(&small(1, Preset::Q4)), real);
}

/// The largest magnitude and the root mean square of everything seen, by stage.
#[derive(Default)]
struct Sizes(Vec<(Tap, f32, f32)>);

impl Probe for Sizes {
    fn look(&mut self, tap: Tap, data: &[f32], _: usize) {
        assert!(data.iter().all(|v| v.is_finite()), "{tap:?}");
        let most = data.iter().fold(0.0, |most: f32, v| most.max(v.abs()));
        let squares = data.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
        self.0.push((tap, most, (squares / data.len() as f64).sqrt() as f32));
    }
}

#[test]
fn activations_stay_finite_and_of_order_one() {
    for preset in Preset::ALL {
        let model = Model::from_bytes(&small(2, preset)).unwrap();
        let options = SessionOptions { max_new_tokens: 4, max_side: 64, ..SessionOptions::default() };
        let mut session = Session::new(&model, options).unwrap();
        let prompt = session.prompt("detect red circle").unwrap();
        let pixels: Vec<u8> = (0..64 * 64 * 3).map(|i| (i * i % 251) as u8).collect();
        let frame = Frame::new(&pixels, 64, 64, PixelFormat::Rgb8).unwrap();
        let mut sizes = Sizes::default();
        let answer = session.trace(&frame, &prompt, Some(&[7, 256_003, 200_000, 9]), &mut sizes).unwrap();
        assert_eq!(answer.tokens(), [7, 256_003, 200_000, 9]);
        assert!(sizes.0.iter().filter(|(tap, ..)| matches!(tap, Tap::Logits)).count() == 4);
        for (tap, most, rms) in sizes.0 {
            assert!((0.1..10.0).contains(&rms) && most < 100.0, "{preset:?} {tap:?}: {rms}, up to {most}");
        }
    }
}

fn run(program: &Path, args: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).env_remove("PG_MODEL").env_remove("PG_ISA");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn every_report_says_so() {
    let case = Case::new();
    let file = "m.gguf";
    let table = String::from_utf8(case.run(["synthetic-small", "-o", file]).stdout).unwrap();
    assert!(table.contains("\nsynthetic: random weights") && !table.contains(" %  "), "{table}");
    let report: serde_json::Value =
        serde_json::from_slice(&case.run(["synthetic-small", "-o", file, "--json"]).stdout).unwrap();
    assert_eq!(report["synthetic"], true);
    assert_eq!(report["bytes"], fs::metadata(case.out().join(file)).unwrap().len());
    assert!(report["groups"].as_array().unwrap().iter().all(|g| g["rms_error"].is_null()));
    let real: serde_json::Value =
        serde_json::from_slice(&case.run(["demo", "-o", "demo.gguf", "--json"]).stdout).unwrap();
    assert_eq!(real["synthetic"], false);

    let scene = demo_sample("scene-00.png");
    let pg_run = pg_tests::programs::pg_run();
    let say = |model: &str, args: &[&str]| {
        let output = run(&pg_run, &[&["-m", model], args].concat(), &case.out());
        String::from_utf8(output.stdout).unwrap()
    };
    let caption = ["caption", scene.to_str().unwrap(), "--max-tokens", "3"];
    let as_json = [&caption[..], &["--json"]].concat();
    let json = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    for (model, is_synthetic) in [(file, true), ("demo.gguf", false)] {
        assert_eq!(say(model, &["inspect"]).contains("synthetic model: random weights"), is_synthetic);
        assert_eq!(json(say(model, &["inspect", "--json"]))["synthetic"], is_synthetic);
        assert_eq!(say(model, &caption).contains("\nsynthetic model: random weights"), is_synthetic);
        let answer = json(say(model, &as_json));
        assert_eq!(answer.get("synthetic"), is_synthetic.then_some(&true.into()));
        assert_eq!(answer["tokens"].as_array().unwrap().len(), 3);
        let trace = ["trace", scene.to_str().unwrap(), "--prompt", "ocr", "--force", "5", "--out", "trace"];
        assert_eq!(say(model, &trace).contains("synthetic model"), is_synthetic);
        let bytes = fs::read(case.out().join("trace")).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let marks = header.metadata().clone().unwrap_or_default();
        assert_eq!(marks.get("synthetic").map(String::as_str), is_synthetic.then_some("true"));
    }
}

#[test]
fn a_mark_of_another_type_is_refused() {
    let (mut file, _) = Gguf::parse(&small(0, Preset::Q4));
    let (kind, value) = file.key("paligemma.synthetic");
    (*kind, *value) = (4, vec![1, 0, 0, 0]);
    let refused = Model::from_bytes(&file.to_bytes()).unwrap_err().to_string();
    assert!(refused.contains("paligemma.synthetic") && refused.contains("true or false"), "{refused}");
}

#[test]
fn bad_arguments_are_refused() {
    let case = Case::new();
    for (args, message) in [
        (&["synthetic-225"][..], "there is no synthetic-225: use synthetic-224"),
        (&["synthetic-"], "there is no synthetic-: use"),
        (&["demo", "--seed", "1"], "--seed belongs to synthetic models"),
        (&["synthetic-small", "--seed", "one"], "--seed one: expected a whole number"),
        (&["synthetic-small", "-o", "/dev/full"], "cannot write /dev/full: is no regular file"),
        (&["synthetic"], "for a synthetic one such as synthetic-224"),
    ] {
        let found = refusal(&case.run(args));
        assert!(found.contains(message), "{args:?}: {found} does not say {message}");
    }
    assert!(case.written().is_empty());
}
