//! The picture in the program's image: a binary PPM file (P6), the simplest of RGB files.

use pg_runtime::error::InputError;
use pg_runtime::{Frame, PixelFormat};

/// A picture, three bytes a pixel, rows without gaps.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// `width * height * 3` bytes.
    pub rgb: &'a [u8],
}

impl<'a> Picture<'a> {
    /// Reads a file without comments, `P6 WIDTH HEIGHT 255` and one space or line end before the pixels; `None` if
    /// `file` is none.
    pub fn from_ppm(file: &'a [u8]) -> Option<Self> {
        let mut rest = file;
        let mut word = || {
            let end = rest.iter().position(u8::is_ascii_whitespace)?;
            let word = core::str::from_utf8(&rest[..end]).ok()?;
            rest = &rest[end + 1..];
            Some(word)
        };
        if word()? != "P6" {
            return None;
        }
        let (width, height) = (word()?.parse::<usize>().ok()?, word()?.parse::<usize>().ok()?);
        if word()? != "255" || width.checked_mul(height)?.checked_mul(3)? != rest.len() {
            return None;
        }
        Some(Picture { width, height, rgb: rest })
    }

    /// The picture as the runtime takes it.
    ///
    /// # Errors
    /// [`InputError`] if it is empty or too large.
    pub fn frame(&self) -> Result<Frame<'a>, InputError> {
        Frame::new(self.rgb, self.width, self.height, PixelFormat::Rgb8)
    }

    /// The colour of a pixel.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let at = (y * self.width + x) * 3;
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_whole_or_not_at_all() {
        let picture = Picture::from_ppm(b"P6\n2 1\n255\n\n 3456").unwrap();
        assert_eq!((picture.width, picture.height), (2, 1));
        assert_eq!((picture.pixel(0, 0), picture.pixel(1, 0)), (*b"\n 3", *b"456"));
        assert!(picture.frame().is_ok());
        let huge = b"P6 4294967296 4294967296 255 ";
        for bad in [
            &b""[..],
            b"P5 1 1 255 1",
            b"P6 1 1 254 123",
            b"P6 1 1 255 12",
            b"P6 1 1 255 1234",
            b"P6 1 -1 255 ",
            huge,
        ] {
            assert!(Picture::from_ppm(bad).is_none(), "{bad:?}");
        }
    }
}
