//! Commands that look at a file and end.

use pg_tests::programs;
use serde_json::Value;
use std::process::{Command, Output};

fn run(words: &[&str]) -> Output {
    Command::new(programs::pg_camera()).args(words).env_remove("PG_MODEL").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs with a configuration in a file; exit code, standard output, standard error.
fn with_config(command: &str, config: &str, more: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("camera.toml");
    std::fs::write(&file, config).unwrap();
    let output = run(&[&[command, "-c", file.to_str().unwrap()][..], more].concat());
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_sample_is_good() {
    let sample = text(&run(&["sample"]).stdout);
    let (code, out, errors) = with_config("check", &sample, &[]);
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(out.contains(": good; 1 camera, model demo\n"), "{out}");
    // The sample has a broker, and the names that every pg-camera has at first.
    assert!(
        out.contains("\nnote: another pg-camera at the broker 127.0.0.1 needs another mqtt.base_topic"),
        "{out}"
    );
    let named = sample.replace("base_topic = \"pg-camera\"", "base_topic = \"own\"");
    let named = named.replace("client_id = \"pg-camera\"", "client_id = \"own\"");
    let (code, out, _) = with_config("check", &named, &[]);
    assert!(code == 0 && !out.contains("note:"), "{out}");
}

#[test]
fn mistakes_are_told_with_line_column_and_a_suggestion_and_code_2() {
    let (code, out, errors) = with_config("check", "[model]\npath = \"demo\"\n[runtime]\nthreds = 2\n", &[]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(errors.contains("camera.toml:4:1: unknown field `threds`"), "{errors}");
    assert!(errors.contains("did you mean `threads`?"), "{errors}");
    // Several at once, as far as the file can be read.
    let config = "[model]\npath = \"demo\"\n[http]\nlisten = \"0.0.0.0:80\"\n[[camera]]\nname = \"a/b\"\nsource = \"nowhere:\"\n";
    let (code, _, errors) = with_config("check", config, &[]);
    assert_eq!(code, 2);
    for part in
        ["http.listen: 0.0.0.0:80 can be reached from the network", "camera \"a/b\": a name has", "source: "]
    {
        assert!(errors.contains(part), "{errors}");
    }
    let output = run(&["check", "-c", "/nowhere/camera.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("/nowhere/camera.toml: cannot read"));
}

#[test]
fn plan_refuses_what_does_not_fit() {
    let config = "[model]\npath = \"demo\"\n[http]\n";
    let (code, out, _) = with_config("plan", config, &["--json"]);
    assert_eq!(code, 0);
    let plan: Value = serde_json::from_str(&out).unwrap();
    let of = |key: &str| plan[key].as_u64().unwrap();
    assert_eq!(plan["fits"], true);
    assert_eq!(of("must_fit_bytes"), of("plan_bytes") + of("program_bytes") + of("picture_bytes"));
    let limited = "[model]\npath = \"demo\"\n[runtime]\nmemory_limit = \"1M\"\n[http]\n";
    let (code, _, errors) = with_config("plan", limited, &[]);
    assert_eq!(code, 2, "{errors}");
    let (code, _, errors) = with_config("run", limited, &[]);
    assert_eq!(code, 2, "{errors}");
    assert!(errors.contains("1.0 MB"), "{errors}");
}

#[test]
fn once_answers_as_pg_run_does() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../quantize/demo/samples");
    let picture = folder.join("scene-02.png");
    let model = tempfile::tempdir().unwrap();
    let model = model.path().join("demo.gguf");
    let packed =
        Command::new(programs::pg_quantize()).args(["demo", "--q4", "-o"]).arg(&model).output().unwrap();
    assert!(packed.status.success());
    for prompt in ["caption en", "detect green heart ; card"] {
        let ours = run(&["once", picture.to_str().unwrap(), "--prompt", prompt, "--json"]);
        let ours: Value = serde_json::from_slice(&ours.stdout).unwrap();
        let theirs = Command::new(programs::pg_run())
            .args(["prompt", picture.to_str().unwrap(), prompt, "--json", "-m"])
            .arg(&model)
            .output()
            .unwrap();
        let theirs: Value = serde_json::from_slice(&theirs.stdout).unwrap();
        assert_eq!(ours["raw"], theirs["text"]);
        let boxes = |v: &Value| -> Vec<Value> {
            v["objects"].as_array().unwrap().iter().map(|o| o["box_px"].clone()).collect()
        };
        assert_eq!(boxes(&ours), boxes(&theirs));
    }
    let refused = run(&["once", "/nowhere.png"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("/nowhere.png"));
}

#[test]
fn the_schema_and_the_completions_are_what_their_readers_take() {
    let schema: Value = serde_json::from_slice(&run(&["schema"]).stdout).unwrap();
    assert!(schema["properties"]["camera"].is_object() && schema["$schema"].is_string());
    let camera = &schema["$defs"]["Camera"]["properties"]["max_age"]["description"];
    assert!(camera.as_str().is_some_and(|d| d.contains("too old")), "{camera}");
    let bash = run(&["completions", "bash"]).stdout;
    let checked = Command::new("bash").arg("-n").arg("-c").arg(text(&bash)).output().unwrap();
    assert!(checked.status.success(), "{}", text(&checked.stderr));
}
