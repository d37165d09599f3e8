//! Pictures and models that cannot be read: status 2 and one message that names the file and what to do.

use crate::run::{bare, command, file, folder, model, picture, refused, scene};
use std::fs;
use std::path::Path;

/// A PNG that claims these sides and holds no pixels.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let header = chunk(b"IHDR", &[&sides[..], &[8, 2, 0, 0, 0]].concat());
    [b"\x89PNG\r\n\x1a\n", header.as_slice(), &chunk(b"IDAT", b"")].concat()
}

/// One of PNG's chunks: length, name, content, checksum.
fn chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let length = content.len() as u32;
    let body = [name, content].concat();
    [&length.to_be_bytes(), body.as_slice(), &crc(&body).to_be_bytes()].concat()
}

/// The checksum of PNG's chunks.
fn crc(bytes: &[u8]) -> u32 {
    let step = |c: u32| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 };
    !bytes.iter().fold(!0, |c, b| (0..8).fold(c ^ u32::from(*b), |c, _| step(c)))
}

#[test]
fn bad_pictures() {
    let png = fs::read(scene(0)).unwrap();
    let jpeg = fs::read(picture("photo-full.jpg")).unwrap();
    let damaged = "the file is damaged or incomplete: copy or export it again";
    let large = "20000 x 20000 pixels, sides of at most 16384 are read: scale it down first";
    let long = "the picture is 16384 x 4000, 66 megapixels, at most 64 are read: scale it down first";
    for (bytes, message) in [
        (Vec::new(), "the file is empty: copy or export it again"),
        (png[..20].to_vec(), damaged),
        (png[..png.len() / 2].to_vec(), damaged),
        (png[..png.len() - 30].to_vec(), damaged),
        (jpeg[..jpeg.len() / 2].to_vec(), damaged),
        (jpeg[..jpeg.len() - 1].to_vec(), damaged),
        (jpeg[..3].to_vec(), damaged),
        (
            b"a shopping list: milk, bread\n".to_vec(),
            "is not a PNG, JPEG, BMP, PNM or WebP picture: convert it",
        ),
        (
            b"GIF89a\x01\0\x01\0\0\0\0;".to_vec(),
            "is a Gif picture; PNG, JPEG, BMP, PNM and WebP are read: convert it",
        ),
        (vec![0; 5000], "is not a PNG, JPEG, BMP, PNM or WebP picture"),
        (png_header(20_000, 20_000), large),
        (png_header(16_384, 4_000), long),
        (png_header(u32::MAX, u32::MAX), "needs too much memory to decode: scale the picture down first"),
        (png_header(0, 5), damaged),
    ] {
        let bad = file(&bytes);
        let ran = crate::run::finish(command(["caption"]).arg(bad.path()));
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{}", ran.err);
        let start = format!("pg-run: {}: ", bad.path().display());
        assert!(ran.err.starts_with(&start), "{} does not start with {start}", ran.err);
        assert!(ran.err.contains(message), "{} does not say {message}", ran.err);
    }
    refused(
        command(["caption"]).arg(picture("cmyk.jpg")),
        "cmyk.jpg: is a CMYK picture, made for printing: convert",
    );
    refused(command(["caption"]).arg("no/such.png"), "no/such.png: there is no such file; check the path");
    refused(command(["caption"]).arg("/"), "/: is not a file; give the path of a picture");
    refused(command(["caption"]).arg(""), "there is no such file");
    refused(&mut command(["caption", "/dev/zero"]), "/dev/zero: is not a file");
    let out = folder();
    let trace = ["trace", "no.png", "--prompt", "x", "--out"];
    refused(command(trace).arg(out.path().join("x")), "no.png: there is no such file");
    assert!(crate::run::names(out.path()).is_empty());
}

#[test]
fn bad_models() {
    let good = fs::read(model()).unwrap();
    let cut = |n: usize| file(&good[..n]);
    let files = [
        (file(""), "the file ends inside the magic number"),
        (
            file("a shopping list"),
            "not a GGUF file: it begins with 61 20 73 68, not with \"GGUF\"; pack a checkpoint",
        ),
        (cut(100), "the copy is incomplete, copy or pack it again"),
        (cut(good.len() / 2), "the file ends inside tensor \""),
        (cut(good.len() - 1), "the copy is incomplete, copy or pack it again"),
        (file([&good[..], b"x"].concat()), "the file's length is"),
    ];
    let places = files.iter().map(|(f, message)| (f.path(), *message));
    let others = [
        (Path::new("/no/such.gguf"), "No such file"),
        (Path::new("/"), "is a folder, not a model file"),
        (Path::new("/dev/zero"), "is not a regular file"),
    ];
    for (path, message) in places.chain(others) {
        for task in [&["inspect"][..], &["tokenize", "x"]] {
            let mut run = bare();
            run.args(task).arg("-m").arg(path);
            refused(&mut run, message);
            refused(&mut run, &format!("pg-run: {}: ", path.display()));
        }
    }
    refused(bare().arg("caption").arg(scene(0)).arg("--model=/no/such.gguf"), "/no/such.gguf: ");
}
