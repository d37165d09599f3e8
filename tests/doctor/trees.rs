//! What `doctor` says of each tree, in text and in JSON, word for word; what it refuses; and that no tree hurts it.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn tree(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("doctor/trees").join(name)
}

/// Exit code, standard output, standard error. One table, so that plans are the same everywhere.
fn doctor(root: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(pg_tests::programs::pg_run());
    command.env_remove("PG_MODEL").env("PG_ISA", "scalar").stdin(Stdio::null());
    command.arg("doctor").arg("--root").arg(root).args(["--threads", "4"]).args(more);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(!err.contains("panicked"), "{err}");
    (output.status.code(), out, err)
}

fn json(root: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let (code, out, err) = doctor(root, &[&["--json"], more].concat());
    assert_eq!((err.as_str(), out.matches('\n').count()), ("", 1), "one line, and nothing else");
    (code, serde_json::from_str(&out).unwrap())
}

/// Without what another machine or build says otherwise: its tables, and what this program took so far.
fn comparable_text(text: &str) -> String {
    let line = |line: &str| match line.split_once("slow, ").zip(line.split_once(" too much")) {
        Some(((before, _), (_, after))) => format!("{before}slow, … too much{after}\n"),
        None => format!("{line}\n"),
    };
    text.lines().filter(|l| !l.contains(" self-test ")).map(line).collect()
}

fn comparable_json(mut value: Value) -> Value {
    assert!(value["self_test"].as_array().unwrap().iter().all(|t| t["values"].as_u64() > Some(1000)));
    value["self_test"] = Value::Null;
    for model in value["models"].as_array_mut().unwrap() {
        let bytes = |key: &str| model[key].as_u64().unwrap();
        assert!(bytes("must_fit_bytes") > bytes("plan_bytes"));
        assert_eq!(bytes("should_fit_bytes"), bytes("must_fit_bytes") + bytes("file_bytes"));
        for key in ["must_fit_bytes", "should_fit_bytes"] {
            model.as_object_mut().unwrap().remove(key);
        }
    }
    value
}

/// Compares with `expected/NAME.txt` and `.json`; what was found instead is left in the target folder.
fn says(name: &str, code: i32) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("doctor/expected");
    let (found_code, text, err) = doctor(&tree(name), &[]);
    let (json_code, value) = json(&tree(name), &[]);
    assert_eq!((found_code, json_code, err.as_str()), (Some(code), Some(code), ""), "{text}");
    let json = serde_json::to_string_pretty(&comparable_json(value)).unwrap() + "\n";
    for (kind, found) in [("txt", comparable_text(&text)), ("json", json)] {
        let file = format!("{name}.{kind}");
        let expected = std::fs::read_to_string(folder.join(&file)).unwrap_or_default();
        if found != expected {
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&file);
            std::fs::write(&kept, &found).unwrap();
            panic!("{file} expects\n{expected}\nfound\n{found}\nkept in {}", kept.display());
        }
    }
}

#[test]
fn a_healthy_raspberry_pi_5() {
    says("raspberry-pi-5-8gb", 0);
}

#[test]
fn a_raspberry_pi_4_with_low_voltage_and_heat() {
    says("raspberry-pi-4-4gb-low-voltage", 1);
}

#[test]
fn a_raspberry_pi_zero_2_w() {
    says("raspberry-pi-zero-2-w", 0);
}

#[test]
fn a_jetson_orin_nano_in_a_low_power_mode() {
    says("jetson-orin-nano", 0);
}

#[test]
fn a_pc() {
    says("x86-64", 0);
}

#[test]
fn a_tree_without_anything() {
    says("empty", 0);
}

#[test]
fn a_tree_full_of_lies() {
    says("hostile", 1);
    let (_, text, _) = doctor(&tree("hostile"), &[]);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "terminal commands are not repeated");
}

#[test]
fn files_without_an_end_are_read_to_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let at = |file: &str| {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    // As long as a disk, a device that never ends, and a pipe in which nobody writes.
    std::fs::File::create(at("proc/cpuinfo")).unwrap().set_len(1 << 40).unwrap();
    std::os::unix::fs::symlink("/dev/zero", at("proc/meminfo")).unwrap();
    let made = Command::new("mkfifo").arg(at("sys/firmware/devicetree/base/model")).status().unwrap();
    assert!(made.success());
    std::fs::write(at("proc/swaps"), "Filename\n".to_string() + &"/x file 1 0 0\n".repeat(500_000)).unwrap();
    let (code, value) = json(folder.path(), &[]);
    assert_eq!((code, &value["model"], &value["memory_bytes"]), (Some(0), &Value::Null, &Value::Null));
    let swap = value["checks"].as_array().unwrap().iter().find(|c| c["name"] == "swap").unwrap();
    assert!(swap["found"].as_str().unwrap().len() < 10_000, "lists have a limit too");
}

#[test]
fn another_board_than_the_one_asked_for() {
    let (code, value) = json(&tree("raspberry-pi-4-4gb-low-voltage"), &["--board", "raspberry-pi-5"]);
    assert_eq!((code, &value["board"]), (Some(1), &"raspberry-pi-5".into()));
    let level = |name: &str| {
        let checks = value["checks"].as_array().unwrap();
        checks.iter().find(|c| c["name"] == name).unwrap()["level"].clone()
    };
    assert_eq!(
        (level("board"), level("features"), level("kernels")),
        ("warning".into(), "problem".into(), "warning".into())
    );
}

#[test]
fn a_model_is_judged_as_plan_judges_it() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("small.gguf");
    let synthetic = pg_quantize::Synthetic::parse("synthetic-small", 0).unwrap().unwrap();
    std::fs::write(&model, synthetic.to_vec(pg_quantize::Preset::Q4)).unwrap();
    let model = model.to_str().unwrap();
    let judged = |available_kb: u64| {
        let meminfo = folder.path().join("proc/meminfo");
        std::fs::create_dir_all(meminfo.parent().unwrap()).unwrap();
        std::fs::write(meminfo, format!("MemTotal: 9999999 kB\nMemAvailable: {available_kb} kB\n")).unwrap();
        let (code, value) = json(folder.path(), &["-m", model]);
        let checks = value["checks"].as_array().unwrap();
        let check = checks.iter().find(|c| c["name"] == "model").unwrap();
        (code, check["level"].clone(), check["found"].as_str().unwrap().to_string())
    };
    let (code, level, found) = judged(9_000_000);
    assert_eq!((code, level), (Some(0), "ok".into()), "{found}");
    // The file has 27.5 MB, a run some 30 besides.
    let (code, level, found) = judged(45_000);
    assert_eq!((code, level), (Some(0), "warning".into()), "{found}");
    assert!(found.contains("slow: ") && found.contains("for every token"), "{found}");
    let (code, level, found) = judged(1_000);
    assert_eq!((code, level), (Some(1), "problem".into()), "{found}");
    assert!(
        found.contains("does not fit: a run must have ")
            && found.contains("this machine has available 1.0 MB"),
        "{found}"
    );
    // The words of `plan` where there is too little.
    let plan = Command::new(pg_tests::programs::pg_run())
        .args(["plan", "-m", model, "--memory-limit", "1M", "--threads", "4"])
        .output()
        .unwrap();
    let plan = String::from_utf8(plan.stderr).unwrap();
    assert!(plan.starts_with("pg-run: does not fit: a run must have "), "{plan}");
}

#[test]
fn arguments_of_doctor() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(pg_tests::programs::pg_run());
        let output = command.env_remove("PG_MODEL").env_remove("PG_ISA").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (arguments, message) in [
        (&["doctor", "--root", "/no/such"][..], "--root /no/such: no such folder"),
        (&["doctor", "--board", "pdp-11"], "there is no board \"pdp-11\"; there are raspberry-pi-zero-2-w, "),
        (&["doctor", "-m", "/no/such"], "/no/such: "),
        (&["doctor", "more"], "unexpected argument \"more\""),
        (&["doctor", "--depth", "3"], "--depth belongs to bench"),
        (&["plan", "--board", "x86-64"], "--board belongs to doctor"),
        (&["plan", "--root", "/"], "--root belongs to doctor"),
    ] {
        let (code, error) = run(arguments);
        assert_eq!((code, error.matches('\n').count()), (Some(2), 1), "{error}");
        assert!(error.starts_with("pg-run: ") && error.contains(message), "{error}");
    }
    // This very machine, whatever it is: no error.
    let (code, error) = run(&["doctor", "--json"]);
    assert!(matches!(code, Some(0 | 1)) && error.is_empty(), "{code:?} {error}");
}
