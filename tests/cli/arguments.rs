//! Command lines: what is accepted, what is refused, and with which words.

use crate::run::{bare, command, done, finish, model, refused, scene};
use serde_json::Value;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Arguments after `-m MODEL`; `@` stands for a picture.
const REFUSED: [(&[&str], &str); 38] = [
    (&[], "no command given; `pg-run --help`"),
    (&["frobnicate"], "there is no command \"frobnicate\"; `pg-run --help`"),
    (&["caption", "@", "--frob"], "invalid option '--frob'; `pg-run --help`"),
    (&["caption", "@", "-x"], "invalid option '-x'"),
    (&["caption", "@", "--json=yes"], "unexpected argument for option '--json'"),
    (&["caption", "@", "--lang"], "missing argument for option '--lang'"),
    (&["caption"], "caption: expected a picture"),
    (&["detect"], "detect: no picture given"),
    (&["detect", "@"], "detect: expected a picture and what to find in it"),
    (&["ask", "@"], "ask: expected a picture and a question"),
    (&["prompt", "@"], "prompt: expected a picture and a prompt"),
    (&["detect", "@", " ; ;"], "no object named; try \"cat ; dog\""),
    (&["caption", "@", "--lang", ""], "--lang : expected a language code such as en"),
    (&["caption", "@", "--lang", "e n"], "--lang e n: expected a language code"),
    (&["caption", "@", "--threads", "0"], "0 threads asked for, use 1 to "),
    (&["caption", "@", "--threads", "9999"], "9999 threads asked for, use 1 to "),
    (&["caption", "@", "--threads", "two"], "--threads two: expected a whole number"),
    (&["caption", "@", "--threads", "-1"], "--threads -1: expected a whole number"),
    (&["caption", "@", "--max-tokens", "0"], "--max-tokens 0: expected at least 1"),
    (
        &["caption", "@", "--max-tokens", "100000"],
        "positions, the model has 8192: shorten the prompt or ask for fewer",
    ),
    (&["caption", "@", "--max-tokens", "18446744073709551615"], "positions, the model has 8192"),
    (&["caption", "@", "--max-tokens", "18446744073709551616"], "expected a whole number"),
    (&["caption", "@", "--max-tokens", "1.5"], "--max-tokens 1.5: expected a whole number"),
    (&["caption", "@", "--out", "x"], "--out belongs to trace"),
    (&["inspect", "--annotate", "x"], "--annotate belongs to caption, detect, ask, ocr and prompt"),
    (&["inspect", "--display", "/dev/fb0"], "--display belongs to caption, detect, ask, ocr and prompt"),
    (&["plan", "--camera-format", "rgb"], "--camera-format belongs to caption, detect, ask, ocr and prompt"),
    (&["caption", "@", "--camera-format", "YUYV"], "--camera-format YUYV: expected rgb, yuyv, nv12 or mjpeg"),
    (&["caption", "@", "--camera-format", "nv12"], ".png: is a file, --camera-format is about cameras"),
    (&["caption", "@", "--display", "/dev/null"], "/dev/null: is not a framebuffer"),
    (&["caption", "@", "--display", "/no/fb0"], "/no/fb0: there is no such display"),
    (&["inspect", "more"], "unexpected argument \"more\""),
    (&["tokenize"], "expected one TEXT, found 0"),
    (&["tokenize", "a", "b"], "expected one TEXT, found 2"),
    (&["trace", "@", "--out", "x"], "trace: --prompt TEXT is missing"),
    (&["trace", "@", "--prompt", "x"], "trace: --out FILE is missing"),
    (&["trace", "@", "@", "--prompt", "x", "--out", "x"], "expected one IMAGE, found 2"),
    (&["trace", "@", "--prompt", "x", "--out", "x", "--force", "1,b"], "--force: \"b\" is not a token id"),
];

#[test]
fn bad_arguments_are_refused() {
    let picture = scene(0);
    for (args, message) in REFUSED {
        let args = args.iter().map(|a| if *a == "@" { picture.as_os_str() } else { OsStr::new(a) });
        // Not `command`: an option given twice would hide the first.
        refused(bare().arg("-m").arg(model()).args(args), message);
    }
}

#[test]
fn arguments_that_are_not_text() {
    let bad = OsStr::from_bytes(b"caf\xe9");
    let message = "\"caf\u{fffd}\" is not valid UTF-8";
    refused(command(["ask"]).arg(scene(0)).arg(bad), message);
    refused(command(["tokenize"]).arg(bad), message);
    refused(command(["caption"]).arg(scene(0)).arg("--lang").arg(bad), message);
    refused(command(["caption"]).arg(bad), "there is no such file");
    refused(
        &mut {
            let mut c = bare();
            c.arg(bad);
            c
        },
        "there is no command \"caf\u{fffd}\"",
    );
    // A path may be any bytes.
    let folder = crate::run::folder();
    let path = folder.path().join(bad);
    std::fs::copy(scene(3), &path).unwrap();
    assert_eq!(done(command(["ocr"]).arg(&path)), "69\n");
}

#[test]
fn prompts_that_are_too_long() {
    // Two tokens a word: more than the context of 8192.
    let words = "word ".repeat(9_000);
    for task in ["ask", "prompt", "detect"] {
        refused(command([task]).arg(scene(0)).arg(&words), "the model has 8192: shorten the prompt");
    }
    let long = "x".repeat(100_000);
    refused(command(["prompt"]).arg(scene(0)).arg(long), "the model has 8192: shorten the prompt");
}

#[test]
fn the_model_comes_from_the_option_or_the_variable() {
    let inspect = |variable: Option<&OsStr>, option: bool| {
        let mut run = bare();
        run.arg("inspect");
        if let Some(value) = variable {
            run.env("PG_MODEL", value);
        }
        if option {
            run.arg("-m").arg(model());
        }
        run
    };
    let none = "no model given: use -m FILE or set PG_MODEL";
    refused(&mut inspect(None, false), none);
    refused(&mut inspect(Some(OsStr::new("")), false), none);
    let right = done(&mut inspect(Some(model().as_os_str()), false));
    assert!(right.starts_with("demo: "), "{right}");
    // The option wins.
    assert_eq!(done(&mut inspect(Some(OsStr::new("/no/such")), true)), right);
    refused(&mut inspect(Some(OsStr::new("/no/such")), false), "/no/such: ");

    let folder = crate::run::folder();
    let odd = folder.path().join(OsStr::from_bytes(b"\xff.gguf"));
    std::fs::copy(model(), &odd).unwrap();
    assert!(done(&mut inspect(Some(odd.as_os_str()), false)).starts_with("demo: "));
}

#[test]
fn kernel_tables_that_cannot_run() {
    for name in [OsStr::new("pdp11"), OsStr::new("AVX2"), OsStr::from_bytes(b"\xff")] {
        for task in ["caption", "inspect"] {
            let mut run = command([task]);
            run.env("PG_ISA", name).args((task == "caption").then(|| scene(0)));
            refused(&mut run, "cannot run on this machine; available: scalar");
        }
    }
}

#[test]
fn lengths_of_answers_and_numbers_of_threads() {
    let tokens = |n: &str| {
        let out = done(command(["caption", "--json", "--max-tokens", n]).arg(scene(3)));
        serde_json::from_str::<Value>(&out).unwrap()["tokens"].as_array().unwrap().clone()
    };
    let (one, many) = (tokens("1"), tokens("128"));
    assert_eq!(one.len(), 1);
    assert!(many.len() > 5 && many[0] == one[0]);
    for n in ["1", "2", "32"] {
        let out = done(command(["ocr", "--threads", n]).arg(scene(3)));
        assert_eq!(out, "69\n");
    }
}

#[test]
fn help_and_version_need_no_model() {
    for (option, start) in [("--help", "pg-run: captions"), ("-h", "pg-run: captions"), ("-V", "pg-run 0.")] {
        let out = done(bare().arg(option));
        assert!(out.starts_with(start), "{out}");
    }
    assert!(done(bare().arg("--version")).contains("(kernel tables here: scalar"));
}

#[test]
fn tokens_of_a_text() {
    assert_eq!(done(command(["tokenize"]).arg("a b")), "    710 a\n    290 \u{2581}b\n");
    let json: Value = serde_json::from_str(&done(command(["tokenize", "--json"]).arg("a b"))).unwrap();
    let expected = serde_json::json!(
        { "v": 1, "text": "a b", "tokens": [710, 290], "pieces": ["a", "\u{2581}b"] });
    assert_eq!(json, expected);
    assert_eq!(done(command(["tokenize"]).arg("")), "");
}

#[test]
fn inspect_as_json() {
    let json: Value = serde_json::from_str(&done(&mut command(["inspect", "--json"]))).unwrap();
    assert_eq!((&json["v"], &json["name"], &json["threads"]), (&1.into(), &"demo".into(), &1.into()));
    assert_eq!(json["file_bytes"], std::fs::metadata(model()).unwrap().len());
    assert_eq!((&json["vision"]["image_size"], &json["text"]["n_vocab"]), (&112.into(), &1920.into()));
    let sum =
        |list: &Value| list.as_array().unwrap().iter().map(|r| r["bytes"].as_u64().unwrap()).sum::<u64>();
    let plan = &json["plan"];
    // Regions are rounded up to cache lines; the sum is not far from the whole.
    let (whole, regions) = (plan["bytes"].as_u64().unwrap(), sum(&plan["regions"]));
    assert!(regions <= whole && whole < regions + 64 * 1024, "{whole} {regions}");
    let formats = json["formats"].as_object().unwrap();
    assert_eq!(formats.keys().collect::<Vec<_>>(), ["f32", "q4", "q8"]);
    let chosen = json["kernels"]["chosen"].as_str().unwrap();
    let available = json["kernels"]["available"].as_array().unwrap();
    assert_eq!(available.last().unwrap(), chosen, "the best one, listed last");
    let ran = finish(command(["inspect", "--json"]).env("PG_ISA", "scalar"));
    assert!(ran.out.contains("\"chosen\":\"scalar\""), "{}", ran.out);
}
