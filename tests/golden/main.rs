//! Every stage of a run against Hugging Face transformers in f32, on tiny checkpoints with awkward sizes.
//!
//! Runs the small set of `tests/goldens/models` always, the full one when `PG_GOLDENS` names its folder, and other
//! shapes computed by an independent reference when `PG_SHAPES` does.

use pg_quantize::{Checkpoint, Preset, Source, pack_to_vec};
use pg_runtime::{Kernels, Model, Session, SessionOptions, TokenId, pictures};
use pg_tests::compare::Difference;
use pg_tests::golden::{Case, Tensor, cases, full_set, small_set};
use pg_tests::stages::Recorder;
use pg_tests::tolerances::DECIDED_MARGIN;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

#[test]
fn stages_of_the_small_set_agree() {
    let mut worst = Worst::default();
    let n = ["tiny-a", "tiny-b"].map(|model| check_model(&small_set(), model, "checkpoint", &mut worst));
    println!("{n:?} cases\n{worst}");
    assert_eq!(n, [3, 2]);
}

#[test]
fn stages_of_the_full_set_agree() {
    let Some(root) = full_set() else {
        println!("skipped: set PG_GOLDENS to the full golden set");
        return;
    };
    let mut worst = Worst::default();
    let forms = [("tiny-a", "checkpoint"), ("tiny-a", "checkpoint-f32-sharded"), ("tiny-b", "checkpoint")];
    let n = forms.map(|(model, form)| check_model(&root, model, form, &mut worst));
    println!("{n:?} cases\n{worst}");
    assert_eq!(n, [12, 12, 12]);
}

/// Grouped heads, as many key/value heads as query heads, other patches, widths that are no multiple of anything.
#[test]
fn stages_of_other_shapes_agree() {
    let Some(root) = std::env::var_os("PG_SHAPES").map(PathBuf::from) else {
        println!("skipped: set PG_SHAPES to a folder made by tests/peers/numpy-reference.py");
        return;
    };
    let mut worst = Worst::default();
    let mut n = 0;
    for entry in std::fs::read_dir(&root).expect("PG_SHAPES names a folder") {
        let name = entry.expect("a readable folder").file_name();
        if name != "pictures" {
            n += check_model(&root, &name.to_string_lossy(), "checkpoint", &mut worst);
        }
    }
    println!("{n} cases\n{worst}");
    assert!(n > 0, "PG_SHAPES has no cases");
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for model in ["tiny-a", "tiny-b"] {
        let packed = Packed::open(&small_set().join(model).join("checkpoint"));
        let case = &cases(&small_set(), model)[0];
        for kernels in Kernels::available() {
            let [one, two, three] = [1, 2, 3].map(|threads| {
                let mut session = session(&packed.model, kernels, threads, case);
                bits(&trace(&mut session, case))
            });
            for (threads, other) in [(2, two), (3, three)] {
                for (name, expected) in &one {
                    let differs = expected.iter().zip(&other[name]).position(|(a, b)| a != b);
                    assert_eq!(differs, None, "{}, {name}, {}: {threads} threads", case.name, kernels.name());
                }
                assert_eq!(one.len(), other.len());
            }
        }
    }
}

/// What a board without an allocator of that size does.
#[test]
fn memory_of_the_caller_serves_as_well() {
    let packed = Packed::open(&small_set().join("tiny-a").join("checkpoint"));
    let case = &cases(&small_set(), "tiny-a")[0];
    let mut own = session(&packed.model, Kernels::detect(), 2, case);
    let expected = bits(&trace(&mut own, case));
    let bytes =
        Session::memory_plan(packed.model.header(), &options(Kernels::detect(), 2, case)).unwrap().bytes();
    let lend = |bytes: usize| {
        let memory = vec![0xa5; bytes].leak();
        Session::new_in(&packed.model, options(Kernels::detect(), 2, case), memory)
    };
    // 255 bytes more serve every alignment.
    let mut borrowed = lend(bytes + 255).expect("room enough");
    assert_eq!(bits(&trace(&mut borrowed, case)), expected);
    let message = lend(bytes - 1).expect_err("too little").to_string();
    assert!(message.contains(&format!("needs {bytes} bytes")), "{message}");
}

#[test]
fn a_run_can_be_ended_before_every_stage_layer_and_token() {
    let packed = Packed::open(&small_set().join("tiny-a").join("checkpoint"));
    let case = &cases(&small_set(), "tiny-a")[0];
    let mut session = session(&packed.model, Kernels::detect(), 1, case);
    let picture = pictures::load(&case.picture).expect("a picture");
    let prompt = session.prompt(&case.prompt).expect("room for the prompt");
    let config = packed.model.config();
    // Two stages with their layers, the beginning of the last stage, four tokens.
    let n_before = config.vision.n_layers + config.text.n_layers + 3;
    let steps = session.steps();
    let mut taken = Vec::new();
    for n_events in 1..=n_before + 5 {
        let (mut told, mut tokens) = (0, 0);
        let begun = steps.load(Ordering::Relaxed);
        let answer = session.run_with(&picture.frame(), &prompt, |event| {
            told += 1;
            tokens += usize::from(matches!(event, pg_runtime::Event::Token(_)));
            if told == n_events { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        // The answer has the tokens that were told before the end.
        assert_eq!(answer.expect("a run").tokens(), &case.generated[..tokens], "{n_events} events");
        assert_eq!(tokens, n_events.saturating_sub(n_before).min(4));
        assert_eq!(told, n_events.min(n_before + 4));
        taken.push(steps.load(Ordering::Relaxed) - begun);
    }
    // Whatever ends a run, what would have come after it is not computed.
    assert!(taken.is_sorted() && taken[0] == 0, "{taken:?}");
    assert!(taken[1] < taken[2] && taken[2] < taken[n_before - 1], "{taken:?}");
}

#[test]
fn a_picture_seen_once_is_answered_about_as_often_as_wanted() {
    let packed = Packed::open(&small_set().join("tiny-a").join("checkpoint"));
    let case = &cases(&small_set(), "tiny-a")[0];
    let picture = pictures::load(&case.picture).expect("a picture");
    let on = |_: pg_runtime::Event<'_>| ControlFlow::Continue(());
    let mut session = session(&packed.model, Kernels::detect(), 2, case);
    let prompt = session.prompt(&case.prompt).expect("room for the prompt");
    let nothing = session.answer(&prompt, on).expect_err("nothing seen").to_string();
    assert!(nothing.contains("look at one first"), "{nothing}");

    let steps = session.steps();
    let embedding =
        session.look(&picture.frame(), on).expect("a look").expect("not ended").embedding().to_vec();
    let seen = steps.load(Ordering::Relaxed);
    assert!(seen > packed.model.config().vision.n_layers, "{seen} steps");
    for _ in 0..2 {
        let answer = session.answer(&prompt, on).expect("an answer");
        assert_eq!(answer.tokens(), case.generated);
        assert_eq!((answer.timing().image, answer.timing().vision), (0.0, 0.0));
    }
    assert!(steps.load(Ordering::Relaxed) > seen);

    let tokens = &case.stages["vision_last_hidden"];
    let n = packed.model.config().vision.n_patches() as f32;
    for (i, mean) in embedding.iter().enumerate() {
        let expected = tokens.values.iter().skip(i).step_by(embedding.len()).sum::<f32>() / n;
        assert!((mean - expected).abs() < 1e-3, "{i}: {mean}, expected {expected}");
    }

    // Fewer threads change nothing but who computes.
    session.use_threads(1);
    assert_eq!(session.run(&picture.frame(), &prompt).expect("a run").tokens(), case.generated);
    session.use_threads(99);
    // A look that was ended leaves nothing to answer about.
    assert!(session.look(&picture.frame(), |_| ControlFlow::Break(())).expect("a look").is_none());
    assert!(session.answer(&prompt, on).is_err());
}

/// Compares all cases of a model, with every kernel table; returns how many there are.
fn check_model(root: &Path, model: &str, form: &str, worst: &mut Worst) -> usize {
    let packed = Packed::open(&root.join(model).join(form));
    let cases = cases(root, model);
    for case in &cases {
        for kernels in Kernels::available() {
            let what = format!("{form}, {}, {}", case.name, kernels.name());
            let mut session = session(&packed.model, kernels, 2, case);
            check_prompt(&packed, &session, case, &what);
            let found = trace(&mut session, case);
            check_stages(case, &found, packed.model.config().text.n_vocab, &what, worst);
            check_greedy(&mut session, case, &what);
        }
    }
    cases.len()
}

fn check_prompt(packed: &Packed, session: &Session<'_>, case: &Case, what: &str) {
    let prompt = session.prompt(&case.prompt).expect("room for the prompt");
    let mut ids = vec![packed.image_token; packed.model.config().vision.n_patches()];
    ids.extend(prompt.ids());
    assert_eq!(ids, case.input_ids, "{what}: input_ids");
}

fn check_stages(
    case: &Case,
    found: &BTreeMap<String, Tensor>,
    n_vocab: usize,
    what: &str,
    worst: &mut Worst,
) {
    for (name, found) in found {
        let Some(golden) = case.stages.get(name) else {
            // The small set leaves out what it has already.
            assert_eq!(name, "prefill_logits", "{what}: no golden");
            continue;
        };
        if name == "pixel_values" {
            assert!(golden == found, "{what}: {name}: {}", Difference::between(golden, found));
            continue;
        }
        let golden = if name.ends_with("logits") { &without_padding(golden, n_vocab) } else { golden };
        let difference = Difference::between(golden, found);
        assert!(difference.is_rounding(), "{what}: {name}: {difference}");
        worst.add(name, &difference);
    }
    for name in case.stages.keys() {
        assert!(found.contains_key(name), "{what}: the run has no {name}");
    }
}

/// Scores of the first `n_vocab` tokens: the reference's table has more rows, which no token has.
fn without_padding(scores: &Tensor, n_vocab: usize) -> Tensor {
    let mut shape = scores.shape.clone();
    let width = std::mem::replace(shape.last_mut().expect("a shape"), n_vocab);
    let values = scores.values.chunks(width).flat_map(|row| &row[..n_vocab]).copied().collect();
    Tensor { shape, values }
}

/// Greedy tokens are the reference's as long as rounding cannot decide one.
fn check_greedy(session: &mut Session<'_>, case: &Case, what: &str) {
    let decided = case.margin.iter().take_while(|&&m| m > DECIDED_MARGIN).count();
    let picture = pictures::load(&case.picture).expect("a picture");
    let prompt = session.prompt(&case.prompt).expect("room for the prompt");
    let answer = session.run(&picture.frame(), &prompt).expect("a run");
    assert!(decided > 0, "{what}: nothing to compare");
    assert_eq!(answer.tokens()[..decided], case.generated[..decided], "{what}: greedy tokens");
}

/// All stages, fed with the reference's tokens.
fn trace(session: &mut Session<'_>, case: &Case) -> BTreeMap<String, Tensor> {
    let picture = pictures::load(&case.picture).expect("a picture");
    let prompt = session.prompt(&case.prompt).expect("room for the prompt");
    let mut recorder = Recorder::new(session.model().config().vision);
    let answer =
        session.trace(&picture.frame(), &prompt, Some(&case.generated), &mut recorder).expect("a run");
    assert_eq!(answer.tokens(), case.generated, "{}: forced tokens", case.name);
    recorder.into_stages()
}

fn session<'m>(model: &'m Model, kernels: &Kernels, threads: usize, case: &Case) -> Session<'m> {
    Session::new(model, options(kernels, threads, case)).expect("a session")
}

fn options(kernels: &Kernels, threads: usize, case: &Case) -> SessionOptions {
    SessionOptions {
        kernels: Some(kernels.name().to_string()),
        threads,
        max_prompt_tokens: 16,
        max_new_tokens: case.generated.len(),
        max_side: 1024,
        kv: None,
    }
}

fn bits(stages: &BTreeMap<String, Tensor>) -> BTreeMap<String, Vec<u32>> {
    let bits = |t: &Tensor| t.values.iter().map(|v| v.to_bits()).collect();
    stages.iter().map(|(name, tensor)| (name.clone(), bits(tensor))).collect()
}

/// A checkpoint packed as f32.
struct Packed {
    model: Model,
    image_token: TokenId,
}

impl Packed {
    fn open(folder: &Path) -> Packed {
        let checkpoint = Checkpoint::open(&Source::folder(folder)).expect("a checkpoint");
        let (file, _) = pack_to_vec(&checkpoint, Preset::F32).expect("it can be packed");
        let model = Model::from_bytes(&file).expect("what was packed can be opened");
        Packed { model, image_token: checkpoint.image_token() }
    }
}

/// The largest differences of each stage, to see how much room the tolerances leave.
#[derive(Default)]
struct Worst(BTreeMap<String, (f64, f64)>);

impl Worst {
    fn add(&mut self, name: &str, d: &Difference) {
        let entry = self.0.entry(name.to_string()).or_default();
        *entry = (entry.0.max(d.rms), entry.1.max(d.worst));
    }
}

impl std::fmt::Display for Worst {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, (rms, worst)) in &self.0 {
            writeln!(f, "{name:20} rms {rms:.1e}, worst {worst:.1e}")?;
        }
        Ok(())
    }
}
