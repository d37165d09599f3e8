//! The small grey picture of a frame: each pixel is the mean of the frame's pixels that fall on it.

use pg_runtime::{Frame, PixelFormat};

/// Pixels of its height, at most.
pub(super) const MAX_HEIGHT: usize = 100;
/// Of its width, in heights: wider frames are squeezed.
const MAX_RATIO: usize = 4;

/// Pixels of a small picture of this height, at most.
pub(super) fn max_pixels(height: usize) -> usize {
    height * height * MAX_RATIO
}

/// The picture, with memory for the widest one.
#[derive(Debug)]
pub(super) struct Plane {
    max_height: usize,
    width: usize,
    height: usize,
    /// `[height, width]`
    luma: Vec<u8>,
    /// Weighted sums of the frame's pixels that fall on a row of the small picture: `[width]`
    sums: Vec<u64>,
}

impl Plane {
    pub(super) fn new(max_height: usize) -> Self {
        let luma = Vec::with_capacity(max_pixels(max_height));
        Plane { max_height, width: 0, height: 0, luma, sums: Vec::with_capacity(max_height * MAX_RATIO) }
    }

    /// Width and height; zero before the first frame.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// `[height, width]`
    pub(super) fn luma(&self) -> &[u8] {
        &self.luma
    }

    /// Averages a frame into the picture, which takes the frame's ratio.
    pub(super) fn fill(&mut self, frame: &Frame<'_>) {
        let (width, height) = (frame.width(), frame.height());
        self.height = height.min(self.max_height);
        self.width = (width * self.height / height).clamp(1, self.max_height * MAX_RATIO);
        self.luma.resize(self.width * self.height, 0);
        self.sums.resize(self.width, 0);
        for y in 0..self.height {
            let rows = y * height / self.height..(y + 1) * height / self.height;
            self.sums.fill(0);
            for row in rows.clone() {
                add_row(frame.row(row), frame.format(), &mut self.sums, width);
            }
            let luma = &mut self.luma[y * self.width..][..self.width];
            for (x, (luma, sum)) in luma.iter_mut().zip(&self.sums).enumerate() {
                let columns = (x + 1) * width / self.width - x * width / self.width;
                let weight = 256 * (columns * rows.len()) as u64;
                *luma = ((sum + weight / 2) / weight).min(255) as u8;
            }
        }
    }
}

/// Adds a row of `width` pixels to the sums of the columns that they fall on.
fn add_row(row: &[u8], format: PixelFormat, sums: &mut [u64], width: usize) {
    let (n, bytes) = (sums.len(), format.bytes());
    for (x, sum) in sums.iter_mut().enumerate() {
        let cell = &row[x * width / n * bytes..(x + 1) * width / n * bytes];
        // Sums of bytes first: at most MAX_SIDE pixels of 255.
        *sum += match format {
            PixelFormat::Gray8 => 256 * cell.iter().map(|v| u64::from(*v)).sum::<u64>(),
            PixelFormat::Rgb8 => weighted(cell.as_chunks::<3>().0.iter().map(|[r, g, b]| [*r, *g, *b])),
            PixelFormat::Rgba8 => weighted(cell.as_chunks::<4>().0.iter().map(|[r, g, b, _]| [*r, *g, *b])),
        };
    }
}

/// 256 times the luma of pixels (BT.601), summed.
fn weighted(pixels: impl Iterator<Item = [u8; 3]>) -> u64 {
    let mut sums = [0_u32; 3];
    for pixel in pixels {
        for (sum, value) in sums.iter_mut().zip(pixel) {
            *sum += u32::from(value);
        }
    }
    let [r, g, b] = sums.map(u64::from);
    77 * r + 150 * g + 29 * b
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(data: &[u8], width: usize, height: usize, format: PixelFormat, most: usize) -> Plane {
        let mut plane = Plane::new(most);
        plane.fill(&Frame::new(data, width, height, format).unwrap());
        plane
    }

    #[test]
    fn means_of_whole_cells() {
        let data = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 150];
        let small = plane(&data, 4, 4, PixelFormat::Gray8, 2);
        assert_eq!((small.size(), small.luma()), ((2, 2), &[25, 45, 105, 125][..]));
        // Five columns onto two: the first gets two of them.
        let small = plane(&[0, 10, 1, 2, 3, 0, 10, 1, 2, 3], 5, 2, PixelFormat::Gray8, 1);
        assert_eq!((small.size(), small.luma()), ((2, 1), &[5, 2][..]));
    }

    #[test]
    fn colours_count_as_the_eye_sees_them() {
        let rgb = [255, 255, 255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255];
        let grey = plane(&rgb, 1, 5, PixelFormat::Rgb8, 5);
        assert_eq!(grey.luma(), [255, 0, 77, 149, 29]);
        let rgba: Vec<u8> = rgb.chunks(3).flat_map(|p| [p[0], p[1], p[2], 7]).collect();
        assert_eq!(plane(&rgba, 1, 5, PixelFormat::Rgba8, 5).luma(), grey.luma());
    }

    #[test]
    fn sizes_of_all_frames_stay_within_the_memory_taken() {
        for (width, height, expected) in [
            (1, 1, (1, 1)),
            (640, 480, (133, 100)),
            (3840, 2160, (177, 100)),
            (16_384, 1, (400, 1)),
            (1, 16_384, (1, 100)),
            (2000, 100, (400, 100)),
            (99, 98, (99, 98)),
        ] {
            let white = vec![255; width * height];
            let small = plane(&white, width, height, PixelFormat::Gray8, 100);
            assert_eq!(small.size(), expected);
            assert!(small.luma().iter().all(|v| *v == 255), "{width} x {height}");
            assert!(small.luma().len() <= max_pixels(100));
        }
    }
}
