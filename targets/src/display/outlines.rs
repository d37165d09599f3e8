//! The view for displays in black and white: where the picture is and what was found in it, as outlines, and the words.
//!
//! The picture is left out. A few thousand black or white pixels show little of it and hide the labels, and e-paper would
//! go on showing a person who has long been gone.

use super::View;
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyleBuilder, Rectangle, StrokeAlignment};
use embedded_graphics::text::{Baseline, Text};

const INK: BinaryColor = BinaryColor::On;
const PAPER: BinaryColor = BinaryColor::Off;

impl View<'_> {
    /// Draws the border of the picture, boxes with labels, and the words.
    ///
    /// # Errors
    /// The target's own.
    pub fn draw_outlines<D: DrawTarget<Color = BinaryColor>>(&self, target: &mut D) -> Result<(), D::Error> {
        let screen = target.bounding_box();
        if screen.is_zero_sized() {
            return Ok(());
        }
        let layout = self.layout(screen.size);
        let place = layout.place;
        target.clear(PAPER)?;
        let mut area = target.cropped(&Rectangle::new(screen.top_left + place.top_left, place.size));
        outline(&mut area, [0, 0, place.size.width, place.size.height], 1)?;
        let labels = self.scaled(place.size);
        for label in &labels {
            outline(&mut area, label.box_px, 2)?;
        }
        // After all boxes, so that no line crosses a word.
        let letter = layout.font.character_size;
        for label in &labels {
            let letters = label.text.chars().count() as u32;
            let size = Size::new(letters * letter.width + 2, letter.height);
            let left = label.box_px[0].min(place.size.width.saturating_sub(size.width));
            let top = label.box_px[1].min(place.size.height.saturating_sub(size.height));
            let corner = Point::new(left as i32, top as i32);
            area.fill_solid(&Rectangle::new(corner, size), PAPER)?;
            let style = MonoTextStyle::new(layout.font, INK);
            Text::with_baseline(label.text, corner + Point::new(1, 0), style, Baseline::Top)
                .draw(&mut area)?;
        }
        layout.write(target, INK)
    }
}

fn outline<D: DrawTarget<Color = BinaryColor>>(
    target: &mut D,
    [x0, y0, x1, y1]: [u32; 4],
    width: u32,
) -> Result<(), D::Error> {
    let size = Size::new(x1.saturating_sub(x0), y1.saturating_sub(y0));
    let style = PrimitiveStyleBuilder::new()
        .stroke_color(INK)
        .stroke_width(width)
        .stroke_alignment(StrokeAlignment::Inside)
        .build();
    Rectangle::new(Point::new(x0 as i32, y0 as i32), size).into_styled(style).draw(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::display::Canvas;
    use pg_runtime::imaging::{Frame, PixelFormat};
    use pg_runtime::pictures::Label;

    #[test]
    fn boxes_and_words_are_there_and_the_picture_is_not() {
        let data = [0; 100 * 50 * 3];
        let frame = Frame::new(&data, 100, 50, PixelFormat::Rgb8).unwrap();
        let labels = [
            Label { text: "cat", box_px: [10, 10, 60, 40], score: None },
            Label { text: "far right", box_px: [98, 48, 100, 50], score: None },
        ];
        let mut canvas = Canvas::new(Size::new(220, 120), PAPER);
        let Ok(()) = View { frame, labels: &labels, caption: "a cat" }.draw_outlines(&mut canvas);
        // One line of 10 pixels below; the picture is 2.2 times as large.
        let is_ink = |x: i32, y: i32| canvas.pixels()[(y * 220 + x) as usize] == INK;
        let ink = |x: std::ops::Range<i32>, y: std::ops::Range<i32>| {
            y.flat_map(|y| x.clone().map(move |x| (x, y))).filter(|(x, y)| is_ink(*x, *y)).count()
        };
        assert_eq!(ink(0..220, 0..1), 220, "the picture's border");
        assert_eq!(ink(1..219, 1..22), 0, "a black picture is not shown");
        assert_eq!(ink(30..131, 86..88), 202, "the box's lower side");
        assert_eq!(ink(1..22, 30..60), 0);
        let words = |x, y| (20..60).contains(&ink(x, y));
        assert!(words(23..41, 22..32), "the label's {}", ink(23..41, 22..32));
        assert!(ink(165..219, 100..110) > 60, "a label at the edge is moved inside");
        assert!(words(0..30, 110..120) && ink(30..220, 110..120) == 0, "the caption");
    }

    #[test]
    fn absurd_sizes_do_no_harm() {
        let data = [0; 3];
        let frame = Frame::new(&data, 1, 1, PixelFormat::Rgb8).unwrap();
        let labels = [Label { text: "a long label", box_px: [0, 0, 1, 1], score: None }];
        for size in [(0, 5), (1, 1), (1, 300), (300, 1), (3, 7)] {
            let mut canvas = Canvas::new(size.into(), PAPER);
            let Ok(()) = View { frame, labels: &labels, caption: "words" }.draw_outlines(&mut canvas);
        }
    }
}
