//! What the screen shows: the picture, enlarged, with boxes and labels; beside it what was asked and found; the caption
//! below.

use crate::Seen;
use crate::picture::Picture;
use alloc::format;
use alloc::vec::Vec;
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::FONT_8X13;
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use embedded_graphics::text::{Baseline, Text};
use pg_runtime::pictures::{Label, paint};

/// In pixels.
pub const WIDTH: u32 = 640;
/// In pixels.
pub const HEIGHT: u32 = 480;

/// Side of the square at the top left that the picture is enlarged into, by a whole number of times.
const PICTURE_SIDE: u32 = 448;
/// Around texts.
const MARGIN: i32 = 4;
const GROUND: Rgb888 = Rgb888::new(16, 24, 32);
const INK: Rgb888 = Rgb888::WHITE;

/// Draws everything on a target of [`WIDTH`] by [`HEIGHT`].
///
/// # Errors
/// The target's own.
pub fn draw<D: DrawTarget<Color = Rgb888>>(
    target: &mut D,
    picture: &Picture<'_>,
    seen: &Seen,
) -> Result<(), D::Error> {
    target.clear(GROUND)?;
    let scale = (PICTURE_SIDE as usize / picture.width.max(picture.height)).max(1);
    let size = Size::new((picture.width * scale) as u32, (picture.height * scale) as u32);
    let area = Rectangle::new(Point::zero(), size);
    let pixels = area.points().map(|p| {
        let [r, g, b] = picture.pixel(p.x as usize / scale, p.y as usize / scale);
        Rgb888::new(r, g, b)
    });
    target.fill_contiguous(&area, pixels)?;

    let found = &seen.found;
    let boxes: Vec<[u32; 4]> = found.iter().map(|f| f.bbox.pixels(size.width, size.height)).collect();
    let labels: Vec<Label<'_>> =
        found.iter().zip(&boxes).map(|(f, &box_px)| Label { text: &f.label, box_px, score: None }).collect();
    paint(&mut target.cropped(&area), &labels)?;

    let side = PICTURE_SIDE as i32;
    let mut column = Vec::from(crate::PROMPTS.map(|prompt| format!("> {prompt}")));
    column.extend(
        found.iter().zip(&boxes).map(|(f, b)| format!("{} {},{} {},{}", f.label, b[0], b[1], b[2], b[3])),
    );
    let at = Point::new(side + MARGIN, MARGIN);
    write(target, column.iter().map(|text| text.as_str()), at)?;
    write(target, [seen.caption.as_str()], Point::new(MARGIN, side + MARGIN / 2))
}

/// Writes `texts` below each other from `at` on, each on as many lines as it takes.
fn write<'a, D: DrawTarget<Color = Rgb888>>(
    target: &mut D,
    texts: impl IntoIterator<Item = &'a str>,
    mut at: Point,
) -> Result<(), D::Error> {
    let (style, letter) = (MonoTextStyle::new(&FONT_8X13, INK), FONT_8X13.character_size);
    let letters = (WIDTH as i32 - MARGIN - at.x) as usize / letter.width as usize;
    for line in texts.into_iter().flat_map(|text| wrapped(text, letters)) {
        Text::with_baseline(line, at, style, Baseline::Top).draw(target)?;
        at.y += letter.height as i32;
    }
    Ok(())
}

/// `text` in lines of at most `letters` letters, broken between words where there are any.
fn wrapped(text: &str, letters: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text.trim();
    while let Some((end, _)) = rest.char_indices().nth(letters) {
        let at = rest[..end].rfind(' ').filter(|&at| at > 0).unwrap_or(end);
        lines.push(&rest[..at]);
        rest = rest[at..].trim_start();
    }
    lines.push(rest);
    lines
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn texts_are_broken_between_words() {
        assert_eq!(wrapped("", 5), [""]);
        assert_eq!(wrapped("a red ring", 10), ["a red ring"]);
        assert_eq!(wrapped("a red ring", 9), ["a red", "ring"]);
        assert_eq!(wrapped("extraordinary \u{e9}t\u{e9}", 6), ["extrao", "rdinar", "y \u{e9}t\u{e9}"]);
    }
}
