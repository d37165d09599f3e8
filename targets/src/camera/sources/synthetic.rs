//! Shapes that wander over a plain wall: a camera where there is none. They are of the forms, colours and sizes that the
//! bundled demo model was trained on, so that what it says about them can be judged by looking.

use super::pace::{self, Pace};
use crate::camera::location::Mode;
use crate::camera::{FrameBuffer, Next, Options, Source, SourceError};
use std::time::{Duration, Instant, SystemTime};

/// Square, as the model sees it: nothing is stretched.
const SIZE: [u32; 2] = [480, 480];
const FPS: f32 = 10.0;
const WALL: [u8; 3] = [150, 166, 178];
/// Walls are not perfectly even: each pixel is lighter or darker by at most this much.
const GRAIN: u64 = 4;
/// Red, orange, yellow, green, blue, purple, white, black.
const COLOURS: [[u8; 3]; 8] = [
    [214, 43, 33],
    [242, 118, 20],
    [240, 222, 46],
    [36, 156, 54],
    [37, 92, 214],
    [148, 58, 172],
    [246, 246, 246],
    [18, 18, 20],
];
const FORMS: [Form; 6] = [Form::Circle, Form::Square, Form::Triangle, Form::Cross, Form::Ring, Form::Moon];
/// Shapes in a picture. Of two large ones the demo model finds all, with boxes whose intersection with the true ones is
/// 0.85 of the union (160 pictures); of three, or smaller ones, it misses some.
const COUNT: usize = 2;
/// Radii of large shapes in the training data, in pixels of the model's 112.
const LARGE: [u64; 2] = [18, 23];
/// Parts of a pixel in which places are counted.
const PARTS: i64 = 256;

/// The wall, and what moves in front of it.
pub(super) struct Synthetic {
    size: [usize; 2],
    wall: Vec<u8>,
    shapes: [Shape; COUNT],
    random: Random,
    pace: Pace,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Circle,
    Square,
    Triangle,
    Cross,
    Ring,
    Moon,
}

#[derive(Clone, Copy)]
struct Shape {
    form: Form,
    colour: usize,
    /// Of the middle, in parts of a pixel.
    at: [i64; 2],
    /// A frame.
    step: [i64; 2],
    /// Half the side of the square that the shape fits into, in pixels.
    radius: i64,
}

impl Synthetic {
    pub(super) fn new(mode: &Mode, seed: u64, options: &Options) -> Self {
        let size = mode.size.unwrap_or(SIZE).map(|side| side as usize);
        let mut random = Random(seed);
        let mut wall = vec![0; size[0] * size[1] * 3];
        for pixel in wall.as_chunks_mut::<3>().0 {
            let grain = random.below(2 * GRAIN + 1) as u8;
            *pixel = WALL.map(|value| value - GRAIN as u8 + grain);
        }
        let mut shapes = [Shape::random(&mut random, size); COUNT];
        for index in 1..COUNT {
            // Far apart, if a few throws find such a place; they drift apart in any case.
            for _ in 0..100 {
                shapes[index] = Shape::random(&mut random, size);
                if !shapes[..index].iter().any(|other| shapes[index].touches(other)) {
                    break;
                }
            }
            shapes[index].become_another(&mut random, index);
        }
        let fps = pace::slower(Some(mode.fps.unwrap_or(FPS)), options.max_fps);
        Synthetic { size, wall, shapes, random, pace: Pace::new(fps) }
    }

    /// Everything moves on by one frame: back from the edges, as another shape, and away from each other.
    fn advance(&mut self) {
        for index in 0..COUNT {
            if self.shapes[index].advance(self.size) {
                self.shapes[index].become_another(&mut self.random, index);
            }
        }
        for second in 1..COUNT {
            let (before, after) = self.shapes.split_at_mut(second);
            for first in before {
                if first.touches(&after[0]) {
                    first.part(&mut after[0]);
                }
            }
        }
    }
}

impl Source for Synthetic {
    fn next(&mut self, into: &mut FrameBuffer, limit: Duration) -> Result<Next, SourceError> {
        if !self.pace.wait(Instant::now() + limit) {
            return Ok(Next::Nothing);
        }
        self.pace.given();
        let pixels = into.reset(self.size[0], self.size[1]);
        pixels.copy_from_slice(&self.wall);
        for shape in &self.shapes {
            shape.draw(pixels, self.size);
        }
        self.advance();
        into.set_time(Instant::now(), SystemTime::now());
        Ok(Next::Frame)
    }
}

impl Shape {
    fn random(random: &mut Random, size: [usize; 2]) -> Self {
        let side = size[0].min(size[1]) as u64;
        let radius = (side * LARGE[0] / 112 + random.below(side * (LARGE[1] - LARGE[0]) / 112 + 1)) as i64;
        // Slow enough for boxes to be on their shapes when an answer comes.
        let speed = side * PARTS as u64 / 400 + 1;
        Shape {
            form: FORMS[random.below(FORMS.len() as u64) as usize],
            colour: 0,
            at: size.map(|side| {
                let room = (side as i64 - 2 * radius).max(1);
                (radius + random.below(room as u64) as i64) * PARTS
            }),
            step: [(); 2].map(|()| random.below(2 * speed + 1) as i64 - speed as i64),
            radius,
        }
    }

    /// Another form and colour; colours are dealt so that no two shapes of a picture share one.
    fn become_another(&mut self, random: &mut Random, index: usize) {
        self.form = FORMS[random.below(FORMS.len() as u64) as usize];
        let colours = (COLOURS.len() - index).div_ceil(COUNT) as u64;
        self.colour = random.below(colours) as usize * COUNT + index;
    }

    /// Whether it met an edge and turned round.
    fn advance(&mut self, size: [usize; 2]) -> bool {
        let mut turned = false;
        for ((at, step), side) in self.at.iter_mut().zip(&mut self.step).zip(size) {
            let first = self.radius * PARTS;
            let last = (side as i64 * PARTS - first).max(first);
            *at += *step;
            if *at < first || *at > last {
                *step = -*step;
                *at = (*at).clamp(first, last);
                turned = true;
            }
        }
        turned
    }

    fn touches(&self, other: &Shape) -> bool {
        let [dx, dy] = [0, 1].map(|axis| (self.at[axis] - other.at[axis]) / PARTS);
        dx * dx + dy * dy < (self.radius + other.radius).pow(2)
    }

    /// Both go away from each other, each at its own speed.
    fn part(&mut self, other: &mut Shape) {
        for axis in 0..2 {
            let sign = if self.at[axis] < other.at[axis] { -1 } else { 1 };
            self.step[axis] = sign * self.step[axis].abs();
            other.step[axis] = -sign * other.step[axis].abs();
        }
    }

    fn draw(&self, pixels: &mut [u8], [width, height]: [usize; 2]) {
        let [x, y] = self.at.map(|at| at / PARTS);
        let inside = |middle: i64, side: usize| {
            let end = (middle + self.radius + 1).clamp(0, side as i64) as usize;
            (middle - self.radius).clamp(0, end as i64) as usize..end
        };
        let radius = self.radius.max(1) as f32;
        for row in inside(y, height) {
            for column in inside(x, width) {
                let [dx, dy] = [column as i64 - x, row as i64 - y].map(|d| d as f32 / radius);
                if self.form.covers(dx, dy) {
                    let start = (row * width + column) * 3;
                    pixels[start..start + 3].copy_from_slice(&COLOURS[self.colour]);
                }
            }
        }
    }
}

impl Form {
    /// Whether a place belongs to the form; the form lies between -1 and 1, `y` grows downwards.
    fn covers(self, x: f32, y: f32) -> bool {
        let disc = |x: f32, radius: f32| x * x + y * y <= radius * radius;
        let bar = |x: f32, y: f32| x.abs() <= 0.33 && y.abs() <= 0.95;
        match self {
            Form::Circle => disc(x, 0.93),
            Form::Square => x.abs().max(y.abs()) <= 0.86,
            Form::Triangle => (-0.95..=0.8).contains(&y) && x.abs() <= (y + 0.95) * (0.95 / 1.75),
            Form::Cross => bar(x, y) || bar(y, x),
            Form::Ring => disc(x, 0.93) && !disc(x, 0.5),
            Form::Moon => disc(x - 0.18, 0.95) && !disc(x - 0.68, 0.78),
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

    #[test]
    fn shapes_stay_whole_and_no_two_have_one_colour() {
        let mut source = Synthetic::new(&Mode { size: Some([120, 90]), fps: None }, 5, &Options::default());
        let mut changed = 0;
        for _ in 0..5000 {
            let before = source.shapes;
            source.advance();
            for (index, shape) in source.shapes.iter().enumerate() {
                for (at, side) in shape.at.iter().zip(source.size) {
                    let at = at / PARTS;
                    assert!(at >= shape.radius && at <= side as i64 - shape.radius);
                }
                assert!(source.shapes[..index].iter().all(|other| other.colour != shape.colour));
                changed += usize::from(shape.colour != before[index].colour);
            }
        }
        assert!(changed > 10, "{changed} changes of colour");
    }
}
