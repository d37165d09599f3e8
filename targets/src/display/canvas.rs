//! A picture in memory to draw on, for displays that take whole pictures.

use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use std::convert::Infallible;

/// Rows of pixels, from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canvas<C> {
    size: Size,
    /// [height, width]
    pixels: Vec<C>,
}

impl<C: PixelColor> Canvas<C> {
    /// A canvas of one colour.
    pub fn new(size: Size, color: C) -> Self {
        Canvas { size, pixels: vec![color; (size.width * size.height) as usize] }
    }

    /// All pixels, row by row.
    pub fn pixels(&self) -> &[C] {
        &self.pixels
    }

    /// Each pixel with its place.
    pub fn places(&self) -> impl Iterator<Item = (Point, C)> + '_ {
        self.bounding_box().points().zip(self.pixels.iter().copied())
    }
}

impl<C> OriginDimensions for Canvas<C> {
    fn size(&self) -> Size {
        self.size
    }
}

impl<C: PixelColor> DrawTarget for Canvas<C> {
    type Color = C;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<C>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        let area = self.bounding_box();
        for Pixel(point, color) in pixels {
            if area.contains(point) {
                self.pixels[point.y as usize * self.size.width as usize + point.x as usize] = color;
            }
        }
        Ok(())
    }

    fn fill_solid(&mut self, area: &Rectangle, color: C) -> Result<(), Infallible> {
        let area = area.intersection(&self.bounding_box());
        let left = area.top_left.x as usize;
        for y in area.rows() {
            let row = &mut self.pixels[y as usize * self.size.width as usize..];
            row[left..left + area.size.width as usize].fill(color);
        }
        Ok(())
    }
}
