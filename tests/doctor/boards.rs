//! The table in `targets/boards/README.md` is what the files say, and what fits is what the models' shapes say.

use pg_quantize::{Preset, Synthetic};
use pg_runtime::bench::work;
use pg_runtime::memory::{Needs, Verdict};
use pg_runtime::model::Header;
use pg_runtime::platform::machine::Available;
use pg_runtime::{KvPrecision, Session, SessionOptions};
use pg_targets::boards::{Estimate, MacsPerCycle, Profile};
use std::path::Path;

/// What the system keeps of a board's memory, without a desktop, and the program with the vocabulary: estimates.
const SYSTEM: u64 = 300_000_000;
const PROGRAM: u64 = 20_000_000;

fn header(name: &str, preset: Preset) -> Header {
    let model = Synthetic::parse(name, 0).unwrap().unwrap();
    let (beginning, length) = model.beginning(preset);
    Header::parse(&beginning, length).unwrap()
}

/// The largest of the released models that fits with its file, on four threads.
fn largest(models: &[(String, Header)], gib: f64) -> String {
    let system = (gib * f64::from(1 << 30)) as u64 - SYSTEM;
    let options = SessionOptions {
        threads: 4,
        max_side: 16_384,
        max_new_tokens: 128,
        kernels: Some("scalar".into()),
        ..SessionOptions::default()
    };
    let fits = |model: &Header| {
        let plan = Session::memory_plan(model, &options).unwrap().bytes() as u64;
        let available = Some(Available { system, group: None });
        let needs = Needs {
            file: model.file_bytes() as u64,
            plan,
            program: PROGRAM,
            copy: 0,
            available,
            limit: None,
        };
        needs.verdict() == Verdict::Fits
    };
    let fitting = models.iter().filter(|(_, model)| fits(model)).max_by_key(|(_, model)| model.file_bytes());
    fitting.map_or("none".into(), |(name, _)| name.clone())
}

fn table() -> String {
    let mut models = Vec::new();
    for (name, shapes) in
        [("mix-224", "synthetic-224"), ("mix-448", "synthetic-448"), ("pt-896", "synthetic-896")]
    {
        for preset in [Preset::Q4, Preset::Q8] {
            models.push((format!("{name} {}", preset.name()), header(shapes, preset)));
        }
    }
    let mut table = String::from(
        "| `--board` | chip, cores | memory, GiB: largest model that fits | memory, GB/s | kernel table | built for | emulated as |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for p in Profile::all() {
        let fits: Vec<String> =
            p.memory_gib.iter().map(|&g| format!("{g}: {}", largest(&models, g))).collect();
        let chip = match p.cores.is_empty() {
            true => p.soc.clone(),
            false => format!("{}, {}", p.soc, p.cores_text()),
        };
        let bandwidth = p.bandwidth_gb_s.map_or(String::new(), |gb| gb.to_string());
        let emulator = p.emulator.as_deref().unwrap_or("itself");
        table += &format!(
            "| {} | {chip} | {} | {bandwidth} | {} | {} | {emulator} |\n",
            p.name,
            fits.join("; "),
            p.kernels,
            p.triple
        );
    }
    table
}

#[test]
fn the_readme_s_table_is_what_the_files_say() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../targets/boards/README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let table = table();
    assert!(text.contains(&table), "targets/boards/README.md should have this table:\n{table}");
}

/// Times by hand from round figures.
#[test]
fn estimates_follow_from_their_inputs() {
    let mut p = Profile::by_name("raspberry-pi-5").unwrap();
    let model = header("synthetic-224", Preset::Q4);
    let c = model.config();
    p.macs_per_cycle = None;
    let e = Estimate::of(&p, &model);
    assert_eq!((e.vision_s, e.prefill_s, e.bound, e.prefill_tokens), (None, None, "memory", 264));
    let bytes = work::bytes_per_token(&model, 300, KvPrecision::F16) as f64;
    assert!((e.tokens_per_s.unwrap() - 17.1e9 / bytes).abs() < 1e-9);
    assert!((10.0..15.0).contains(&e.tokens_per_s.unwrap()));

    // 4 cores x 2.4 GHz x 10 = 96 * 10^9 multiplications a second.
    p.macs_per_cycle = Some(MacsPerCycle { vision: 10.0, prefill: 10.0, decode: 10.0 });
    let e = Estimate::of(&p, &model);
    let vision = (work::vision(&c.vision).total() + work::projector(c)) as f64 / 96e9;
    let prefill = work::prefill(&c.text, 264).total() as f64 / 96e9;
    assert!((e.vision_s.unwrap() - vision).abs() < 1e-9 && (1.0..1.3).contains(&vision));
    assert!((e.prefill_s.unwrap() - prefill).abs() < 1e-9 && (5.0..6.0).contains(&prefill));
    assert_eq!((e.bound, e.inputs.len()), ("memory", 6));
    p.macs_per_cycle = Some(MacsPerCycle { decode: 0.1, vision: 10.0, prefill: 10.0 });
    let e = Estimate::of(&p, &model);
    let step = work::step(&c.text, 300).total() as f64 / 0.96e9;
    assert!(e.bound == "cores" && (1.0 / e.tokens_per_s.unwrap() - step).abs() < 1e-9);

    // Without rates there is only the bound by memory, and without anything there is nothing to say.
    let e = Estimate::of(&Profile::by_name("apple-m1").unwrap(), &model);
    assert!(e.vision_s.is_none() && e.tokens_per_s.is_some());
    let e = Estimate::of(&Profile::by_name("x86-64").unwrap(), &model);
    assert_eq!((e.vision_s, e.prefill_s, e.tokens_per_s), (None, None, None));
}
