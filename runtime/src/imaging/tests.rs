//! Resizing, filters and frames against known results.

use super::filter::{Axis, PRECISION, max_taps};
use super::*;
use crate::error::InputError;
use alloc::vec;
use alloc::vec::Vec;

/// Resized pixels `[3][size][size]`, from patches back to u8.
fn resized(frame: &Frame<'_>, size: usize, patch: usize, max_side: usize) -> Vec<u8> {
    let pre = Preprocess::new(size, patch, max_side).unwrap();
    let len = pre.scratch_len();
    // Dirty scratch: nothing may depend on what was there before.
    let (mut ints, mut bytes) = (vec![-7; len.ints], vec![0xa5; len.bytes]);
    let stride = pre.patch_len() + 5;
    let mut out = vec![9.0; pre.n_patches() * stride];
    let scratch = Scratch { ints: &mut ints, bytes: &mut bytes };
    pre.patches(frame, scratch, &mut out, stride).unwrap();
    assert!(out.chunks(stride).all(|row| row[pre.patch_len()..] == [9.0; 5]), "tail touched");
    let mut chw = vec![0.0; 3 * size * size];
    patches_to_chw(&out, stride, size, patch, &mut chw);
    chw.iter().map(|v| ((v * 0.5 + 0.5) * 255.0 + 0.5) as u8).collect()
}

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * i * 31 + i * 7) as u8).collect()
}

#[test]
fn same_size_is_identity() {
    let data = pattern(6 * 6 * 3);
    let frame = Frame::new(&data, 6, 6, PixelFormat::Rgb8).unwrap();
    let planar: Vec<u8> = (0..3).flat_map(|c| data.iter().skip(c).step_by(3).copied()).collect();
    assert_eq!(resized(&frame, 6, 3, 6), planar);
}

#[test]
fn constant_stays_constant() {
    for (w, h) in [(1, 1), (1, 90), (90, 1), (33, 17), (5, 64), (300, 2)] {
        for value in [0, 1, 127, 254, 255] {
            let data = vec![value; w * h];
            let frame = Frame::new(&data, w, h, PixelFormat::Gray8).unwrap();
            assert!(resized(&frame, 12, 4, 300).iter().all(|&v| v == value), "{w} x {h}, {value}");
        }
    }
}

#[test]
fn known_values() {
    // Pillow: Image.frombytes("L", (4, 1), bytes([0, 255, 10, 200])).resize((2, 2), Image.BICUBIC)
    let frame = Frame::new(&[0, 255, 10, 200], 4, 1, PixelFormat::Gray8).unwrap();
    assert_eq!(resized(&frame, 2, 1, 4), [111, 127, 111, 127].repeat(3));
}

#[test]
fn formats_agree() {
    let gray = pattern(23 * 11);
    let rgb: Vec<u8> = gray.iter().flat_map(|&v| [v; 3]).collect();
    let rgba: Vec<u8> = gray.iter().flat_map(|&v| [v, v, v, !v]).collect();
    let a = resized(&Frame::new(&gray, 23, 11, PixelFormat::Gray8).unwrap(), 14, 7, 23);
    assert_eq!(a, resized(&Frame::new(&rgb, 23, 11, PixelFormat::Rgb8).unwrap(), 14, 7, 23));
    assert_eq!(a, resized(&Frame::new(&rgba, 23, 11, PixelFormat::Rgba8).unwrap(), 14, 7, 23));
}

#[test]
fn stride_skips_padding_and_limit_does_not_matter() {
    let (w, h, stride) = (7, 5, 32);
    let data = pattern(w * h * 3);
    let mut padded = vec![0xee; stride * (h - 1) + w * 3];
    for (y, row) in data.chunks(w * 3).enumerate() {
        padded[y * stride..][..w * 3].copy_from_slice(row);
    }
    let tight = Frame::new(&data, w, h, PixelFormat::Rgb8).unwrap();
    let loose = Frame::with_stride(&padded, w, h, stride, PixelFormat::Rgb8).unwrap();
    let a = resized(&tight, 8, 2, 7);
    assert_eq!(a, resized(&loose, 8, 2, 7));
    assert_eq!(a, resized(&tight, 8, 2, 1000));
}

#[test]
fn patch_order_is_channel_y_x() {
    let data: Vec<u8> = (0..4 * 4 * 3).map(|i| i as u8).collect();
    let frame = Frame::new(&data, 4, 4, PixelFormat::Rgb8).unwrap();
    let pre = Preprocess::new(4, 2, 4).unwrap();
    let len = pre.scratch_len();
    let (mut ints, mut bytes) = (vec![0; len.ints], vec![0; len.bytes]);
    let mut out = vec![0.0; 4 * 12];
    pre.patches(&frame, Scratch { ints: &mut ints, bytes: &mut bytes }, &mut out, 12).unwrap();
    // Patch 1 is at the top right: pixels (2,0) (3,0) (2,1) (3,1).
    let values: Vec<u8> = out[12..24].iter().map(|v| ((v * 0.5 + 0.5) * 255.0 + 0.5) as u8).collect();
    assert_eq!(values, [6, 9, 18, 21, 7, 10, 19, 22, 8, 11, 20, 23]);
}

#[test]
fn weights_sum_to_one_and_leave_headroom() {
    for n_in in (1..64).chain([100, 127, 512, 600, 1000, 4001, MAX_SIDE]) {
        for n_out in [1, 2, 3, 13, 14, 56, 224, 448, 896] {
            let taps = max_taps(n_in, n_out);
            let mut weights = vec![0; taps];
            let axis = Axis::new(n_in, n_out);
            let mut last = (0, 0);
            for i in 0..n_out {
                let (first, n) = axis.weights(i, &mut weights);
                assert!(n >= 1 && n <= taps && first + n <= n_in, "{n_in} to {n_out} at {i}");
                assert!(first >= last.0 && first + n >= last.1, "the window moves up");
                last = (first, first + n);
                let sum: i64 = weights[..n].iter().map(|&w| i64::from(w)).sum();
                let magnitude: i64 = weights[..n].iter().map(|&w| i64::from(w).abs()).sum();
                assert!((sum - (1 << PRECISION)).abs() <= n as i64, "{n_in} to {n_out} at {i}: {sum}");
                assert!(
                    magnitude <= (13 << PRECISION) / 10 + n as i64,
                    "{n_in} to {n_out} at {i}: {magnitude}"
                );
            }
            assert_eq!(last.1, n_in, "the last pixel is used");
        }
    }
}

#[test]
fn bad_frames_are_refused() {
    let rgb = PixelFormat::Rgb8;
    assert_eq!(Frame::new(&[], 0, 4, rgb).unwrap_err(), InputError::EmptyFrame);
    assert_eq!(Frame::new(&[], usize::MAX, 0, rgb).unwrap_err(), InputError::EmptyFrame);
    let huge = Frame::new(&[], usize::MAX, usize::MAX, rgb).unwrap_err();
    assert!(matches!(huge, InputError::FrameTooLarge { max_side: MAX_SIDE, .. }));
    for found in [0, 11, 13] {
        let data = vec![0; found];
        let e = Frame::new(&data, 2, 2, rgb).unwrap_err();
        assert_eq!(e, InputError::FrameBuffer { expected: 12, found });
    }
    let e = Frame::with_stride(&[0; 99], 2, 2, 5, rgb).unwrap_err();
    assert_eq!(e, InputError::FrameStride { stride: 5, row_bytes: 6 });
    let e = Frame::with_stride(&[0; 99], 2, 3, usize::MAX, rgb).unwrap_err();
    assert_eq!(e, InputError::FrameBuffer { expected: usize::MAX, found: 99 });
}

#[test]
fn bad_sizes_and_short_buffers_are_refused() {
    for (size, patch, max_side) in [(0, 1, 1), (14, 0, 1), (15, 14, 9), (14, 14, 0), (14, 14, MAX_SIDE + 1)] {
        assert!(Preprocess::new(size, patch, max_side).is_err(), "{size} {patch} {max_side}");
    }
    let pre = Preprocess::new(4, 2, 8).unwrap();
    let data = [0; 81];
    let wide = Frame::new(&data[..9], 9, 1, PixelFormat::Gray8).unwrap();
    let frame = Frame::new(&data[..8], 8, 1, PixelFormat::Gray8).unwrap();
    let len = pre.scratch_len();
    let run = |frame, ints: usize, bytes: usize, out: usize, stride| {
        let (mut ints, mut bytes, mut out) = (vec![0; ints], vec![0; bytes], vec![0.0; out]);
        pre.patches(frame, Scratch { ints: &mut ints, bytes: &mut bytes }, &mut out, stride)
    };
    assert_eq!(run(&frame, len.ints, len.bytes, 48, 12), Ok(()));
    let too_large = InputError::FrameTooLarge { width: 9, height: 1, max_side: 8 };
    assert_eq!(run(&wide, len.ints, len.bytes, 48, 12), Err(too_large));
    assert!(run(&frame, len.ints - 1, len.bytes, 48, 12).is_err());
    assert!(run(&frame, len.ints, len.bytes - 1, 48, 12).is_err());
    assert!(run(&frame, len.ints, len.bytes, 47, 12).is_err());
    assert!(run(&frame, len.ints, len.bytes, 48, 11).is_err());
    assert!(run(&frame, len.ints, len.bytes, 48, usize::MAX).is_err());
}
