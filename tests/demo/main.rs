//! The demo model on its 24 sample scenes: the reference's answers in f32, and what quantizing costs.

mod quality;

use pg_quantize::Preset;
use pg_runtime::tokenizer::TokenId;
use pg_runtime::{Bbox, Model, Session, SessionOptions, pictures};
use pg_tests::models;
use pg_tests::tolerances::{DEMO_Q4_LOSS, DEMO_Q8_LOSS, DEMO_SAME_ANSWERS};
use quality::Quality;
use serde_json::Value;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the model said to one prompt about one scene.
struct Said {
    prompt_ids: Vec<TokenId>,
    ids: Vec<TokenId>,
    text: String,
    /// Box and label of each object.
    objects: Vec<(Bbox, String)>,
}

#[test]
fn float_answers_are_those_of_the_reference() {
    let samples = samples("greedy-f32.json");
    let (mut same, mut n, mut wrong) = (0, 0, Vec::new());
    for (scene, said) in scenes(&samples).iter().zip(float_answers()) {
        let expected = scene["answers"].as_array().expect("answers");
        assert_eq!(said.len(), expected.len());
        for (said, expected) in said.iter().zip(expected) {
            let prompt = &expected["prompt"];
            assert_eq!(said.prompt_ids, ids(&expected["prompt_ids"]), "{prompt}");
            n += 1;
            if said.ids == ids(&expected["output_ids"]) {
                same += 1;
                assert_eq!(said.text, expected["output"], "{prompt}: right tokens, wrong text");
            } else {
                wrong.push(format!(
                    "{} {prompt}: expected {}, found {:?}",
                    scene["image"], expected["output"], said.text
                ));
            }
        }
    }
    show(&format!("demo f32: {same} of {n} answers are the reference's\n"));
    assert_eq!(n, 258);
    assert!(same >= DEMO_SAME_ANSWERS, "{same} of {n}\n{}", wrong.join("\n"));
}

#[test]
fn quantized_models_keep_the_quality() {
    let truth = samples("truth.json");
    let float = Quality::of(&truth, float_answers());
    let [q8, q4] = [Preset::Q8, Preset::Q4].map(|preset| Quality::of(&truth, &answers(preset)));
    show(&quality::table(&[("f32", &float), ("q8", &q8), ("q4", &q4)]));
    // The README of the demo model says what it reaches; a test of a broken model would compare nothing.
    assert!(float.captions.value() > 0.6 && float.vqa.value() > 0.7 && float.ocr.value() > 0.7);
    for (name, found, loss) in [("q8", &q8, DEMO_Q8_LOSS), ("q4", &q4, DEMO_Q4_LOSS)] {
        for ((what, expected), (_, found)) in float.all().into_iter().zip(found.all()) {
            // Of few answers, one more or less is no loss.
            let least = expected.value() - loss - 1.0 / expected.count();
            assert!(found.value() >= least, "{name} {what}: {:.3}, at least {least:.3}", found.value());
        }
    }
}

/// The f32 model's, computed once for all tests.
fn float_answers() -> &'static [Vec<Said>] {
    static ANSWERS: OnceLock<Vec<Vec<Said>>> = OnceLock::new();
    ANSWERS.get_or_init(|| answers(Preset::F32))
}

/// All prompts of `truth.json` (those of `greedy-f32.json` as well), scene by scene. Scenes are shared among one
/// session per core: small models gain little from threads within one.
fn answers(preset: Preset) -> Vec<Vec<Said>> {
    let truth = samples("truth.json");
    let scenes = scenes(&truth);
    let model = models::demo(preset);
    let next = AtomicUsize::new(0);
    let done: Vec<OnceLock<Vec<Said>>> = scenes.iter().map(|_| OnceLock::new()).collect();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let mut session = session(&model);
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(scene) = scenes.get(i) else { break };
                    let said = answer(&mut session, scene);
                    assert!(done[i].set(said).is_ok(), "scene {i} was given twice");
                }
            });
        }
    });
    done.into_iter().map(|said| said.into_inner().expect("all scenes are done")).collect()
}

fn answer(session: &mut Session<'_>, scene: &Value) -> Vec<Said> {
    let image = scene["image"].as_str().expect("a picture");
    let picture = pictures::load(&models::demo_sample(image)).expect("a sample");
    let prompts = scene["prompts"].as_array().expect("prompts").iter();
    let one = |entry: &Value| {
        let prompt = session.prompt(entry["prompt"].as_str().expect("a prompt")).expect("short");
        let answer = session.run(&picture.frame(), &prompt).expect("a run");
        let objects = answer.objects().iter().map(|o| (o.bbox, answer.label(o).to_string()));
        Said {
            prompt_ids: prompt.ids().to_vec(),
            ids: answer.tokens().to_vec(),
            text: answer.text().to_string(),
            objects: objects.collect(),
        }
    };
    prompts.map(one).collect()
}

fn session(model: &Model) -> Session<'_> {
    let options =
        SessionOptions { threads: 1, max_prompt_tokens: 64, max_side: 112, ..SessionOptions::default() };
    Session::new(model, options).expect("a session")
}

fn samples(name: &str) -> Value {
    let text = std::fs::read(models::demo_sample(name)).expect("the samples are in the repository");
    serde_json::from_slice(&text).expect("JSON")
}

fn scenes(samples: &Value) -> &[Value] {
    samples["scenes"].as_array().expect("scenes")
}

fn ids(value: &Value) -> Vec<TokenId> {
    value.as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id") as TokenId).collect()
}

/// Prints where the test harness does not look: these figures are read when nothing fails.
fn show(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
