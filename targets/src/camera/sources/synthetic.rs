//! Moving shapes of eight colours on grey: a camera where there is none.

use super::pace::{self, Pace};
use crate::camera::location::Mode;
use crate::camera::{FrameBuffer, Next, Options, Source, SourceError};
use std::time::{Duration, Instant, SystemTime};

const SIZE: [u32; 2] = [640, 480];
const FPS: f32 = 10.0;
const BACKGROUND: u8 = 96;
const COLOURS: [[u8; 3]; 8] = [
    [220, 40, 40],
    [40, 180, 60],
    [50, 80, 220],
    [240, 220, 50],
    [40, 200, 210],
    [210, 60, 200],
    [250, 250, 250],
    [20, 20, 20],
];

/// One shape of each colour, each on its own straight way between the edges.
pub(super) struct Synthetic {
    size: [usize; 2],
    shapes: [Shape; 8],
    pace: Pace,
}

#[derive(Clone, Copy)]
struct Shape {
    kind: u64,
    /// Of the middle, in 1/256 of a pixel.
    at: [i64; 2],
    /// A frame.
    step: [i64; 2],
    radius: i64,
}

impl Synthetic {
    pub(super) fn new(mode: &Mode, seed: u64, options: &Options) -> Self {
        let size = mode.size.unwrap_or(SIZE).map(|side| side as usize);
        let mut random = Random(seed);
        let shapes = [(); 8].map(|()| Shape::random(&mut random, size));
        let fps = pace::slower(Some(mode.fps.unwrap_or(FPS)), options.max_fps);
        Synthetic { size, shapes, pace: Pace::new(fps) }
    }
}

impl Source for Synthetic {
    fn next(&mut self, into: &mut FrameBuffer, limit: Duration) -> Result<Next, SourceError> {
        if !self.pace.wait(Instant::now() + limit) {
            return Ok(Next::Nothing);
        }
        self.pace.given();
        let [width, height] = self.size;
        let pixels = into.reset(width, height);
        pixels.fill(BACKGROUND);
        for (shape, colour) in self.shapes.iter_mut().zip(COLOURS) {
            shape.draw(pixels, self.size, colour);
            shape.advance(self.size);
        }
        into.set_time(Instant::now(), SystemTime::now());
        Ok(Next::Frame)
    }
}

impl Shape {
    fn random(random: &mut Random, size: [usize; 2]) -> Self {
        let side = size[0].min(size[1]) as u64;
        let radius = side / 16 + random.below(side / 12 + 1);
        let speed = side * 256 / 40 + 1;
        Shape {
            kind: random.below(3),
            at: size.map(|side| (random.below(side as u64) * 256) as i64),
            step: [(); 2].map(|()| random.below(2 * speed + 1) as i64 - speed as i64),
            radius: radius as i64,
        }
    }

    fn advance(&mut self, size: [usize; 2]) {
        for ((at, step), side) in self.at.iter_mut().zip(&mut self.step).zip(size) {
            let end = side as i64 * 256 - 1;
            *at += *step;
            if *at < 0 || *at > end {
                *step = -*step;
                *at = (*at).clamp(0, end);
            }
        }
    }

    fn draw(&self, pixels: &mut [u8], [width, height]: [usize; 2], colour: [u8; 3]) {
        let [x, y] = self.at.map(|at| at / 256);
        let rows = (y - self.radius).max(0)..(y + self.radius + 1).min(height as i64);
        for row in rows {
            let half = self.half_width(row - y);
            let left = (x - half).max(0) as usize;
            let right = (x + half + 1).min(width as i64) as usize;
            let start = row as usize * width;
            for pixel in pixels[(start + left) * 3..(start + right.max(left)) * 3].as_chunks_mut::<3>().0 {
                *pixel = colour;
            }
        }
    }

    /// Of the row `dy` below the middle.
    fn half_width(&self, dy: i64) -> i64 {
        match self.kind {
            0 => self.radius,
            1 => (self.radius * self.radius - dy * dy).isqrt(),
            _ => (dy + self.radius) / 2,
        }
    }
}

/// The same numbers for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(size: [u32; 2], seed: u64, count: usize) -> Vec<Vec<u8>> {
        let mode = Mode { size: Some(size), fps: Some(1000.0) };
        let mut source = Synthetic::new(&mode, seed, &Options::default());
        let mut buffer = FrameBuffer::new();
        let mut frame = || {
            while source.next(&mut buffer, Duration::from_secs(1)).unwrap() != Next::Frame {}
            buffer.data().to_vec()
        };
        (0..count).map(|_| frame()).collect()
    }

    #[test]
    fn shapes_move_and_a_seed_repeats_them() {
        let first = frames([160, 120], 7, 3);
        assert_eq!(first, frames([160, 120], 7, 3));
        assert!(first[0] != first[1] && first[0] != frames([160, 120], 8, 1)[0]);
    }

    #[test]
    fn every_size_is_filled() {
        for size in [[1, 1], [1, 40], [40, 1], [3, 3], [1000, 8]] {
            for frame in frames(size, 1, 40) {
                assert_eq!(frame.len(), (size[0] * size[1] * 3) as usize);
            }
        }
    }
}
