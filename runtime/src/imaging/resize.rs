//! Pillow's two-pass 8-bit resize, streaming: the horizontal pass turns each input row into a short u8 row once,
//! the vertical pass sums the few short rows that an output row needs.
//!
//! Called by [`Preprocess::patches`](super::Preprocess::patches). In: a frame. Out: rows `[3][size]` of pixel
//! values, channels apart, from the top down. Horizontal first and u8 between the passes is what Pillow before
//! version 13 does. Pillow skips a pass that would not change the length; here it runs, because the weights are
//! then exactly 0, 1, 0.

use super::filter::{Axis, HALF, max_taps, to_pixel};
use super::frame::{Frame, PixelFormat};

/// Working memory of one resize; its contents need not survive between pictures.
#[derive(Debug)]
pub struct Scratch<'a> {
    /// `[ints]` of [`ScratchLen`].
    pub ints: &'a mut [i32],
    /// `[bytes]` of [`ScratchLen`].
    pub bytes: &'a mut [u8],
}

/// Lengths of [`Scratch`], in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScratchLen {
    /// Horizontal weights and their places, the weights of one output row, the sums of one output row.
    pub ints: usize,
    /// The short rows that an output row may need.
    pub bytes: usize,
}

/// Working memory that resizing to `size` x `size` needs when no side is longer than `max_side`.
pub const fn scratch_len(size: usize, max_side: usize) -> ScratchLen {
    let taps = max_taps(max_side, size);
    ScratchLen { ints: size * (2 + taps) + taps + 3 * size, bytes: taps * 3 * size }
}

/// Resizes `frame` and hands every output row, from the top down, to `sink` as its three channels of values 0..=255.
///
/// The caller has checked the sides against `max_side` and the scratch against [`scratch_len`].
pub(super) fn rows(
    frame: &Frame<'_>,
    size: usize,
    max_side: usize,
    scratch: Scratch<'_>,
    mut sink: impl FnMut(usize, [&[i32]; 3]),
) {
    let taps = max_taps(max_side, size);
    let (places, rest) = scratch.ints.split_at_mut(2 * size);
    let (table, rest) = rest.split_at_mut(size * taps);
    let (weights, rest) = rest.split_at_mut(taps);
    let sums = &mut rest[..3 * size];
    let ring = &mut scratch.bytes[..taps * 3 * size];

    let horizontal = Horizontal::new(frame.width(), size, places, table, taps);
    let vertical = Axis::new(frame.height(), size);
    // A grey picture has one channel to compute.
    let n_channels = if frame.format() == PixelFormat::Gray8 { 1 } else { 3 };
    let row_len = n_channels * size;
    let sums = &mut sums[..row_len];
    // Pillow turns the order round for strips like this one (`Image.resize`). The frame then is so narrow that one
    // row of it, shrunk in height, fits the ring beside a short row: `taps` is more than 4 * height / size.
    let strip = frame.height() > 100 * frame.width() && frame.height() > size;
    let mut n_read = 0;
    for y in 0..size {
        let (first, n) = vertical.weights(y, weights);
        let weights = &weights[..n];
        if strip {
            let (narrow, short) = ring.split_at_mut(frame.row(0).len());
            let short = &mut short[..row_len];
            mix_rows(frame, first, weights, narrow);
            horizontal.row(narrow, frame.format(), short);
            for (sum, &pixel) in sums.iter_mut().zip(&*short) {
                *sum = i32::from(pixel);
            }
        } else {
            // Both ends of the window only move down, and it is never wider than the ring.
            while n_read < first + n {
                let short = &mut ring[n_read % taps * 3 * size..][..row_len];
                horizontal.row(frame.row(n_read), frame.format(), short);
                n_read += 1;
            }
            sums.fill(HALF);
            for (row, &weight) in (first..).zip(weights) {
                let short = &ring[row % taps * 3 * size..][..row_len];
                for (sum, &pixel) in sums.iter_mut().zip(short) {
                    *sum += weight * i32::from(pixel);
                }
            }
            for sum in sums.iter_mut() {
                *sum = i32::from(to_pixel(*sum));
            }
        }
        let channel = |c: usize| &sums[c.min(n_channels - 1) * size..][..size];
        sink(y, [channel(0), channel(1), channel(2)]);
    }
}

/// The vertical pass on the frame itself: one row as wide as the frame, in its format.
fn mix_rows(frame: &Frame<'_>, first: usize, weights: &[i32], out: &mut [u8]) {
    for (at, value) in out.iter_mut().enumerate() {
        let mut sum = HALF;
        for (row, &weight) in (first..).zip(weights) {
            sum += weight * i32::from(frame.row(row)[at]);
        }
        *value = to_pixel(sum);
    }
}

/// The horizontal pass, its weights computed once per picture.
struct Horizontal<'a> {
    /// First input column and number of weights, per output column: `[size, 2]`.
    places: &'a [i32],
    /// `[size, taps]`
    table: &'a [i32],
    taps: usize,
}

impl<'a> Horizontal<'a> {
    fn new(width: usize, size: usize, places: &'a mut [i32], table: &'a mut [i32], taps: usize) -> Self {
        let axis = Axis::new(width, size);
        for (x, (place, weights)) in places.chunks_exact_mut(2).zip(table.chunks_exact_mut(taps)).enumerate()
        {
            let (first, n) = axis.weights(x, weights);
            // Below `MAX_SIDE`, so no cast loses anything.
            place[0] = first as i32;
            place[1] = n as i32;
        }
        Horizontal { places, table, taps }
    }

    /// One input row to `short`, `[n_channels, size]`.
    fn row(&self, row: &[u8], format: PixelFormat, short: &mut [u8]) {
        match format {
            PixelFormat::Gray8 => self.pixels::<1, 1>(row, short),
            PixelFormat::Rgb8 => self.pixels::<3, 3>(row, short),
            PixelFormat::Rgba8 => self.pixels::<4, 3>(row, short),
        }
    }

    fn pixels<const BYTES: usize, const CHANNELS: usize>(&self, row: &[u8], short: &mut [u8]) {
        let size = self.places.len() / 2;
        let (pixels, _) = row.as_chunks::<BYTES>();
        let columns = self.places.chunks_exact(2).zip(self.table.chunks_exact(self.taps));
        for (x, (place, weights)) in columns.enumerate() {
            let (first, n) = (place[0] as usize, place[1] as usize);
            let mut sums = [HALF; CHANNELS];
            for (&weight, pixel) in weights[..n].iter().zip(&pixels[first..first + n]) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += weight * i32::from(value);
                }
            }
            for (c, &sum) in sums.iter().enumerate() {
                short[c * size + x] = to_pixel(sum);
            }
        }
    }
}
