//! One picture in memory that is used again and again.

use pg_runtime::pictures::Picture;
use pg_runtime::{Frame, PixelFormat};
use std::time::{Instant, SystemTime};

/// A picture of 8-bit RGB, and when it was taken. Its memory grows to the largest picture it has held and then stays.
#[derive(Debug, Clone)]
pub struct FrameBuffer {
    width: usize,
    height: usize,
    /// `[height, width, 3]`
    data: Vec<u8>,
    captured: Instant,
    wall: SystemTime,
}

impl FrameBuffer {
    /// One black pixel, until a source puts a picture in its place.
    pub fn new() -> Self {
        FrameBuffer {
            width: 1,
            height: 1,
            data: vec![0; 3],
            captured: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// Pixels per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// `[height, width, 3]`
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// `[height, width, 3]`, to draw or to hide something in it.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// When it was taken, as near as can be known.
    pub fn captured(&self) -> Instant {
        self.captured
    }

    /// The same moment by the clock on the wall.
    pub fn wall(&self) -> SystemTime {
        self.wall
    }

    /// The picture as the runtime takes it.
    pub fn frame(&self) -> Frame<'_> {
        Frame::new(&self.data, self.width, self.height, PixelFormat::Rgb8).expect("`reset` made it this size")
    }

    /// Memory for a picture of another size, `[height, width, 3]`; what is in it is left over from earlier ones.
    ///
    /// # Panics
    /// If a side is 0 or longer than [`MAX_SIDE`](pg_runtime::imaging::MAX_SIDE): whoever reads sizes from outside
    /// checks them first.
    pub fn reset(&mut self, width: usize, height: usize) -> &mut [u8] {
        let sides = 1..=pg_runtime::imaging::MAX_SIDE;
        assert!(sides.contains(&width) && sides.contains(&height), "a picture of {width} x {height} pixels");
        (self.width, self.height) = (width, height);
        self.data.resize(width * height * 3, 0);
        &mut self.data
    }

    /// The same for a picture that `make` puts there; if it fails, what was there before is black.
    pub(crate) fn fill<E>(
        &mut self,
        width: usize,
        height: usize,
        make: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let made = make(self.reset(width, height));
        if made.is_err() {
            self.data.fill(0);
        }
        made
    }

    /// Becomes a copy of a picture that was decoded.
    ///
    /// # Panics
    /// As [`FrameBuffer::reset`].
    pub fn show(&mut self, picture: &Picture) {
        let out = self.reset(picture.width() as usize, picture.height() as usize);
        match picture.format() {
            PixelFormat::Gray8 => {
                for (pixel, &gray) in out.as_chunks_mut::<3>().0.iter_mut().zip(picture.data()) {
                    *pixel = [gray; 3];
                }
            }
            _ => out.copy_from_slice(picture.data()),
        }
    }

    /// Says when the picture was taken.
    pub fn set_time(&mut self, captured: Instant, wall: SystemTime) {
        (self.captured, self.wall) = (captured, wall);
    }

    /// Becomes a copy of `other`, in the memory that is here.
    pub fn copy_from(&mut self, other: &FrameBuffer) {
        self.reset(other.width, other.height).copy_from_slice(&other.data);
        self.set_time(other.captured, other.wall);
    }
}

impl Default for FrameBuffer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_stays_when_sizes_change() {
        let mut buffer = FrameBuffer::new();
        assert_eq!((buffer.frame().width(), buffer.frame().height()), (1, 1));
        buffer.reset(40, 30).fill(7);
        let place = buffer.data().as_ptr();
        for (width, height) in [(4, 3), (30, 40), (1, 1200)] {
            buffer.reset(width, height);
            assert_eq!(buffer.frame().row(height - 1).len(), width * 3);
            assert_eq!(buffer.data().as_ptr(), place);
        }
        let mut other = FrameBuffer::new();
        other.copy_from(&buffer);
        assert_eq!((other.width(), other.height(), other.captured()), (1, 1200, buffer.captured()));
    }
}
