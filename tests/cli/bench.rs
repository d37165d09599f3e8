//! `bench`: every figure it promises is there and possible. How large they are is nobody's business here.

use crate::run::{bare, command, done, model, refused, scene, synthetic};
use serde_json::Value;

fn bench(options: &[&str]) -> Value {
    let out = done(command(["bench", "--json", "--rounds", "1"]).args(options));
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
}

/// A positive, finite number at `path`, such as `decode.tok_s`.
fn positive(json: &Value, path: &str) -> f64 {
    let value = path.split('.').fold(json, |v, key| &v[key]);
    let number = value.as_f64().unwrap_or_else(|| panic!("{path} is {value}"));
    assert!(number > 0.0 && number.is_finite(), "{path} is {number}");
    number
}

const FIGURES: [&str; 26] = [
    "machine.int8_peak_gmac_s",
    "machine.int4_peak_gmac_s",
    "machine.read_gb_s",
    "machine.read_4k_gb_s",
    "machine.read_huge_gb_s",
    "machine.read_mb",
    "load_ms",
    "image_ms",
    "vision.ms",
    "vision.gmac_s",
    "vision.share_of_peak",
    "prefill.tokens",
    "prefill.ms",
    "prefill.tok_s",
    "prefill.gmac_s",
    "prefill.share_of_peak",
    "decode.depth",
    "decode.ms",
    "decode.tok_s",
    "decode.gb_s",
    "decode.share_of_read",
    "first_token_ms",
    "caption.ms",
    "caption.tokens",
    "memory.file_mb",
    "memory.plan_mb",
];

#[test]
fn every_figure_is_there() {
    for isa in ["", "scalar"] {
        let out = done(command(["bench", "--json", "--rounds", "1"]).env("PG_ISA", isa));
        let json: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&json["v"], &json["threads"], &json["synthetic"]), (&1.into(), &1.into(), &false.into()));
        for path in FIGURES {
            positive(&json, path);
        }
        if isa == "scalar" {
            assert_eq!(json["isa"], "scalar");
        }
        assert_eq!((&json["vision"]["peak"], &json["vision"]["weights"]), (&"int4".into(), &"q4".into()));
        assert_eq!((&json["prefill"]["peak"], &json["prefill"]["weights"]), (&"int4".into(), &"q4".into()));
        // 64 image tokens and 8 more.
        assert_eq!((&json["prefill"]["tokens"], &json["decode"]["depth"]), (&72.into(), &300.into()));
        let rate = positive(&json, "prefill.tokens") / positive(&json, "prefill.ms") * 1e3;
        assert!((rate / positive(&json, "prefill.tok_s") - 1.0).abs() < 0.01, "{json}");
        assert!(positive(&json, "caption.ms") > positive(&json, "first_token_ms"));
        let file = std::fs::metadata(model()).unwrap().len() as f64;
        assert!((positive(&json, "memory.file_mb") - file / 1e6).abs() < 0.01);
        assert!(json["memory"]["peak_rss_mb"].is_null() || positive(&json, "memory.peak_rss_mb") > 1.0);
        assert_eq!(json["weights"]["placement"], "mapped");
    }
}

#[test]
fn sizes_that_are_asked_for() {
    // Fewer rows than the picture has tokens, more than it has, and a depth on either side of the prefix.
    for (prefill, depth) in [("64", "1"), ("1", "65"), ("500", "900")] {
        let json = bench(&["--prefill", prefill, "--depth", depth]);
        assert_eq!(json["prefill"]["tokens"].to_string(), prefill);
        assert_eq!(json["decode"]["depth"].to_string(), depth);
        positive(&json, "decode.tok_s");
    }
    let huge = bench(&["--weights", "huge"]);
    assert_eq!(huge["weights"]["placement"], "huge");
    assert!(huge["weights"]["why"].as_str().unwrap().starts_with("huge: asked for"), "{huge}");
}

#[test]
fn weights_on_huge_pages_say_the_same() {
    let ask = |weights: &str| done(command(["caption", "--json", "--weights", weights]).arg(scene(3)));
    let text = |out: String| serde_json::from_str::<Value>(&out).unwrap()["tokens"].clone();
    assert_eq!(text(ask("huge")), text(ask("mapped")));
}

#[test]
fn every_table_with_every_shape() {
    let json = bench(&["--kernels"]);
    let rows = json["kernels"].as_array().unwrap();
    let version = done(bare().arg("--version"));
    let tables = version.split("here: ").nth(1).unwrap().trim().trim_end_matches(')').split(", ").count();
    let mut shapes = std::collections::BTreeMap::<String, (usize, usize)>::new();
    for row in rows {
        for key in ["rows", "k", "n", "gmac_s", "gb_s"] {
            positive(row, key);
        }
        let shape = format!("{} {} {} {}", row["format"], row["rows"], row["k"], row["n"]);
        let (all, chosen) = shapes.entry(shape).or_default();
        *all += 1;
        *chosen += usize::from(row["chosen"] == true);
        assert_eq!(row["chosen"] == true, row["table"] == json["isa"]);
    }
    assert!(shapes.values().all(|&counts| counts == (tables, 1)), "{shapes:?}");
    // The head with one row; the decoder's widest with one and with all; vision with all patches.
    for shape in ["\"q4\" 1920 160 1", "\"q4\" 640 160 1", "\"q4\" 640 160 72", "\"q8\" 160 160 64"] {
        assert!(shapes.contains_key(shape), "{shape} is not in {shapes:?}");
    }
    let text = done(&mut command(["bench", "--kernels", "--rounds", "1"]));
    assert_eq!(text.lines().count(), rows.len() + 2, "{text}");
    assert!(text.contains("scalar") && text.contains('*'), "{text}");
}

#[test]
fn text_for_people() {
    let text = done(&mut command(["bench", "--rounds", "1"]));
    for part in
        ["GMAC/s", "GB/s", "int8 products", "int4 peak", "tokens/s", "load ", "first token", "mapped: "]
    {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!text.contains("synthetic"), "{text}");
}

#[test]
fn random_weights_are_called_that() {
    let run = |options: &[&str]| {
        done(bare().args(["bench", "--rounds", "1"]).args(options).arg("-m").arg(synthetic()))
    };
    for options in [&[][..], &["--kernels"]] {
        assert!(run(options).contains("synthetic model: random weights"));
        let json = run(&[options, &["--json"]].concat());
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["synthetic"], true);
    }
}

#[test]
fn arguments_of_bench() {
    for (options, message) in [
        (&["--prefill", "0"][..], "--prefill 0: expected at least 1"),
        (&["--depth", "0"], "--depth 0: expected at least 1"),
        (&["--rounds", "0"], "--rounds 0: expected at least 1"),
        (&["--rounds", "two"], "--rounds two: expected a whole number"),
        (&["--prefill", "9000"], "the model has 8192"),
        (&["--depth", "9000"], "the model has 8192"),
        (&["--depth", "18446744073709551615"], "the model has 8192"),
        (&["--max-tokens", "5"], "--max-tokens belongs to every command but bench"),
        (&["--memory-limit", "1G"], "--memory-limit belongs to plan"),
        (&["--threads", "0"], "0 threads asked for"),
        (&["--kernels", "--threads", "0"], "0 threads asked for"),
        (&["--kernels", "--prefill", "9000"], "the model has 8192"),
        (&["picture.png"], "unexpected argument"),
    ] {
        refused(bare().arg("-m").arg(model()).arg("bench").args(options), message);
    }
    refused(&mut command(["inspect", "--kernels"]), "--kernels belongs to bench");
}
