//! Picture files to `pixel_values`, compared bit for bit with what Pillow and Hugging Face's processor make of them.
//!
//! The data, and the script that made it, are in `tests/goldens/imaging`.

mod files;

use pg_runtime::imaging::{Frame, PixelFormat, Preprocess, Scratch, patches_to_chw};
use pg_runtime::pictures::{self, Picture};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("goldens/imaging").join(name)
}

fn goldens() -> Value {
    let text = std::fs::read_to_string(golden("goldens.json")).expect("the goldens are in the repository");
    serde_json::from_str(&text).expect("goldens.json is JSON")
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn rgb(picture: &Picture) -> Vec<u8> {
    match picture.format() {
        PixelFormat::Gray8 => picture.data().iter().flat_map(|&v| [v; 3]).collect(),
        _ => picture.data().to_vec(),
    }
}

/// `pixel_values` `[3, size, size]` through patches with a padded row, as the session makes them.
fn pixel_values(frame: &Frame<'_>, size: usize, patch: usize) -> Vec<f32> {
    let pre = Preprocess::new(size, patch, 2048).expect("the patch divides the size");
    let len = pre.scratch_len();
    let (mut ints, mut bytes) = (vec![i32::MIN; len.ints], vec![255; len.bytes]);
    let stride = pre.patch_len().next_multiple_of(32);
    let mut patches = vec![f32::NAN; pre.n_patches() * stride];
    pre.patches(frame, Scratch { ints: &mut ints, bytes: &mut bytes }, &mut patches, stride)
        .expect("the frame is within the limits");
    let mut chw = vec![0.0; 3 * size * size];
    patches_to_chw(&patches, stride, size, patch, &mut chw);
    chw
}

fn to_u8(values: &[f32]) -> Vec<u8> {
    values.iter().map(|v| ((v * 0.5 + 0.5) * 255.0).round() as u8).collect()
}

#[test]
fn files_become_the_pixel_values_of_the_reference() {
    let goldens = goldens();
    let patch = goldens["patch"].as_u64().unwrap() as usize;
    let pictures = goldens["pictures"].as_array().unwrap();
    assert!(pictures.len() > 25);
    let mut wrong = Vec::new();
    for entry in pictures {
        let name = entry["file"].as_str().unwrap();
        let picture = pictures::load(&golden(name)).unwrap();
        assert_eq!(u64::from(picture.width()), entry["width"], "{name}");
        assert_eq!(u64::from(picture.height()), entry["height"], "{name}");
        if sha256(&rgb(&picture)) != entry["rgb"] {
            wrong.push(format!("{name}: decoded pixels"));
            continue;
        }
        for case in entry["cases"].as_array().unwrap() {
            let size = case["size"].as_u64().unwrap() as usize;
            let values = pixel_values(&picture.frame(), size, patch);
            let resized = to_u8(&values);
            let first: Vec<&[u8]> = resized.chunks(size * size).map(|channel| &channel[..8]).collect();
            if sha256(&resized) != case["resized"] {
                wrong.push(format!("{name} at {size}: {first:?}, expected {}", case["first"]));
            } else {
                let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                if sha256(&bytes) != case["pixel_values"] {
                    wrong.push(format!("{name} at {size}: right pixels, wrong normalization"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_format_gives_the_same_values() {
    for name in ["rgb-512x600.png", "rgb-16x2000.png", "rgb-20x10.png"] {
        let picture = pictures::load(&golden(name)).unwrap();
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let expected = pixel_values(&picture.frame(), 112, 14);
        let rgba: Vec<u8> = picture.data().chunks(3).flat_map(|p| [p[0], p[1], p[2], p[0] ^ p[1]]).collect();
        let rgba = Frame::new(&rgba, width, height, PixelFormat::Rgba8).unwrap();
        assert_eq!(pixel_values(&rgba, 112, 14), expected, "{name} with alpha");
        let stride = width * 3 + 17;
        let mut padded = vec![0x55; stride * height];
        for (row, source) in padded.chunks_mut(stride).zip(picture.data().chunks(width * 3)) {
            row[..width * 3].copy_from_slice(source);
        }
        let padded = Frame::with_stride(&padded, width, height, stride, PixelFormat::Rgb8).unwrap();
        assert_eq!(pixel_values(&padded, 112, 14), expected, "{name} with padded rows");
    }
}
