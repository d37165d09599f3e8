//! Answers: the fields of the JSON form, what they mean, and the exit codes.

use crate::run::{command, done, finish, picture, scene};
use serde_json::Value;
use std::path::PathBuf;

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// The four locations (y0, x0, y1, x1) of every object in the text, and its label.
fn objects_of(text: &str) -> Vec<([u32; 4], &str)> {
    let objects = text.split(" ; ").filter(|o| o.contains("<loc"));
    objects
        .map(|object| {
            let numbers: Vec<u32> =
                object.split("<loc").skip(1).map(|rest| rest[..4].parse().unwrap()).collect();
            let label = object.rsplit('>').next().unwrap().trim();
            (numbers.try_into().expect("four locations"), label)
        })
        .collect()
}

/// Checks one line of JSON against what was asked, and returns it.
fn checked(line: &str, image: &PathBuf, task: &str, prompt: &str) -> Value {
    let json: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    assert_eq!(
        keys(&json),
        [
            "v",
            "image",
            "width",
            "height",
            "task",
            "prompt",
            "text",
            "tokens",
            "objects",
            "dropped",
            "timing_ms"
        ],
    );
    assert_eq!(json["v"], 1);
    assert_eq!(json["image"], image.to_str().unwrap());
    assert_eq!((json["task"].as_str(), json["prompt"].as_str()), (Some(task), Some(prompt)));
    let (width, height) = image::image_dimensions(image).unwrap();
    assert_eq!((&json["width"], &json["height"]), (&width.into(), &height.into()));
    assert!(json["tokens"].as_array().unwrap().iter().all(|t| t.as_u64().is_some_and(|t| t < 1920)));
    assert_eq!(json["dropped"], Value::Array(Vec::new()));

    let expected = objects_of(json["text"].as_str().unwrap());
    let objects = json["objects"].as_array().unwrap();
    assert_eq!(objects.len(), expected.len(), "{line}");
    for (object, ([y0, x0, y1, x1], label)) in objects.iter().zip(expected) {
        assert_eq!(keys(object), ["label", "box", "box_px", "score"]);
        assert_eq!(object["label"], label);
        for (i, (at, side)) in [(x0, width), (y0, height), (x1, width), (y1, height)].into_iter().enumerate()
        {
            let part = object["box"][i].as_f64().unwrap();
            assert!((part - f64::from(at) / 1023.0).abs() < 1e-9 && (0.0..=1.0).contains(&part), "{line}");
            assert_eq!(object["box_px"][i], at * side / 1023, "{line}");
        }
        assert!((0.0..=1.0).contains(&object["score"].as_f64().unwrap()), "{line}");
        assert_eq!(object["box"].as_array().unwrap().len() + object["box_px"].as_array().unwrap().len(), 8);
    }
    let timing = &json["timing_ms"];
    assert_eq!(keys(timing), ["image", "vision", "prefill", "decode", "total"]);
    let ms = |key: &str| timing[key].as_f64().unwrap();
    let sum: f64 = ["image", "vision", "prefill", "decode"].into_iter().map(ms).sum();
    assert!((ms("total") - sum).abs() < 0.01 && ms("image") >= 0.0, "{timing}");
    json
}

/// Command, argument after the picture, options; the prompt that they become; what the text of the answer holds.
type Task = (&'static str, Option<&'static str>, &'static [&'static str], &'static str, &'static str);

const TASKS: [Task; 8] = [
    ("caption", None, &[], "caption en", "red circle"),
    ("caption", None, &["--lang", "de"], "caption de", "roter Kreis"),
    ("ocr", None, &[], "ocr", "69"),
    ("ask", Some(" how big is the circle? "), &[], "answer en how big is the circle?", "large"),
    ("ask", Some("how big is the circle?"), &["--lang", "en"], "answer en how big is the circle?", "large"),
    ("detect", Some("red circle;card ;; "), &[], "detect red circle ; card", " ; <loc"),
    ("prompt", Some("detect object"), &[], "detect object", "> object ; <loc"),
    ("prompt", Some("caption fr"), &[], "caption fr", "cercle rouge"),
];

#[test]
fn every_command_gives_one_object_of_json() {
    let image = scene(3);
    for (task, last, options, prompt, text) in TASKS {
        let mut run = command([task, "--json"]);
        run.arg(&image).args(last).args(options);
        let out = done(&mut run);
        assert_eq!(out.matches('\n').count(), 1, "{out}");
        let json = checked(&out, &image, task, prompt);
        assert!(json["text"].as_str().unwrap().contains(text), "{out} does not say {text}");
    }
}

#[test]
fn boxes_are_in_the_pixels_of_each_picture() {
    // Neither is square, and both are larger or smaller than what the model sees.
    let images = [picture("rgb-512x600.png"), picture("horse.png"), scene(4)];
    let out = done(command(["prompt", "--json"]).args(&images).arg("detect object"));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), images.len());
    for (line, image) in lines.into_iter().zip(&images) {
        checked(line, image, "prompt", "detect object");
    }
}

#[test]
fn text_for_people() {
    let one = done(command(["detect"]).arg(scene(3)).arg("red circle ; card"));
    let lines: Vec<&str> = one.lines().collect();
    assert_eq!(lines.len(), 2, "{one}");
    assert!(lines[0].starts_with("red circle ") && lines[1].starts_with("card "), "{one}");
    let two = done(command(["ocr"]).arg(scene(3)).arg(scene(2)));
    for (line, n) in two.lines().zip([3, 2]) {
        assert!(line.starts_with(&format!("{}: ", scene(n).display())), "{two}");
    }
    assert_eq!(two.lines().count(), 2);
}

#[test]
fn nothing_found_is_status_1() {
    let found = |args: &mut std::process::Command| {
        let ran = finish(args);
        assert_eq!(ran.err, "");
        (ran.code, ran.out)
    };
    let absent = found(command(["detect"]).arg(scene(0)).arg("red circle"));
    assert_eq!(absent, (Some(1), "nothing found\n".into()));
    let (code, json) = found(command(["detect", "--json"]).arg(scene(0)).arg("red circle"));
    assert_eq!(code, Some(1));
    assert_eq!(
        checked(&json, &scene(0), "detect", "detect red circle")["objects"].as_array().unwrap().len(),
        0
    );
    // Of several pictures, one with the object is enough.
    let (code, out) = found(command(["detect"]).arg(scene(0)).arg(scene(3)).arg("red circle"));
    assert_eq!(code, Some(0), "{out}");
    assert!(
        out.contains("scene-00.png: nothing found\n") && out.contains("scene-03.png: red circle"),
        "{out}"
    );
    // Only `detect` promises objects.
    assert_eq!(found(command(["prompt"]).arg(scene(0)).arg("detect red circle")).0, Some(0));
}

#[test]
fn a_bad_picture_among_good_ones() {
    for json in [&[][..], &["--json"]] {
        let ran = finish(command(["ocr"]).args(json).args([
            scene(3),
            "no-such.png".into(),
            picture("cmyk.jpg"),
            scene(2),
        ]));
        assert_eq!(ran.code, Some(2));
        assert_eq!(ran.out.lines().count(), 2, "{}", ran.out);
        let lines: Vec<&str> = ran.out.lines().collect();
        assert!(
            lines[0].contains("scene-03") && lines[0].contains("69") && lines[1].contains("scene-02"),
            "{lines:?}"
        );
        let messages: Vec<&str> = ran.err.lines().collect();
        assert_eq!(messages.len(), 2, "{}", ran.err);
        assert_eq!(messages[0], "pg-run: no-such.png: there is no such file; check the path");
        assert!(messages[1].contains("cmyk.jpg: is a CMYK picture"), "{}", ran.err);
    }
}

#[test]
fn every_kernel_table_and_number_of_threads_reads_the_same() {
    let ask = |isa: &str, threads: &str| {
        let mut run = command(["prompt", "--threads", threads]);
        done(run.env("PG_ISA", isa).arg(scene(3)).arg("detect red circle"))
    };
    let version = done(&mut command(["--version"]));
    let scalar = ask("scalar", "1");
    assert!(scalar.starts_with("red circle"), "{scalar}");
    assert_eq!(ask("scalar", "2"), scalar);
    if version.contains("avx2") {
        for threads in ["1", "2"] {
            assert_eq!(ask("avx2", threads), scalar);
        }
    } else {
        println!("skipped: no avx2 here");
    }
    assert_eq!(ask("", "1"), scalar, "an empty variable is none");
}
