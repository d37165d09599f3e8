//! A Linux framebuffer (`/dev/fb0`) as a target of `embedded-graphics`.
//!
//! Packed pixels of 16, 24 or 32 bits, with the colours where the driver says that they are. What is drawn is visible
//! at once on some displays and after [`Framebuffer::flush`] on all.

use super::{Display, View};
use crate::ioctl::{self, Bits, Screen, ScreenMemory};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::Rectangle;
use memmap2::MmapMut;
use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

/// No display is larger; it bounds all products.
const MOST_PIXELS: u32 = 16_384;

/// A display that is drawn on.
#[derive(Debug)]
pub struct Framebuffer {
    memory: MmapMut,
    file: File,
    layout: Layout,
}

/// Where the pixels lie, checked to be inside the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    width: u32,
    height: u32,
    /// First byte of the first visible pixel.
    start: usize,
    /// Bytes from one row to the next.
    stride: usize,
    /// Bytes of a pixel: 2, 3 or 4.
    bytes: usize,
    /// Red, green, blue.
    colors: [Bits; 3],
}

impl Framebuffer {
    /// Opens the framebuffer at `path`.
    ///
    /// # Errors
    /// Which path, what is wrong, what to do.
    pub fn open(path: &Path) -> Result<Self, String> {
        Self::start(path).map_err(|reason| format!("{}: {reason}", path.display()))
    }

    fn start(path: &Path) -> Result<Self, String> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(|e| match e.kind() {
            ErrorKind::NotFound => {
                "there is no such display; /dev/fb* are those that the system knows".into()
            }
            ErrorKind::PermissionDenied => {
                "may not be opened: add the user to the group video, or ask as root".into()
            }
            _ => format!("cannot be opened: {e}"),
        })?;
        let (mut screen, mut memory): (Screen, ScreenMemory) = (ioctl::zeroed(), ioctl::zeroed());
        ioctl::ask(&file, &ioctl::SCREEN, &mut screen)
            .and_then(|()| ioctl::ask(&file, &ioctl::SCREEN_MEMORY, &mut memory))
            .map_err(|e| format!("is not a framebuffer: {e}; name another /dev/fb*"))?;
        let layout = Layout::of(&screen, &memory)?;
        let memory =
            ioctl::map(&file, 0, memory.bytes as usize).map_err(|e| format!("cannot be mapped: {e}"))?;
        Ok(Framebuffer { memory, file, layout })
    }

    /// Shows what was drawn, on displays to which the driver copies it.
    ///
    /// # Errors
    /// What the system said.
    pub fn flush(&self) -> Result<(), String> {
        match self.file.sync_all() {
            // Drivers that need no copy do not know the request.
            Err(e) if e.kind() != ErrorKind::InvalidInput => {
                Err(format!("the display cannot be updated: {e}"))
            }
            _ => Ok(()),
        }
    }
}

impl Layout {
    fn of(screen: &Screen, memory: &ScreenMemory) -> Result<Self, String> {
        const TRUE_COLOR: u32 = 2;
        const DIRECT_COLOR: u32 = 4;
        let (width, height) = (screen.width, screen.height);
        let sides = 1..=MOST_PIXELS;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(format!("the driver tells of {width} x {height} pixels: is a display connected?"));
        }
        let bits = screen.bits_per_pixel;
        let colors = [screen.red, screen.green, screen.blue];
        let fits = |c: &Bits| (1..=8).contains(&c.length) && c.msb_right == 0 && c.offset <= bits - c.length;
        if memory.layout != 0
            || ![TRUE_COLOR, DIRECT_COLOR].contains(&memory.visual)
            || screen.grayscale != 0
            || ![16, 24, 32].contains(&bits)
            || !colors.iter().all(fits)
        {
            return Err(format!(
                "has pixels of {bits} bits in a layout that is not supported; 16, 24 and 32 bits of red, green and blue are"
            ));
        }
        let (bytes, stride) = (bits as usize / 8, memory.bytes_per_line as usize);
        let row = (screen.x_offset as usize).saturating_add(width as usize) * bytes;
        let rows = (screen.y_offset as usize).saturating_add(height as usize);
        if stride < row || stride.checked_mul(rows).is_none_or(|n| n > memory.bytes as usize) {
            return Err(format!(
                "the driver contradicts itself: {rows} rows of {row} bytes, every {stride}, in {} bytes",
                memory.bytes
            ));
        }
        let start = screen.y_offset as usize * stride + screen.x_offset as usize * bytes;
        Ok(Layout { width, height, start, stride, bytes, colors })
    }

    /// The bytes of a colour; the first `self.bytes` count.
    fn pack(&self, color: Rgb888) -> [u8; 4] {
        let values = [color.r(), color.g(), color.b()];
        let pixel = self.colors.iter().zip(values).fold(0_u32, |pixel, (bits, value)| {
            pixel | (u32::from(value) >> (8 - bits.length)) << bits.offset
        });
        // In the processor's order, except that 24 bits have none; drivers have the lowest byte first.
        if self.bytes == 2 {
            let [a, b] = (pixel as u16).to_ne_bytes();
            return [a, b, 0, 0];
        }
        if self.bytes == 4 { pixel.to_ne_bytes() } else { pixel.to_le_bytes() }
    }

    /// Where a point lies in the memory; nothing outside the display.
    fn at(&self, point: Point) -> Option<usize> {
        let (x, y) = (u32::try_from(point.x).ok()?, u32::try_from(point.y).ok()?);
        let is_inside = x < self.width && y < self.height;
        is_inside.then(|| self.start + y as usize * self.stride + x as usize * self.bytes)
    }

    fn put(&self, memory: &mut [u8], point: Point, color: Rgb888) {
        if let Some(at) = self.at(point) {
            memory[at..][..self.bytes].copy_from_slice(&self.pack(color)[..self.bytes]);
        }
    }

    fn fill(&self, memory: &mut [u8], area: &Rectangle, color: Rgb888) {
        let area = area.intersection(&Rectangle::new(Point::zero(), Size::new(self.width, self.height)));
        let packed = self.pack(color);
        for y in area.rows() {
            let Some(at) = self.at(Point::new(area.top_left.x, y)) else { continue };
            let row = &mut memory[at..][..area.size.width as usize * self.bytes];
            row.chunks_exact_mut(self.bytes).for_each(|pixel| pixel.copy_from_slice(&packed[..self.bytes]));
        }
    }
}

impl Display for Framebuffer {
    fn show(&mut self, view: &View<'_>, _: Instant) -> Result<Option<Duration>, String> {
        let Ok(()) = view.draw(self);
        self.flush().map(|()| None)
    }
}

impl OriginDimensions for Framebuffer {
    fn size(&self) -> Size {
        Size::new(self.layout.width, self.layout.height)
    }
}

impl DrawTarget for Framebuffer {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(point, color) in pixels {
            self.layout.put(&mut self.memory, point, color);
        }
        Ok(())
    }

    fn fill_solid(&mut self, area: &Rectangle, color: Rgb888) -> Result<(), Infallible> {
        self.layout.fill(&mut self.memory, area, color);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RGB565: [[u32; 2]; 3] = [[11, 5], [5, 6], [0, 5]];
    const XRGB: [[u32; 2]; 3] = [[16, 8], [8, 8], [0, 8]];
    const BGR: [[u32; 2]; 3] = [[0, 8], [8, 8], [16, 8]];

    fn asked(
        size: [u32; 2],
        bits: u32,
        colors: [[u32; 2]; 3],
        stride: u32,
        bytes: u32,
    ) -> (Screen, ScreenMemory) {
        let (mut screen, mut memory): (Screen, ScreenMemory) = (ioctl::zeroed(), ioctl::zeroed());
        [screen.width, screen.height] = size;
        screen.bits_per_pixel = bits;
        [screen.red, screen.green, screen.blue] =
            colors.map(|[offset, length]| Bits { offset, length, msb_right: 0 });
        (memory.bytes_per_line, memory.bytes, memory.visual) = (stride, bytes, 2);
        (screen, memory)
    }

    #[test]
    fn colours_go_where_the_driver_has_them() {
        let color = Rgb888::new(0x12, 0x84, 0xff);
        for (bits, colors, bytes) in [
            // 0x12 >> 3 = 2, 0x84 >> 2 = 33, 31.
            (16, RGB565, &[0x3f, 0x14][..]),
            (24, XRGB, &[0xff, 0x84, 0x12]),
            (24, BGR, &[0x12, 0x84, 0xff]),
            (32, XRGB, &[0xff, 0x84, 0x12, 0]),
            (32, BGR, &[0x12, 0x84, 0xff, 0]),
        ] {
            let n = bytes.len() as u32;
            // Three pixels a row, of which one is left of the display, and one row above it.
            let (mut screen, memory) = asked([2, 2], bits, colors, 3 * n + 1, 3 * (3 * n + 1));
            (screen.x_offset, screen.y_offset) = (1, 1);
            let layout = Layout::of(&screen, &memory).unwrap();
            let mut memory = vec![0xee; memory.bytes as usize];
            for point in [Point::new(-1, 0), Point::new(2, 0), Point::new(0, 2), Point::new(0, i32::MIN)] {
                layout.put(&mut memory, point, color);
            }
            layout.fill(&mut memory, &Rectangle::new(Point::new(-5, 2), Size::new(9, 9)), color);
            assert!(memory.iter().all(|&b| b == 0xee), "outside");
            layout.put(&mut memory, Point::new(1, 0), color);
            let at = bytes.len() * 3 + 1 + bytes.len() * 2;
            assert_eq!(&memory[at..][..bytes.len()], bytes);
            memory[at..][..bytes.len()].fill(0xee);
            assert!(memory.iter().all(|&b| b == 0xee), "nothing else");
            layout.fill(&mut memory, &Rectangle::new(Point::new(-5, -5), Size::new(90, 90)), color);
            let painted = memory.iter().filter(|&&b| b != 0xee).count();
            assert_eq!(painted, 4 * bytes.len());
        }
    }

    #[test]
    fn what_a_driver_says_is_checked() {
        let refused = |(screen, memory): (Screen, ScreenMemory), complaint: &str| {
            let error = Layout::of(&screen, &memory).unwrap_err();
            assert!(error.contains(complaint), "{error}");
        };
        refused(asked([0, 2], 32, XRGB, 8, 16), "0 x 2 pixels");
        refused(asked([2, 2], 8, XRGB, 8, 16), "8 bits");
        refused(asked([2, 2], 0, XRGB, 8, 16), "0 bits");
        refused(asked([2, 2], 16, XRGB, 8, 16), "not supported");
        refused(asked([2, 2], 32, [[u32::MAX, 8], [8, 8], [0, 8]], 8, 16), "not supported");
        refused(asked([2, 2], 32, [[16, 0], [8, 8], [0, 8]], 8, 16), "not supported");
        refused(asked([2, 2], 32, XRGB, 7, 16), "contradicts itself");
        refused(asked([2, 2], 32, XRGB, 8, 15), "contradicts itself");
        refused(asked([2, 16_384], 32, XRGB, u32::MAX, u32::MAX), "contradicts itself");
        let mut moved = asked([2, 2], 32, XRGB, 8, 16);
        (moved.0.x_offset, moved.0.y_offset) = (u32::MAX, u32::MAX);
        refused(moved, "contradicts itself");
        let mut planes = asked([2, 2], 32, XRGB, 8, 16);
        planes.1.layout = 1;
        refused(planes, "not supported");
        assert!(Framebuffer::open(Path::new("/dev/null")).unwrap_err().contains("is not a framebuffer"));
        assert!(Framebuffer::open(Path::new("/no/fb")).unwrap_err().contains("no such display"));
    }
}
