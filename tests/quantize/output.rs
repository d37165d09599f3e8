//! Where the file goes, and that nothing is left behind when it cannot go there.

use crate::checkpoint::{Case, refusal};
use pg_tests::disk::SmallDisk;
use std::fs;
use std::io::Read;
use std::process::Stdio;

#[test]
fn the_default_name_is_that_of_the_model_and_the_preset() {
    let case = Case::new();
    for args in [&["demo"][..], &["demo", "--f16"], &["../tiny/", "--q8"], &["../tiny/../tiny", "--f32"]] {
        assert!(case.run(args).status.success());
    }
    assert_eq!(case.written(), ["demo.f16.gguf", "demo.q4.gguf", "tiny.f32.gguf", "tiny.q8.gguf"]);
}

#[test]
fn places_that_cannot_be_written() {
    let case = Case::new();
    for (output, message) in [
        (".", "is a folder: name a file in it"),
        ("no/such/folder/x.gguf", "cannot write no/such/folder/x.gguf: "),
        ("../tiny/config.json/x.gguf", "cannot write ../tiny/config.json/x.gguf: "),
        ("/proc/x.gguf", "cannot write /proc/x.gguf: "),
        ("/dev/full", "is no regular file"),
        ("/dev/null", "is no regular file"),
        ("/", "is a folder"),
        ("..", "is a folder"),
    ] {
        let found = refusal(&case.run(["demo", "-o", output]));
        assert!(found.contains(message), "{output}: {found} does not say {message}");
    }
    assert!(case.written().is_empty());
    let device = fs::metadata("/dev/full").unwrap();
    assert!(!device.is_file() && !device.is_dir(), "/dev/full is still a device");
}

#[test]
fn a_failed_run_leaves_the_older_file_alone() {
    let case = Case::with_weights(|w| {
        // Found when the last layer is packed, long after the file was begun.
        let last = w.get_mut("language_model.model.layers.3.mlp.down_proj.weight").unwrap();
        last.2[0..2].copy_from_slice(&[0x80, 0x7f]);
    });
    fs::write(case.out().join("tiny.q4.gguf"), "older").unwrap();
    let found = refusal(&case.run(["../tiny"]));
    assert!(found.contains("holds inf in row 0, column 0"), "{found}");
    assert_eq!(case.written(), ["tiny.q4.gguf"]);
    assert_eq!(fs::read(case.out().join("tiny.q4.gguf")).unwrap(), b"older");

    let good = case.run(["demo", "-o", "tiny.q4.gguf"]);
    assert!(good.status.success());
    assert!(fs::metadata(case.out().join("tiny.q4.gguf")).unwrap().len() > 1 << 20);
    assert_eq!(case.written(), ["tiny.q4.gguf"]);
}

#[test]
fn a_link_is_followed() {
    let case = Case::new();
    fs::create_dir(case.out().join("far")).unwrap();
    fs::write(case.out().join("far/x.gguf"), "older").unwrap();
    std::os::unix::fs::symlink("far/x.gguf", case.out().join("near.gguf")).unwrap();
    assert!(case.run(["demo", "-o", "near.gguf"]).status.success());
    assert!(fs::symlink_metadata(case.out().join("near.gguf")).unwrap().is_symlink());
    assert!(fs::metadata(case.out().join("far/x.gguf")).unwrap().len() > 1 << 20);
    assert_eq!(fs::read_dir(case.out().join("far")).unwrap().count(), 1);
}

#[test]
fn a_full_disk_leaves_nothing() {
    let case = Case::new();
    let out = case.out();
    let Some(_disk) = SmallDisk::mount(&out, "1m") else {
        println!("skipped: no right to mount a small file system");
        return;
    };
    fs::write(out.join("x.gguf"), "older").unwrap();
    let found = refusal(&case.run(["demo", "-o", "x.gguf"]));
    assert!(found.contains("cannot write x.gguf: No space left"), "{found}");
    assert_eq!(case.written(), ["x.gguf"]);
    assert_eq!(fs::read(out.join("x.gguf")).unwrap(), b"older");
}

#[test]
fn the_report_is_for_people_or_for_programs() {
    let case = Case::new();
    let table = String::from_utf8(case.run(["demo"]).stdout).unwrap();
    for part in ["vision", "projector", "embedding", "decoder", "norms and biases", "4.64", "demo.q4.gguf: "]
    {
        assert!(table.contains(part), "{table} does not say {part}");
    }
    let output = case.run(["demo", "--q8", "--json", "-o", "x.gguf"]);
    assert!(output.stderr.is_empty(), "no progress where nobody looks");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["v"], &json["output"]), (&1.into(), &"x.gguf".into()));
    assert_eq!(json["bytes"], fs::metadata(case.out().join("x.gguf")).unwrap().len());
    let groups = json["groups"].as_array().unwrap();
    let names: Vec<_> = groups.iter().map(|g| g["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["vision", "projector", "embedding", "decoder", "norms and biases"]);
    assert!(groups.iter().all(|g| g["rms_error"].as_f64().unwrap() < 0.01));
}

#[test]
fn help_and_a_reader_that_leaves() {
    let case = Case::new();
    let help = case.run(["--help"]);
    assert!(help.status.success() && help.stdout.starts_with(b"Packs a PaliGemma checkpoint"));
    let version = case.run(["--version"]);
    assert!(version.status.success() && version.stdout.starts_with(b"pg-quantize 0."));

    let mut child = case.command(["demo"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut message = String::new();
    child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    assert_eq!((child.wait().unwrap().code(), message.as_str()), (Some(0), ""));
}
