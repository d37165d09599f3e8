//! Pixels of 32 bits in memory as a target of `embedded-graphics`: the board's frame buffer, or a picture of it.

use core::convert::Infallible;
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;

/// Rows of pixels, each `0x00RRGGBB`.
#[derive(Debug)]
pub struct Canvas<'a> {
    pixels: &'a mut [u32],
    size: Size,
    /// Pixels from one row to the next.
    stride: usize,
}

impl<'a> Canvas<'a> {
    /// A canvas of `width` by `height` pixels in rows that start every `stride` pixels; `None` if they do not fit.
    pub fn new(pixels: &'a mut [u32], width: u32, height: u32, stride: usize) -> Option<Self> {
        let fits = stride >= width as usize && stride.checked_mul(height as usize)? <= pixels.len();
        fits.then_some(Canvas { pixels, size: Size::new(width, height), stride })
    }

    /// The memory behind it.
    pub fn into_pixels(self) -> &'a mut [u32] {
        self.pixels
    }
}

impl OriginDimensions for Canvas<'_> {
    fn size(&self) -> Size {
        self.size
    }
}

impl DrawTarget for Canvas<'_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        let area = self.bounding_box();
        for Pixel(point, color) in pixels {
            if area.contains(point) {
                self.pixels[point.y as usize * self.stride + point.x as usize] = color.into_storage();
            }
        }
        Ok(())
    }
}
