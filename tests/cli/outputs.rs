//! Files that `pg-run` writes: complete, in their place, or not at all.

use crate::run::{command, done, finish, folder, names, picture, refused, scene};
use pg_tests::disk::SmallDisk;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

#[test]
fn an_annotated_copy_is_the_picture_with_boxes() {
    let out = folder();
    let path = out.path().join("boxes.png");
    done(command(["detect", "--annotate"]).arg(&path).arg(scene(3)).arg("red circle ; card"));
    assert_eq!(names(out.path()), ["boxes.png"]);
    assert!(fs::read(&path).unwrap().starts_with(b"\x89PNG"));
    let (before, after) = (image::open(scene(3)).unwrap().to_rgb8(), image::open(&path).unwrap().to_rgb8());
    assert_eq!(before.dimensions(), after.dimensions());
    let changed = before.pixels().zip(after.pixels()).filter(|(a, b)| a != b).count();
    let all = (before.width() * before.height()) as usize;
    assert!(changed > 50 && changed < all / 2, "{changed} of {all} pixels changed");
}

#[test]
fn several_pictures_are_annotated_into_a_folder() {
    let out = folder();
    let pictures = [scene(3), picture("rgb-512x600.png"), picture("gray-33x47.png")];
    done(command(["prompt", "--annotate"]).arg(out.path()).args(&pictures).arg("detect object"));
    let found = names(out.path());
    assert_eq!(found, ["gray-33x47.annotated.png", "rgb-512x600.annotated.png", "scene-03.annotated.png"]);
    for p in &pictures {
        let copy = out.path().join(p.file_stem().unwrap()).with_extension("annotated.png");
        assert_eq!(image::image_dimensions(copy).unwrap(), image::image_dimensions(p).unwrap());
    }
    // One file cannot take them all.
    let file = out.path().join("x.png");
    let ran = finish(command(["ocr", "--annotate"]).arg(&file).args([scene(2), scene(3)]));
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""));
    assert!(ran.err.contains("for several pictures, name a folder that exists"), "{}", ran.err);
    assert!(!file.exists());
}

/// Runs everything that writes a file with `out` as its place; each has to be refused with `message`.
fn refuse_everywhere(out: &Path, message: &str) {
    refused(command(["ocr", "--annotate"]).arg(out).arg(scene(3)), message);
    refused(command(["trace", "--prompt", "ocr", "--force", "5", "--out"]).arg(out).arg(scene(3)), message);
}

#[test]
fn places_that_cannot_be_written() {
    refuse_everywhere(Path::new("/dev/full"), "/dev/full: is no regular file");
    let out = folder();
    refuse_everywhere(&out.path().join("none/x"), "none/x: No such file or directory");
    fs::write(out.path().join("file"), "").unwrap();
    refuse_everywhere(&out.path().join("file/x"), "file/x: Not a directory");
    assert_eq!(names(out.path()), ["file"]);
    refused(
        command(["trace", "--prompt", "ocr", "--force", "5", "--out"]).arg(out.path()).arg(scene(3)),
        "is a folder: name a file in it",
    );
    assert_eq!(names(out.path()), ["file"]);
}

#[test]
fn a_folder_without_permission() {
    let out = folder();
    fs::set_permissions(out.path(), fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(out.path().join("try"), "").is_ok() {
        println!("skipped: this user may write everywhere");
        return;
    }
    refuse_everywhere(&out.path().join("x"), "Permission denied");
    assert!(names(out.path()).is_empty());
}

#[test]
fn a_full_disk_leaves_the_older_file_alone() {
    let out = folder();
    let Some(_disk) = SmallDisk::mount(out.path(), "4k") else {
        println!("skipped: no right to mount a small file system");
        return;
    };
    fs::write(out.path().join("x"), "older").unwrap();
    refuse_everywhere(&out.path().join("x"), "No space left");
    assert_eq!(names(out.path()), ["x"]);
    assert_eq!(fs::read(out.path().join("x")).unwrap(), b"older");
}

#[test]
fn standard_output_that_is_full_or_gone() {
    let ways = [
        &["--help"][..],
        &["tokenize", "a b"],
        &["inspect"],
        &["inspect", "--json"],
        &["plan"],
        &["plan", "--json"],
    ];
    for args in ways.into_iter().chain([&["ocr", "--json", scene(3).to_str().unwrap()][..]]) {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        refused(command(args).stdout(full), "standard output: No space left");

        let mut child = command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut message = String::new();
        child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
        assert_eq!((child.wait().unwrap().code(), message.as_str()), (Some(0), ""), "{args:?}");
    }
}
