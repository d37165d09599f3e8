//! The picture as the caller holds it: a borrowed, checked view of u8 pixels.

use crate::error::InputError;

/// No frame may have a longer side; it bounds every product in this room to 32 bits.
pub const MAX_SIDE: usize = 16_384;

/// A picture that somebody else owns. Having one means that every row lies inside the buffer.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    data: &'a [u8],
    width: usize,
    height: usize,
    stride: usize,
    format: PixelFormat,
}

impl<'a> Frame<'a> {
    /// Rows that follow each other without gaps; `data` must have exactly the length this gives.
    pub fn new(data: &'a [u8], width: usize, height: usize, format: PixelFormat) -> Result<Self, InputError> {
        let frame = Self::with_stride(data, width, height, width.saturating_mul(format.bytes()), format)?;
        let expected = frame.stride * height;
        if data.len() != expected {
            // A longer buffer usually is one of another format or size: refuse rather than show a skewed picture.
            return Err(InputError::FrameBuffer { expected, found: data.len() });
        }
        Ok(frame)
    }

    /// Rows that start every `stride` bytes, as camera drivers deliver them. `data` may be longer than needed, and
    /// the last row need not be padded.
    pub fn with_stride(
        data: &'a [u8],
        width: usize,
        height: usize,
        stride: usize,
        format: PixelFormat,
    ) -> Result<Self, InputError> {
        if width == 0 || height == 0 {
            return Err(InputError::EmptyFrame);
        }
        if width > MAX_SIDE || height > MAX_SIDE {
            return Err(InputError::FrameTooLarge { width, height, max_side: MAX_SIDE });
        }
        let row_bytes = width * format.bytes();
        if stride < row_bytes {
            return Err(InputError::FrameStride { stride, row_bytes });
        }
        let expected = stride.checked_mul(height - 1).and_then(|n| n.checked_add(row_bytes));
        match expected {
            Some(n) if n <= data.len() => Ok(Frame { data, width, height, stride, format }),
            _ => Err(InputError::FrameBuffer { expected: expected.unwrap_or(usize::MAX), found: data.len() }),
        }
    }

    /// Pixels per row.
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub const fn height(&self) -> usize {
        self.height
    }

    /// How a pixel is stored.
    pub const fn format(&self) -> PixelFormat {
        self.format
    }

    /// The pixels of row `y`, without padding; empty below the last row.
    pub fn row(&self, y: usize) -> &'a [u8] {
        if y >= self.height {
            return &[];
        }
        let start = y * self.stride;
        &self.data[start..start + self.width * self.format.bytes()]
    }
}

/// How one pixel is stored, 8 bits per channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelFormat {
    /// One byte; used for all three channels.
    Gray8,
    /// Red, green, blue.
    Rgb8,
    /// Red, green, blue, and an alpha that is ignored (colours are taken as they are stored, not premultiplied).
    Rgba8,
}

impl PixelFormat {
    /// Bytes of one pixel.
    pub const fn bytes(self) -> usize {
        match self {
            PixelFormat::Gray8 => 1,
            PixelFormat::Rgb8 => 3,
            PixelFormat::Rgba8 => 4,
        }
    }
}
