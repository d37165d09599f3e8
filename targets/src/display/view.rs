//! A picture, boxes with labels, and a caption below: the same on every display.
//!
//! The picture keeps its aspect and is made as large as fits above the caption, in the middle of what is left. Each of
//! its pixels on the display takes the colour of the pixel of the picture that its centre lies in.

use embedded_graphics::mono_font::{MonoFont, MonoTextStyle, iso_8859_1 as fonts};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use embedded_graphics::text::{Baseline, Text};
use pg_runtime::imaging::{Frame, PixelFormat};
use pg_runtime::pictures::{self, Label};

/// What is shown.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The picture.
    pub frame: Frame<'a>,
    /// Boxes, in the picture's pixels.
    pub labels: &'a [Label<'a>],
    /// Words; as much of them is shown as fits into a quarter of the height.
    pub caption: &'a str,
}

impl View<'_> {
    /// Draws everything, the black around the picture included. For displays of another kind of colours use
    /// `target.color_converted()`.
    ///
    /// # Errors
    /// The target's own.
    pub fn draw<D: DrawTarget<Color = Rgb888>>(&self, target: &mut D) -> Result<(), D::Error> {
        let screen = target.bounding_box();
        if screen.is_zero_sized() {
            return Ok(());
        }
        let layout = self.layout(screen.size);
        let place = layout.place;
        target.clear(Rgb888::BLACK)?;
        let mut area = target.cropped(&Rectangle::new(screen.top_left + place.top_left, place.size));
        area.fill_contiguous(&Rectangle::new(Point::zero(), place.size), self.pixels(place.size))?;
        pictures::paint(&mut area, &self.scaled(place.size))?;
        layout.write(target, Rgb888::WHITE)
    }

    /// Everything that it says: the words, and the labels in the order of the alphabet.
    pub fn words(&self) -> String {
        let mut labels: Vec<&str> = self.labels.iter().map(|label| label.text).collect();
        labels.sort_unstable();
        format!("{}\n{}", self.caption, labels.join("\n"))
    }

    /// What goes where on a screen that is not empty.
    pub(super) fn layout(&self, screen: Size) -> Layout {
        let font = font(screen);
        let letter = font.character_size + Size::new(font.character_spacing, 0);
        let mut lines = wrap(self.caption, (screen.width / letter.width) as usize);
        lines.truncate((screen.height / 4 / letter.height) as usize);
        let height = lines.len() as u32 * letter.height;
        let place = self.place(screen - Size::new(0, height));
        Layout { font, lines, place, top: (screen.height - height) as i32 }
    }

    /// The labels on the picture in another size.
    pub(super) fn scaled(&self, to: Size) -> Vec<Label<'_>> {
        let from = [self.frame.width() as u32, self.frame.height() as u32];
        let scaled = |v: u32, to: u32, from: u32| (u64::from(v) * u64::from(to) / u64::from(from)) as u32;
        let x = |v| scaled(v, to.width, from[0]);
        let y = |v| scaled(v, to.height, from[1]);
        let moved = |[x0, y0, x1, y1]: [u32; 4]| [x(x0), y(y0), x(x1), y(y1)];
        self.labels.iter().map(|label| Label { box_px: moved(label.box_px), ..*label }).collect()
    }

    /// Where the picture goes in a room of this size.
    fn place(&self, room: Size) -> Rectangle {
        let [width, height] = [self.frame.width() as u64, self.frame.height() as u64];
        let [w, h] = [u64::from(room.width), u64::from(room.height)];
        // Rounded down, but never to nothing.
        let size = match w * height <= h * width {
            true => [w, (w * height / width).max(1).min(h)],
            false => [(h * width / height).max(1).min(w), h],
        };
        let [w, h] = size.map(|v| v as u32);
        let corner = Point::new(((room.width - w) / 2) as i32, ((room.height - h) / 2) as i32);
        Rectangle::new(corner, Size::new(w, h))
    }

    /// The picture in another size, row by row.
    fn pixels(&self, size: Size) -> impl Iterator<Item = Rgb888> + '_ {
        let frame = self.frame;
        let [w, h] = [size.width as usize, size.height as usize];
        let nearest = |i: usize, of: usize, from: usize| (2 * i + 1) * from / (2 * of);
        let bytes = frame.format().bytes();
        (0..h).flat_map(move |y| {
            let row = frame.row(nearest(y, h, frame.height()));
            (0..w).map(move |x| {
                let pixel = &row[nearest(x, w, frame.width()) * bytes..][..bytes];
                match frame.format() {
                    PixelFormat::Gray8 => Rgb888::new(pixel[0], pixel[0], pixel[0]),
                    PixelFormat::Rgb8 | PixelFormat::Rgba8 => Rgb888::new(pixel[0], pixel[1], pixel[2]),
                }
            })
        })
    }
}

/// A screen, divided.
pub(super) struct Layout {
    pub(super) font: &'static MonoFont<'static>,
    /// Where the picture is.
    pub(super) place: Rectangle,
    /// What stands below it.
    lines: Vec<String>,
    /// First row of pixels of the lines.
    top: i32,
}

impl Layout {
    /// Writes the lines.
    pub(super) fn write<D: DrawTarget>(&self, target: &mut D, ink: D::Color) -> Result<(), D::Error> {
        let corner = target.bounding_box().top_left;
        let style = MonoTextStyle::new(self.font, ink);
        for (i, line) in self.lines.iter().enumerate() {
            let at = corner + Point::new(0, self.top + i as i32 * self.font.character_size.height as i32);
            Text::with_baseline(line, at, style, Baseline::Top).draw(target)?;
        }
        Ok(())
    }
}

/// Letters that can be read on a screen of this size.
fn font(screen: Size) -> &'static MonoFont<'static> {
    match screen.width.max(screen.height) {
        0..200 => &fonts::FONT_4X6,
        200..400 => &fonts::FONT_6X10,
        400..640 => &fonts::FONT_7X13,
        _ => &fonts::FONT_10X20,
    }
}

/// Lines of at most `width` letters, broken between words where possible.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    if width == 0 {
        return lines;
    }
    for word in text.split_whitespace() {
        let word: Vec<char> = word.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.len() <= width => {
                line.push(' ');
                line.extend(word);
            }
            _ => lines.extend(word.chunks(width).map(|part| part.iter().collect::<String>())),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_graphics::mock_display::MockDisplay;
    use std::collections::HashMap;
    use std::convert::Infallible;

    /// Remembers the colour of each point, and complains about points outside.
    struct Canvas {
        area: Rectangle,
        points: HashMap<Point, Rgb888>,
    }

    impl Canvas {
        fn new(corner: Point, size: Size) -> Self {
            Canvas { area: Rectangle::new(corner, size), points: HashMap::new() }
        }
    }

    impl Dimensions for Canvas {
        fn bounding_box(&self) -> Rectangle {
            self.area
        }
    }

    impl DrawTarget for Canvas {
        type Color = Rgb888;
        type Error = Infallible;

        fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
            for Pixel(point, color) in pixels {
                assert!(self.area.contains(point), "{point:?}");
                self.points.insert(point, color);
            }
            Ok(())
        }
    }

    /// A picture whose pixels tell where they are.
    fn data(width: u8, height: u8) -> Vec<u8> {
        (0..height).flat_map(|y| (0..width).flat_map(move |x| [x, y, 200])).collect()
    }

    fn view<'a>(data: &'a [u8], width: usize, height: usize, caption: &'a str) -> View<'a> {
        let frame = Frame::new(data, width, height, PixelFormat::Rgb8).unwrap();
        View { frame, labels: &[], caption }
    }

    #[test]
    fn the_picture_keeps_its_aspect_and_stands_in_the_middle() {
        let data = data(8, 4);
        for (size, place) in [
            (Size::new(16, 16), Rectangle::new(Point::new(0, 4), Size::new(16, 8))),
            (Size::new(30, 5), Rectangle::new(Point::new(10, 0), Size::new(10, 5))),
            (Size::new(4, 2), Rectangle::new(Point::new(0, 0), Size::new(4, 2))),
            (Size::new(1, 9), Rectangle::new(Point::new(0, 4), Size::new(1, 1))),
        ] {
            let corner = Point::new(3, -2);
            let mut canvas = Canvas::new(corner, size);
            let Ok(()) = view(&data, 8, 4, "").draw(&mut canvas);
            assert_eq!(canvas.points.len() as u32, size.width * size.height, "everything is drawn");
            for (point, color) in &canvas.points {
                let at = *point - corner - place.top_left;
                let expected = if place.contains(*point - corner) {
                    let nearest =
                        |v: i32, of: u32, from: f64| ((f64::from(v) + 0.5) * from / f64::from(of)) as u8;
                    Rgb888::new(
                        nearest(at.x, place.size.width, 8.0),
                        nearest(at.y, place.size.height, 4.0),
                        200,
                    )
                } else {
                    Rgb888::BLACK
                };
                assert_eq!(*color, expected, "{size:?} {point:?}");
            }
        }
    }

    #[test]
    fn boxes_move_with_the_picture_and_the_caption_is_below() {
        let data = data(100, 50);
        let mut shown = view(&data, 100, 50, "a moon and a star over a very long sentence that goes on");
        let labels = [Label { text: "", box_px: [10, 10, 60, 40], score: None }];
        shown.labels = &labels;
        let mut canvas = Canvas::new(Point::zero(), Size::new(220, 180));
        let Ok(()) = shown.draw(&mut canvas);
        // Two lines of 10 pixels; the picture is 2.2 times as large.
        let (top, left) = ((160 - 110) / 2, 0);
        let red = Rgb888::new(230, 25, 75);
        let reds: Vec<Point> = canvas.points.iter().filter(|(_, c)| **c == red).map(|(p, _)| *p).collect();
        let span =
            |v: fn(&Point) -> i32| (reds.iter().map(v).min().unwrap(), reds.iter().map(v).max().unwrap());
        assert_eq!(span(|p| p.x), (left + 22, left + 131));
        assert_eq!(span(|p| p.y), (top + 22, top + 87));
        let lit = |from: i32, to: i32| {
            canvas.points.iter().filter(|(p, c)| (from..to).contains(&p.y) && **c == Rgb888::WHITE).count()
        };
        assert!(lit(160, 170) > 100 && lit(170, 180) > 30 && lit(0, 160) == 0);
    }

    #[test]
    fn absurd_sizes_and_captions_do_no_harm() {
        let long = "x".repeat(999);
        for size in [(1, 1), (1, 300), (300, 1), (3, 7), (0, 5), (64, 64)] {
            for caption in ["", " ", "tab\t\u{1b}", "\u{1f680} \u{4e2d}", &long] {
                let data = data(9, 9);
                let Ok(()) = view(&data, 9, 9, caption).draw(&mut Canvas::new(Point::zero(), size.into()));
            }
        }
        let gray = Frame::new(&[9], 1, 1, PixelFormat::Gray8).unwrap();
        let mut display = MockDisplay::<Rgb888>::new();
        display.set_allow_overdraw(true);
        View { frame: gray, labels: &[], caption: "" }.draw(&mut display).unwrap();
        assert_eq!(display.get_pixel(Point::new(63, 63)), Some(Rgb888::new(9, 9, 9)));
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("a moon  and\na star", 8), ["a moon", "and a", "star"]);
        assert_eq!(wrap("extraordinary", 5), ["extra", "ordin", "ary"]);
        assert_eq!(wrap("", 5), [""; 0]);
        assert_eq!(wrap("ab", 0), [""; 0]);
    }
}
