//! Boxes and labels drawn on a copy of the picture, in its own size, saved as PNG.
//!
//! Called by programs for answers with boxes. In: the picture and boxes in its pixels.

use super::{Label, Picture, paint};
use crate::error::Error;
use crate::imaging::PixelFormat;
use crate::platform::files::PartialFile;
use alloc::string::{String, ToString};
use core::convert::Infallible;
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, RgbImage};
use std::path::Path;

/// Draws `objects` on a copy of `picture` and saves it as a PNG file. `out` is replaced when the new file is complete;
/// on an error it stays as it was.
///
/// # Errors
/// [`Error::Io`] if it cannot be written.
pub fn draw(picture: &Picture, objects: &[Label<'_>], out: &Path) -> Result<(), Error> {
    let mut image = rgb_image(picture);
    let Ok(()) = paint(&mut Canvas(&mut image), objects);
    save(&image, out).map_err(|reason| Error::Io { path: out.display().to_string(), reason })
}

/// A picture in memory as a target.
struct Canvas<'a>(&'a mut RgbImage);

impl OriginDimensions for Canvas<'_> {
    fn size(&self) -> Size {
        self.0.dimensions().into()
    }
}

impl DrawTarget for Canvas<'_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(point, color) in pixels {
            // Negative numbers become too large ones, which the picture does not have either.
            if let Some(pixel) = self.0.get_pixel_mut_checked(point.x as u32, point.y as u32) {
                pixel.0 = [color.r(), color.g(), color.b()];
            }
        }
        Ok(())
    }
}

fn rgb_image(picture: &Picture) -> RgbImage {
    let data = match picture.format() {
        PixelFormat::Gray8 => picture.data().iter().flat_map(|&v| [v; 3]).collect(),
        PixelFormat::Rgb8 => picture.data().to_vec(),
        PixelFormat::Rgba8 => picture.data().chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect(),
    };
    RgbImage::from_raw(picture.width(), picture.height(), data).expect("a picture has all its pixels")
}

fn save(image: &RgbImage, out: &Path) -> Result<(), String> {
    let mut file = PartialFile::create(out).map_err(|e| e.to_string())?;
    PngEncoder::new(&mut file)
        .write_image(image.as_raw(), image.width(), image.height(), ExtendedColorType::Rgb8)
        .map_err(|e| e.to_string())?;
    file.finish().map(drop).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;
    use std::fs;

    const GROUND: [u8; 3] = [7, 77, 177];

    fn ground(width: u32, height: u32) -> RgbImage {
        RgbImage::from_pixel(width, height, image::Rgb(GROUND))
    }

    fn label(text: &str, box_px: [u32; 4]) -> Label<'_> {
        Label { text, box_px, score: None }
    }

    fn paint(image: &mut RgbImage, objects: &[Label<'_>]) {
        let Ok(()) = super::paint(&mut Canvas(image), objects);
    }

    /// Left, top, right, bottom of what was painted.
    fn touched(image: &RgbImage) -> Option<[u32; 4]> {
        let changed = image.enumerate_pixels().filter(|(_, _, p)| p.0 != GROUND);
        changed.fold(None, |b, (x, y, _)| {
            let [l, t, r, e] = b.unwrap_or([x, y, x, y]);
            Some([l.min(x), t.min(y), r.max(x), e.max(y)])
        })
    }

    #[test]
    fn a_box_is_an_outline_inside_its_bounds() {
        let mut image = ground(100, 80);
        paint(&mut image, &[label("", [10, 20, 60, 70])]);
        assert_eq!(touched(&image), Some([10, 20, 59, 69]));
        assert_eq!(image.get_pixel(30, 40).0, GROUND, "the inside shows the picture");
    }

    #[test]
    fn a_label_sits_on_its_box_and_stays_in_the_picture() {
        let mut image = ground(112, 112);
        // Four letters of 4 pixels and a margin; the bar moves left, away from the border.
        paint(&mut image, &[label("moon", [105, 30, 112, 60])]);
        assert_eq!(touched(&image), Some([94, 22, 111, 59]));
        // No room above: the bar is inside the box.
        let mut image = ground(112, 112);
        paint(&mut image, &[label("moon", [0, 0, 50, 50])]);
        assert_eq!(touched(&image), Some([0, 0, 49, 49]));
    }

    #[test]
    fn absurd_boxes_and_texts_do_no_harm() {
        let long = "a description that is much longer than the picture is wide ".repeat(9);
        let texts = [long.as_str(), "", " ", "tab\tand\nline", "\u{1f680} \u{e9}\u{4e2d}"];
        let most = u32::MAX;
        let boxes = [[0; 4], [most; 4], [0, 0, most, most], [most, most, 0, 0], [3, 3, 3, 3], [9, 1, 2, 8]];
        for (width, height) in [(1, 1), (1, 500), (500, 1), (7, 5), (112, 112), (4000, 9)] {
            for text in texts {
                let objects: Vec<Label<'_>> =
                    boxes.iter().map(|&box_px| Label { text, box_px, score: Some(0.5) }).collect();
                let mut image = ground(width, height);
                paint(&mut image, &objects);
                assert_eq!(image.dimensions(), (width, height));
            }
        }
    }

    #[test]
    fn errors_leave_nothing_behind() {
        let folder = std::env::temp_dir().join(format!("pg-annotate-{}", std::process::id()));
        let taken = folder.join("taken.png");
        fs::create_dir_all(&taken).unwrap();
        let image = ground(9, 9);
        let count = || fs::read_dir(&folder).unwrap().count();

        save(&image, &taken).expect_err("a folder of that name is in the way");
        assert_eq!(count(), 1);
        save(&image, &folder.join("none/x.png")).expect_err("there is no such folder");
        save(&image, Path::new("/")).expect_err("no file name");
        let good = folder.join("good.png");
        fs::write(&good, "old").unwrap();
        save(&image, &good).unwrap();
        assert_eq!(count(), 2);
        let picture = super::super::load(&good).unwrap();
        assert_eq!(picture.data(), image.as_raw());
        draw(&picture, &[label("x", [1, 1, 8, 8])], &good).unwrap();
        assert_ne!(super::super::load(&good).unwrap(), picture);
        fs::remove_dir_all(&folder).unwrap();
    }
}
