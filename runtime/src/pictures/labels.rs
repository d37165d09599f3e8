//! Boxes and labels drawn on whatever shows a picture: a picture in memory, a display, a firmware's frame buffer.
//!
//! Called by programs for answers with boxes. In: boxes in pixels of the target. Nothing is ever drawn outside it:
//! boxes and bars are clamped to it, text is cut. Needs no `std`.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle, iso_8859_1 as fonts};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyleBuilder, Rectangle, StrokeAlignment};
use embedded_graphics::text::{Baseline, Text};

/// One object found in the picture.
#[derive(Debug, Clone, Copy)]
pub struct Label<'a> {
    /// What it is.
    pub text: &'a str,
    /// Left, top, right, bottom in pixels; right and bottom are the first outside the box.
    pub box_px: [u32; 4],
    /// How sure the model is, 0 to 1, if known.
    pub score: Option<f32>,
}

/// Told apart easily, on each other and on most pictures; one per distinct text.
const COLORS: [Rgb888; 10] = [
    Rgb888::new(230, 25, 75),
    Rgb888::new(60, 180, 75),
    Rgb888::new(0, 110, 220),
    Rgb888::new(255, 215, 25),
    Rgb888::new(245, 130, 48),
    Rgb888::new(145, 30, 180),
    Rgb888::new(70, 240, 240),
    Rgb888::new(240, 50, 230),
    Rgb888::new(190, 240, 60),
    Rgb888::new(140, 80, 30),
];

/// Draws `objects` on a target that shows the picture and nothing else; boxes are in its pixels.
///
/// # Errors
/// The target's own.
pub fn paint<D: DrawTarget<Color = Rgb888>>(target: &mut D, objects: &[Label<'_>]) -> Result<(), D::Error> {
    let area = target.bounding_box();
    if area.is_zero_sized() {
        return Ok(());
    }
    let look = Look::of(area.size);
    let mut texts: Vec<&str> = Vec::new();
    let mut painted = Vec::new();
    for object in objects {
        let index = texts.iter().position(|t| *t == object.text).unwrap_or_else(|| {
            texts.push(object.text);
            texts.len() - 1
        });
        let color = COLORS[index % COLORS.len()];
        let frame = clamp(object.box_px, area.size);
        let style = PrimitiveStyleBuilder::new()
            .stroke_color(color)
            .stroke_width(look.line)
            .stroke_alignment(StrokeAlignment::Inside)
            .build();
        frame.into_styled(style).draw(&mut target.translated(area.top_left))?;
        painted.push((object, frame, color));
    }
    // Bars come after all boxes, so that no line crosses a text.
    let mut bars: Vec<Rectangle> = Vec::new();
    for (object, frame, color) in painted {
        let text = look.fit(object, area.size.width);
        if text.is_empty() {
            continue;
        }
        let bar = place_bar(look.bar_size(&text), frame, area.size, &bars);
        let mut enlarged =
            Enlarged { target: &mut *target, origin: area.top_left + bar.top_left, scale: look.scale };
        enlarged.fill_solid(&Rectangle::new(Point::zero(), bar.size / look.scale), color)?;
        let luma = 3 * u32::from(color.r()) + 6 * u32::from(color.g()) + u32::from(color.b());
        let ink = if luma > 1300 { Rgb888::BLACK } else { Rgb888::WHITE };
        let style = MonoTextStyle::new(look.font, ink);
        Text::with_baseline(&text, Point::new(PAD, PAD), style, Baseline::Top).draw(&mut enlarged)?;
        bars.push(bar);
    }
    Ok(())
}

/// Pixels of a bar around its text, before scaling.
const PAD: i32 = 1;

/// Line width and letters that suit the picture's size.
struct Look {
    font: &'static MonoFont<'static>,
    /// Pixels of the picture per pixel of the font: the largest font is too small for photographs.
    scale: u32,
    line: u32,
}

impl Look {
    fn of(picture: Size) -> Look {
        let side = picture.width.max(picture.height);
        let font = match side {
            0..320 => &fonts::FONT_4X6,
            320..480 => &fonts::FONT_6X10,
            480..800 => &fonts::FONT_7X13,
            800..1200 => &fonts::FONT_8X13,
            _ => &fonts::FONT_10X20,
        };
        Look { font, scale: side.div_ceil(1800), line: side.div_ceil(400) }
    }

    fn letter_width(&self) -> u32 {
        self.font.character_size.width + self.font.character_spacing
    }

    /// The label on one line, cut where the picture ends; empty if not even one letter fits.
    fn fit(&self, object: &Label<'_>, width: u32) -> String {
        let mut text: String =
            object.text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if let Some(score) = object.score {
            text.push_str(&format!(" {score:.2}"));
        }
        let room = (width / self.scale).saturating_sub(2 * PAD as u32) / self.letter_width();
        match text.char_indices().nth(room as usize) {
            Some((end, _)) => text[..end].to_string(),
            None => text,
        }
    }

    fn bar_size(&self, text: &str) -> Size {
        let letters = text.chars().count() as u32;
        let height = self.font.character_size.height;
        Size::new(letters * self.letter_width() + 2 * PAD as u32, height + 2 * PAD as u32) * self.scale
    }
}

/// The box inside the picture, at least one pixel wide and high.
fn clamp([x0, y0, x1, y1]: [u32; 4], picture: Size) -> Rectangle {
    let (left, top) = (x0.min(x1).min(picture.width - 1), y0.min(y1).min(picture.height - 1));
    let (right, bottom) = (x0.max(x1).min(picture.width), y0.max(y1).min(picture.height));
    let size = Size::new(right.saturating_sub(left).max(1), bottom.saturating_sub(top).max(1));
    Rectangle::new(Point::new(left as i32, top as i32), size)
}

/// Above the box if there is room, else inside it or below: the first place that covers no earlier bar.
fn place_bar(size: Size, frame: Rectangle, picture: Size, bars: &[Rectangle]) -> Rectangle {
    let (top, bottom) = (frame.top_left.y, frame.top_left.y + frame.size.height as i32);
    let height = size.height as i32;
    let lowest = picture.height as i32 - height;
    let left = frame.top_left.x.min(picture.width as i32 - size.width as i32).max(0);
    let at = |y: i32| Rectangle::new(Point::new(left, y.min(lowest).max(0)), size);
    let places = [top - height, top, bottom - height, bottom];
    let inside = places.into_iter().filter(|y| (0..=lowest).contains(y)).map(at);
    let free = |bar: &Rectangle| bars.iter().all(|b| b.intersection(bar).is_zero_sized());
    inside.clone().find(free).or_else(|| inside.clone().next()).unwrap_or_else(|| at(top))
}

/// Part of a target from `origin` on, every pixel `scale` x `scale` large: for letters larger than the largest font.
struct Enlarged<'a, D> {
    target: &'a mut D,
    origin: Point,
    scale: u32,
}

impl<D: DrawTarget> OriginDimensions for Enlarged<'_, D> {
    fn size(&self) -> Size {
        self.target.bounding_box().size / self.scale
    }
}

impl<D: DrawTarget> DrawTarget for Enlarged<'_, D> {
    type Color = D::Color;
    type Error = D::Error;

    fn draw_iter<I: IntoIterator<Item = Pixel<D::Color>>>(&mut self, pixels: I) -> Result<(), D::Error> {
        for Pixel(point, color) in pixels {
            self.fill_solid(&Rectangle::new(point, Size::new_equal(1)), color)?;
        }
        Ok(())
    }

    fn fill_solid(&mut self, area: &Rectangle, color: D::Color) -> Result<(), D::Error> {
        let corner = self.origin + area.top_left * self.scale as i32;
        let area = Rectangle::new(corner, area.size * self.scale);
        self.target.fill_solid(&area.intersection(&self.target.bounding_box()), color)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_of_one_place_do_not_cover_each_other() {
        let frame = Rectangle::new(Point::new(10, 40), Size::new(60, 60));
        let mut bars = Vec::new();
        for _ in 0..4 {
            let bar = place_bar(Size::new(30, 8), frame, Size::new(200, 200), &bars);
            assert!(
                bars.iter().all(|b: &Rectangle| b.intersection(&bar).is_zero_sized()),
                "{bar:?} {bars:?}"
            );
            bars.push(bar);
        }
    }
}
