//! Picture files that are unusual or must be refused: what is said about them.

use crate::{golden, rgb};
use image::codecs::jpeg::JpegEncoder;
use image::{ImageBuffer, Luma, Rgb};
use pg_runtime::imaging::{Frame, PixelFormat};
use pg_runtime::pictures::{self, Caps, Picture};
use std::path::{Path, PathBuf};

/// A folder of its own for each test, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("pg-imaging-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The message for a picture that must be refused; it has to name the file.
#[track_caller]
fn refused(path: &Path) -> String {
    let message = pictures::load(path).expect_err(&format!("{} was read", path.display())).to_string();
    let rest = message.strip_prefix(&format!("{}: ", path.display()));
    rest.unwrap_or_else(|| panic!("{message} does not begin with the path")).to_string()
}

#[track_caller]
fn says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "\"{message}\" does not say \"{word}\"");
    }
}

#[test]
fn gray_stays_gray() {
    for name in ["gray-33x47.png", "bilevel-41x30.png", "horse.png", "gray-13x9.pgm"] {
        assert_eq!(pictures::load(&golden(name)).unwrap().format(), PixelFormat::Gray8, "{name}");
    }
    assert_eq!(pictures::load(&golden("gray-alpha-30x21.png")).unwrap().format(), PixelFormat::Rgb8);
}

/// A JPEG file as cameras send it: without Huffman codes, and with filler after its end.
fn as_motion_jpeg(file: &[u8]) -> Vec<u8> {
    let (mut frame, mut at) = (file[..2].to_vec(), 2);
    loop {
        let length = usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]])) + 2;
        match file[at + 1] {
            0xda => break,
            0xc4 => {}
            _ => frame.extend(&file[at..at + length]),
        }
        at += length;
    }
    frame.extend(&file[at..]);
    frame.extend([0; 40]);
    frame
}

#[test]
fn frames_of_motion_jpeg_are_the_same_pictures() {
    for name in ["photo-full.jpg", "photo-half.jpg"] {
        let file = std::fs::read(golden(name)).unwrap();
        let frame = as_motion_jpeg(&file);
        assert!(frame.len() + 300 < file.len(), "four tables of codes are gone");
        let expected = pictures::load(&golden(name)).unwrap();
        assert_eq!(pictures::decode_jpeg(&frame).unwrap(), expected);
        assert_eq!(pictures::decode_jpeg(&file).unwrap(), expected);
        for length in [0, 1, 2, 3, 20, frame.len() / 2] {
            pictures::decode_jpeg(&frame[..length]).expect_err("cut off");
        }
    }
    says(&pictures::decode_jpeg(b"GIF89a").unwrap_err(), &["not a JPEG"]);
    says(&pictures::decode_jpeg(&std::fs::read(golden("cmyk.jpg")).unwrap()).unwrap_err(), &["CMYK"]);
}

#[test]
fn pictures_of_strangers_cost_no_more_than_allowed() {
    let file = std::fs::read(golden("photo-full.jpg")).unwrap();
    let expected = pictures::load(&golden("photo-full.jpg")).unwrap();
    let pixels = u64::from(expected.width()) * u64::from(expected.height());
    let caps = Caps { pixels, scans: 3 };
    assert_eq!(pictures::decode_within(&file, caps).unwrap(), expected);
    let few = Caps { pixels: pixels - 1, ..caps };
    says(&pictures::decode_within(&file, few).unwrap_err(), &["megapixels", "scale it down"]);
    // Empty scans before the end of the picture, each of which would go over all pixels.
    let (body, end) = file.split_at(file.len() - 2);
    let many = [body, &[0xff, 0xda, 0, 2].repeat(3), end].concat();
    says(&pictures::decode_within(&many, caps).unwrap_err(), &["4 scans", "at most 3"]);
    let png = std::fs::read(golden("rgb-30x100.png")).unwrap();
    assert_eq!(pictures::decode_within(&png, caps).unwrap().width(), 30);
    for other in [&b"P6 1 1 255 abc"[..], b"BM", b"", b"GIF89a"] {
        says(&pictures::decode_within(other, caps).unwrap_err(), &["is not a PNG, JPEG or WebP"]);
    }
}

#[test]
fn copies_of_frames_leave_padding_and_alpha_out() {
    let data: Vec<u8> = (0..60).collect();
    for (format, kept) in [(PixelFormat::Gray8, 1), (PixelFormat::Rgb8, 3), (PixelFormat::Rgba8, 3)] {
        let frame = Frame::with_stride(&data, 4, 3, 20, format).unwrap();
        let copy = Picture::copy_of(&frame);
        assert_eq!((copy.width(), copy.height(), copy.format().bytes()), (4, 3, kept));
        let pixel = |y: usize, x: usize| &data[y * 20 + x * format.bytes()..][..kept];
        let expected: Vec<u8> = (0..12).flat_map(|i| pixel(i / 4, i % 4)).copied().collect();
        assert_eq!(copy.data(), expected);
    }
}

#[test]
fn jpeg_is_close_to_the_reference_decoder() {
    for (name, most) in [("photo-full.jpg", 3), ("photo-half.jpg", 6)] {
        let ours = pictures::load(&golden(name)).unwrap();
        let reference = pictures::load(&golden(&format!("{name}.png"))).unwrap();
        let differences = ours.data().iter().zip(reference.data()).map(|(a, b)| a.abs_diff(*b));
        let (largest, sum) = differences.fold((0, 0u32), |(m, s), d| (m.max(d), s + u32::from(d)));
        let mean = f64::from(sum) / ours.data().len() as f64;
        assert!(largest <= most && mean < 0.6, "{name}: up to {largest} levels, {mean:.2} on average");
    }
}

#[test]
fn sixteen_bits_are_scaled() {
    let folder = Folder::new("sixteen");
    let gray = ImageBuffer::from_fn(16, 16, |x, y| Luma([(x + 16 * y) as u16 * 257]));
    let path = folder.0.join("gray16.png");
    gray.save(&path).unwrap();
    let picture = pictures::load(&path).unwrap();
    assert_eq!(picture.format(), PixelFormat::Rgb8);
    assert_eq!(rgb(&picture), (0..=255).flat_map(|v| [v; 3]).collect::<Vec<u8>>());
}

#[test]
fn missing_empty_and_unknown_files() {
    let folder = Folder::new("missing");
    says(&refused(&folder.0.join("none.png")), &["no such file", "check the path"]);
    says(&refused(&folder.0), &["not a file"]);
    says(&refused(&folder.file("empty.png", b"")), &["empty"]);
    says(
        &refused(&folder.file("text.png", b"not a picture at all, just words")),
        &["is not a PNG", "convert"],
    );
    says(&refused(&folder.file("one.jpg", &[0xff])), &["is not a PNG", "convert"]);
    says(&refused(&folder.file("x.png", b"GIF89a\x01\0\x01\0\0\0\0")), &["is a Gif picture", "convert"]);
}

#[test]
fn wrong_extensions_do_not_matter() {
    let folder = Folder::new("extension");
    let bytes = std::fs::read(golden("rgb-13x9.bmp")).unwrap();
    let expected = pictures::load(&golden("rgb-13x9.bmp")).unwrap();
    assert_eq!(pictures::load(&folder.file("really-bmp.jpg", &bytes)).unwrap(), expected);
}

#[test]
fn truncated_files_are_refused_at_every_length() {
    let folder = Folder::new("truncated");
    let names = ["rgb-20x10.png", "palette-64x48.png", "rgb-13x9.bmp", "palette-13x9.bmp", "rgb-13x9.ppm"];
    for name in names.iter().chain(&["gray-13x9.pgm", "rgb-40x25.webp", "photo-full.jpg", "photo-half.jpg"]) {
        let bytes = std::fs::read(golden(name)).unwrap();
        // The pixels of a PNG are complete before the 12 bytes of its end mark and the checksum before it.
        let slack = if name.ends_with("png") { 16 } else { 1 };
        let step = bytes.len() / 150 + 1;
        for length in (1..=bytes.len() - slack).rev().step_by(step) {
            let path = folder.file("cut", &bytes[..length]);
            let message = refused(&path);
            assert!(
                message.contains("convert") || message.contains("again"),
                "{name} cut at {length}: {message}"
            );
        }
    }
}

#[test]
fn cmyk_is_refused() {
    says(&refused(&golden("cmyk.jpg")), &["CMYK", "convert it to RGB"]);
}

#[test]
fn huge_pictures_are_refused_by_their_header() {
    says(&refused(&golden("huge.png")), &["20000 x 20000", "at most 16384", "scale it down"]);

    let folder = Folder::new("huge");
    let mut jpeg = Vec::new();
    let pixel: ImageBuffer<Rgb<u8>, _> = ImageBuffer::from_pixel(8, 8, Rgb([1, 2, 3]));
    JpegEncoder::new(&mut jpeg).encode_image(&pixel).unwrap();
    let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    for (side, words) in
        [(20_000u16, ["20000 x 20000", "at most 16384"]), (9_000, ["81 megapixels", "at most 64"])]
    {
        jpeg[frame + 5..frame + 7].copy_from_slice(&side.to_be_bytes());
        jpeg[frame + 7..frame + 9].copy_from_slice(&side.to_be_bytes());
        says(&refused(&folder.file("huge.jpg", &jpeg)), &words);
    }

    says(&refused(&folder.file("huge.ppm", b"P6 16384 16384 255\n")), &["269 megapixels", "scale it down"]);
    says(&refused(&folder.file("wider.pgm", b"P5 16385 1 255\n")), &["16385 x 1", "at most 16384"]);
}

#[test]
fn damage_is_an_error_or_a_picture_but_never_a_panic() {
    let folder = Folder::new("damage");
    let mut state = 1u32;
    for name in ["rgb-20x10.png", "palette-4bit-17x9.png", "rgb-13x9.bmp", "rgb-40x25.webp", "photo-half.jpg"]
    {
        let bytes = std::fs::read(golden(name)).unwrap();
        for _ in 0..200 {
            let mut bad = bytes.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (state >> 8) as usize % bad.len();
                bad[at] = (state >> 3) as u8;
            }
            if let Ok(picture) = pictures::load(&folder.file("bad", &bad)) {
                assert_eq!(picture.frame().width(), picture.width() as usize);
            }
        }
    }
}
