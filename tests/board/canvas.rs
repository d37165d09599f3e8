//! What a display has to show: the view that `pg-run --display` draws, on a canvas in memory.
//!
//! `board-canvas PICTURE REPORT WIDTH HEIGHT OUT`: a picture file, the JSON line of `pg-run detect` about it (or of anything
//! else that has its own `caption`), and the display's size in pixels; writes a PPM file. `tests/board/run` compares it with a dump of the emulated screen.

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use image::RgbImage;
use pg_runtime::pictures::{self, Label};
use pg_targets::display::View;
use std::convert::Infallible;
use std::error::Error;
use std::path::Path;

struct Canvas(RgbImage);

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        self.0.dimensions().into()
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(point, color) in pixels {
            if let Some(pixel) = self.0.get_pixel_mut_checked(point.x as u32, point.y as u32) {
                pixel.0 = [color.r(), color.g(), color.b()];
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [picture, report, width, height, out] = words.as_slice() else {
        return Err("usage: board-canvas PICTURE REPORT WIDTH HEIGHT OUT".into());
    };
    let picture = pictures::load(Path::new(picture))?;
    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(report)?)?;
    let objects = report["objects"].as_array().ok_or("no objects")?;
    let mut labels = Vec::new();
    for object in objects {
        labels.push(Label {
            text: object["label"].as_str().ok_or("no label")?,
            box_px: serde_json::from_value(object["box_px"].clone())?,
            score: object["score"].as_f64().map(|score| score as f32),
        });
    }
    let names: Vec<&str> = labels.iter().map(|label| label.text).collect();
    let caption = match report["caption"].as_str() {
        Some(caption) => caption.into(),
        None if names.is_empty() => "nothing found".into(),
        None => names.join(", "),
    };
    let mut canvas = Canvas(RgbImage::new(width.parse()?, height.parse()?));
    let Ok(()) = View { frame: picture.frame(), labels: &labels, caption: &caption }.draw(&mut canvas);
    let ppm = [format!("P6 {width} {height} 255\n").as_bytes(), canvas.0.as_raw()].concat();
    std::fs::write(out, ppm)?;
    Ok(())
}
