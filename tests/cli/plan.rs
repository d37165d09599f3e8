//! `plan`: its numbers, its refusals, and that it takes the header only.

use crate::run::{bare, command, done, file, finish, model, refused, synthetic};
use serde_json::Value;

fn plan(options: &[&str]) -> Value {
    let out = done(command(["plan", "--json"]).args(options));
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
}

fn sum(list: &Value) -> u64 {
    list.as_array().unwrap().iter().map(|r| r["bytes"].as_u64().unwrap()).sum()
}

fn bytes(plan: &Value, key: &str) -> u64 {
    plan[key].as_u64().unwrap_or_else(|| panic!("{key} in {plan}"))
}

#[test]
fn the_numbers_add_up() {
    let p = plan(&[]);
    assert_eq!((&p["v"], &p["name"], &p["synthetic"]), (&1.into(), &"demo".into(), &false.into()));
    assert_eq!(bytes(&p, "file_bytes"), std::fs::metadata(model()).unwrap().len());
    let regions = sum(&p["regions"]);
    assert_eq!(sum(&p["groups"]), regions);
    let whole = bytes(&p, "plan_bytes");
    assert!(regions <= whole && whole < regions + 64 * 1024, "{whole} {regions}");
    let names: Vec<_> = p["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
    for name in ["image", "vision", "decoder", "kv cache", "activations", "worker"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!(bytes(&p, "must_fit_bytes"), whole + bytes(&p, "program_bytes"));
    assert_eq!(bytes(&p, "should_fit_bytes"), bytes(&p, "must_fit_bytes") + bytes(&p, "file_bytes"));
    assert_eq!((&p["fits"], &p["memory_limit_bytes"]), (&true.into(), &Value::Null));
    // The same plan as `inspect` shows.
    let inspect: Value = serde_json::from_str(&done(&mut command(["inspect", "--json"]))).unwrap();
    assert_eq!(inspect["plan"]["regions"], p["regions"]);
}

#[test]
fn options_change_the_plan() {
    let size = |options: &[&str]| bytes(&plan(options), "plan_bytes");
    let usual = size(&[]);
    assert!(size(&["--max-tokens", "1"]) < usual);
    assert!(size(&["--max-tokens", "4000"]) > usual);
    assert!(size(&["--prompt", "caption en"]) < usual);
    assert_eq!(plan(&["--prompt", "caption en"])["max_prompt_tokens"], 4);
    let threads = done(bare().arg("-m").arg(model()).args(["plan", "--json", "--threads", "8"]));
    assert_eq!(serde_json::from_str::<Value>(&threads).unwrap()["threads"], 8);
    let copied = plan(&["--weights", "huge"]);
    assert_eq!(copied["copy_bytes"], copied["file_bytes"]);
    assert_eq!(copied["must_fit_bytes"], copied["should_fit_bytes"]);
    assert_eq!(copied["weights"]["placement"], "huge");
}

#[test]
fn what_does_not_fit_is_refused_with_the_numbers() {
    for (options, limit) in
        [(&[][..], "1.0 MB"), (&["--weights", "huge"], "1.0 MB"), (&["--max-tokens", "7000"], "1.0 MB")]
    {
        let ran = finish(command(["plan", "--memory-limit", "1M"]).args(options));
        assert_eq!(ran.code, Some(2), "{}", ran.err);
        for part in [
            "pg-run: does not fit: a run must have ",
            "(plan ",
            "program and vocabulary ",
            "--memory-limit allows",
        ] {
            assert!(ran.err.contains(part), "{} does not say {part}", ran.err);
        }
        assert!(ran.err.contains(limit) && ran.err.matches('\n').count() == 1, "{}", ran.err);
        assert!(
            ran.out.contains("must fit") && ran.out.contains("should fit"),
            "the plan is shown all the same"
        );
    }
    let ran = finish(&mut command(["plan", "--json", "--memory-limit", "1M"]));
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (ran.code, &json["fits"], &json["memory_limit_bytes"]),
        (Some(2), &false.into(), &1_000_000.into())
    );

    // Between the two numbers it fits, and a person is told that it will be slow.
    let p = plan(&[]);
    let between = (bytes(&p, "must_fit_bytes") + bytes(&p, "should_fit_bytes")) / 2;
    let text = done(command(["plan", "--memory-limit"]).arg(between.to_string()));
    assert!(text.contains("slow: "), "{text}");
    let roomy = plan(&["--memory-limit", "500GB"]);
    assert_eq!((&roomy["fits"], &roomy["memory_limit_bytes"]), (&true.into(), &500_000_000_000u64.into()));
}

#[test]
fn arguments_of_plan() {
    for (options, message) in [
        (
            &["--memory-limit", "lots"][..],
            "--memory-limit \"lots\" is no size: expected a number with k, M or G",
        ),
        (&["--memory-limit", "0"], "is no size"),
        (&["--memory-limit", "-1G"], "is no size"),
        (&["--memory-limit", "9999999999G"], "more than any machine has"),
        (&["--weights", "tiny"], "--weights tiny: expected mapped or huge"),
        (&["--depth", "3"], "--depth belongs to bench"),
        (&["--threads", "0"], "0 threads asked for"),
        (&["--max-tokens", "100000"], "the model has 8192"),
        (&["more"], "unexpected argument \"more\""),
    ] {
        refused(bare().arg("-m").arg(model()).arg("plan").args(options), message);
    }
    refused(&mut command(["inspect", "--memory-limit", "1G"]), "--memory-limit belongs to plan");
}

#[test]
fn only_the_header_is_read_and_checked() {
    let whole = std::fs::read(model()).unwrap();
    // A sparse file: weights of zeros, as long as the header promises.
    let header = whole.len() / 4;
    let sparse = file(&whole[..header]);
    sparse.as_file().set_len(whole.len() as u64).unwrap();
    let ran = finish(bare().arg("-m").arg(sparse.path()).arg("plan"));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));

    for (len, message) in [
        (whole.len() - 1, "the file ends inside"),
        (100, "the file ends inside"),
        (3, "the file ends inside the magic number"),
        (0, "the file ends inside the magic number"),
    ] {
        let cut = file(&whole[..len]);
        refused(bare().arg("-m").arg(cut.path()).arg("plan"), message);
        // In the words of every other command.
        let planned = finish(bare().arg("-m").arg(cut.path()).arg("plan")).err;
        assert_eq!(planned, finish(bare().arg("-m").arg(cut.path()).arg("inspect")).err);
    }
    refused(bare().args(["plan", "-m", "/no/such"]), "/no/such: ");
    refused(bare().args(["plan", "-m", "/"]), "is a folder, not a model file");
}

#[test]
fn random_weights_are_called_that() {
    let run = |json: &[&str]| done(bare().arg("plan").args(json).arg("-m").arg(synthetic()));
    assert!(run(&[]).contains("synthetic model: random weights"));
    assert_eq!(serde_json::from_str::<Value>(&run(&["--json"])).unwrap()["synthetic"], true);
}
