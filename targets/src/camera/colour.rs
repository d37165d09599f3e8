//! Luma and chroma to red, green and blue, 8 bits each.
//!
//! For a matrix with the weights `Kr`, `Kb` and `Kg = 1 - Kr - Kb` of red, blue and green in luma (ITU-R BT.601: 0.299
//! and 0.114, BT.709: 0.2126 and 0.0722, BT.2020: 0.2627 and 0.0593, SMPTE 240M: 0.212 and 0.087), and with
//! `y = Y`, `b = Cb - 128`, `r = Cr - 128` in full range, or
//! `y = (Y - 16) * 255 / 219`, `b = (Cb - 128) * 255 / 224`, `r = (Cr - 128) * 255 / 224` in limited range:
//!
//! ```text
//! R = y + 2 (1 - Kr) r
//! G = y - 2 (1 - Kb) Kb / Kg b - 2 (1 - Kr) Kr / Kg r
//! B = y + 2 (1 - Kb) b
//! ```
//!
//! rounded to the nearest integer, halves up, and clamped to 0..=255. Coefficients have 20 bits after the point, so that
//! sums stay in 32 bits; against exact arithmetic a value can be off by one where the exact result is within 0.0002 of
//! a half. RGB of limited range is `(V - 16) * 255 / 219`, rounded and clamped likewise.
//!
//! Pixels that share a chroma sample all take it as it is: nothing is interpolated.
//!
//! Where a driver leaves matrix or range open (0, "default"), V4L2 documents what is meant
//! (`V4L2_MAP_YCBCR_ENC_DEFAULT`, `V4L2_MAP_QUANTIZATION_DEFAULT`): the matrix follows from the colour space (Rec. 709
//! and DCI-P3: BT.709, BT.2020 and SMPTE 240M: their own, all others, sRGB of webcams and the unknown one included:
//! BT.601); RGB and the colour space JPEG have full range, everything else limited range.

// Cameras that give luma and chroma by themselves are Linux's.
#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

/// Bits after the point.
const POINT: u32 = 20;

/// How bytes of one camera become red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Colours {
    /// What black is.
    black: i32,
    /// Factors with [`POINT`] bits after the point: luma; red's chroma in R; both chromas in G; blue's in B.
    luma: i32,
    r_r: i32,
    b_g: i32,
    r_g: i32,
    b_b: i32,
}

impl Colours {
    /// From what V4L2 reports with a format of luma and chroma: `v4l2_colorspace`, `v4l2_ycbcr_encoding`,
    /// `v4l2_quantization`. `None` for constant luminance, which is no matrix.
    pub(crate) fn of(colorspace: u32, encoding: u32, quantization: u32) -> Option<Self> {
        const SMPTE240M: u32 = 2;
        const REC709: u32 = 3;
        const JPEG: u32 = 7;
        const BT2020: u32 = 10;
        const DCI_P3: u32 = 12;
        let [kr, kb] = match (encoding, colorspace) {
            (7, _) => return None,
            (2 | 4, _) | (0, REC709 | DCI_P3) => [0.2126, 0.0722],
            (6, _) | (0, BT2020) => [0.2627, 0.0593],
            (8, _) | (0, SMPTE240M) => [0.212, 0.087],
            _ => [0.299, 0.114],
        };
        let full = quantization == 1 || (quantization == 0 && colorspace == JPEG);
        Some(Self::new(kr, kb, full))
    }

    /// Of streams that tell no matrix.
    pub(crate) fn bt601(full: bool) -> Self {
        Self::new(0.299, 0.114, full)
    }

    fn new(kr: f64, kb: f64, full: bool) -> Self {
        let [luma, chroma] = if full { [1.0, 1.0] } else { [255.0 / 219.0, 255.0 / 224.0] };
        let fixed = |v: f64| (v * f64::from(1 << POINT)).round() as i32;
        let (red, blue, kg) = (2.0 * (1.0 - kr), 2.0 * (1.0 - kb), 1.0 - kr - kb);
        Colours {
            black: if full { 0 } else { 16 },
            luma: fixed(luma),
            r_r: fixed(red * chroma),
            b_g: fixed(-blue * kb / kg * chroma),
            r_g: fixed(-red * kr / kg * chroma),
            b_b: fixed(blue * chroma),
        }
    }

    /// What a pair of chroma samples adds to red, green and blue, rounding included.
    fn chroma(&self, cb: u8, cr: u8) -> [i32; 3] {
        let (b, r) = (i32::from(cb) - 128, i32::from(cr) - 128);
        let half = 1 << (POINT - 1);
        [half + self.r_r * r, half + self.b_g * b + self.r_g * r, half + self.b_b * b]
    }

    fn pixel(&self, luma: u8, chroma: [i32; 3]) -> [u8; 3] {
        let y = (i32::from(luma) - self.black) * self.luma;
        chroma.map(|c| ((y + c) >> POINT).clamp(0, 255) as u8)
    }

    /// One row of YUYV, `[width / 2, 4]` bytes, to `[width, 3]`.
    pub(crate) fn yuyv(&self, row: &[u8], rgb: &mut [u8]) {
        for (four, two) in row.as_chunks::<4>().0.iter().zip(rgb.as_chunks_mut::<6>().0) {
            let &[y0, cb, y1, cr] = four;
            let chroma = self.chroma(cb, cr);
            let (left, right) = two.split_at_mut(3);
            left.copy_from_slice(&self.pixel(y0, chroma));
            right.copy_from_slice(&self.pixel(y1, chroma));
        }
    }

    /// One row of NV12, `[width]` luma and `[width / 2, 2]` chroma, which two rows share, to `[width, 3]`.
    pub(crate) fn nv12(&self, luma: &[u8], chroma: &[u8], rgb: &mut [u8]) {
        let pairs = luma.as_chunks::<2>().0.iter().zip(chroma.as_chunks::<2>().0);
        for ((&[y0, y1], &[cb, cr]), two) in pairs.zip(rgb.as_chunks_mut::<6>().0) {
            let chroma = self.chroma(cb, cr);
            let (left, right) = two.split_at_mut(3);
            left.copy_from_slice(&self.pixel(y0, chroma));
            right.copy_from_slice(&self.pixel(y1, chroma));
        }
    }

    /// One row of planes with chroma of every pixel, `[width]` each, to `[width, 3]`.
    pub(crate) fn planes(&self, luma: &[u8], cb: &[u8], cr: &[u8], rgb: &mut [u8]) {
        for (((&y, &cb), &cr), pixel) in luma.iter().zip(cb).zip(cr).zip(rgb.as_chunks_mut::<3>().0) {
            *pixel = self.pixel(y, self.chroma(cb, cr));
        }
    }

    /// The same with chroma of every pair of pixels, `[(width + 1) / 2]`.
    pub(crate) fn halved_planes(&self, luma: &[u8], cb: &[u8], cr: &[u8], rgb: &mut [u8]) {
        for (((two, &cb), &cr), rgb) in luma.chunks(2).zip(cb).zip(cr).zip(rgb.chunks_mut(6)) {
            let chroma = self.chroma(cb, cr);
            for (&y, pixel) in two.iter().zip(rgb.as_chunks_mut::<3>().0) {
                *pixel = self.pixel(y, chroma);
            }
        }
    }

    /// One row of luma alone.
    pub(crate) fn gray(&self, luma: &[u8], rgb: &mut [u8]) {
        let chroma = self.chroma(128, 128);
        for (&y, pixel) in luma.iter().zip(rgb.as_chunks_mut::<3>().0) {
            *pixel = self.pixel(y, chroma);
        }
    }
}

/// RGB of limited range to full range, in place.
pub(crate) fn widen(rgb: &mut [u8]) {
    for v in rgb {
        *v = ((i32::from(*v) - 16) * 510 + 219).div_euclid(438).clamp(0, 255) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same from the other end: the matrix that makes luma and chroma of colours, as the recommendations print it,
    /// inverted by Cramer's rule.
    fn inverse(kr: f64, kb: f64) -> [[f64; 3]; 3] {
        let kg = 1.0 - kr - kb;
        let (cb, cr) = (2.0 * (1.0 - kb), 2.0 * (1.0 - kr));
        let m = [[kr, kg, kb], [-kr / cb, -kg / cb, (1.0 - kb) / cb], [(1.0 - kr) / cr, -kg / cr, -kb / cr]];
        let minor = |i: usize, j: usize| {
            let (a, b, c, d) = ((i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3);
            m[a][c] * m[b][d] - m[a][d] * m[b][c]
        };
        let determinant: f64 = (0..3).map(|j| m[0][j] * minor(0, j)).sum();
        [0, 1, 2].map(|i| [0, 1, 2].map(|j| minor(j, i) / determinant))
    }

    #[test]
    fn every_colour_is_that_of_exact_arithmetic() {
        for (reported, kr, kb, full) in [
            ([8, 0, 0], 0.299, 0.114, false),
            ([7, 0, 0], 0.299, 0.114, true),
            ([8, 1, 1], 0.299, 0.114, true),
            ([3, 0, 0], 0.2126, 0.0722, false),
            ([3, 2, 1], 0.2126, 0.0722, true),
            ([10, 0, 2], 0.2627, 0.0593, false),
            ([2, 0, 0], 0.212, 0.087, false),
        ] {
            let colours = Colours::of(reported[0], reported[1], reported[2]).unwrap();
            let m = inverse(kr, kb);
            let mut off = 0;
            for (y, cb, cr) in (0..=255_u8)
                .step_by(3)
                .flat_map(|y| (0..=255_u8).step_by(5).map(move |cb| (y, cb)))
                .flat_map(|(y, cb)| (0..=255_u8).step_by(5).map(move |cr| (y, cb, cr)))
            {
                let f = f64::from;
                let ycc = match full {
                    true => [f(y), f(cb) - 128.0, f(cr) - 128.0],
                    false => [
                        (f(y) - 16.0) / 219.0 * 255.0,
                        (f(cb) - 128.0) / 224.0 * 255.0,
                        (f(cr) - 128.0) / 224.0 * 255.0,
                    ],
                };
                let found = colours.pixel(y, colours.chroma(cb, cr));
                for (row, found) in m.iter().zip(found) {
                    let exact: f64 = row.iter().zip(ycc).map(|(a, b)| a * b).sum();
                    let rounded = (exact + 0.5).floor().clamp(0.0, 255.0);
                    if rounded != f(found) {
                        off += 1;
                        assert!(
                            (exact + 0.5 - (exact + 0.5).round()).abs() < 2e-4,
                            "{y} {cb} {cr}: {exact} {found}"
                        );
                    }
                }
            }
            assert!(off < 200, "{off} of 671 k values are off by one");
        }
    }

    #[test]
    fn colours_that_everybody_knows() {
        let limited = Colours::of(8, 0, 0).unwrap();
        for (ycc, rgb) in [
            ([16, 128, 128], [0, 0, 0]),
            ([235, 128, 128], [255, 255, 255]),
            // Below black and above white.
            ([0, 128, 128], [0, 0, 0]),
            ([255, 128, 128], [255, 255, 255]),
            // The red, green and blue of 100 % colour bars.
            ([81, 90, 240], [254, 0, 0]),
            ([145, 54, 34], [0, 255, 1]),
            ([41, 240, 110], [0, 0, 255]),
        ] {
            let mut two = [0; 6];
            limited.yuyv(&[ycc[0], ycc[1], ycc[0], ycc[2]], &mut two);
            assert_eq!(two, [rgb, rgb].concat()[..], "{ycc:?}");
            limited.nv12(&[ycc[0]; 2], &ycc[1..], &mut two);
            assert_eq!(two, [rgb, rgb].concat()[..], "{ycc:?}");
        }
        assert_eq!(Colours::of(10, 7, 0), None, "constant luminance is no matrix");
        let mut rgb = [0, 16, 125, 126, 235, 255];
        widen(&mut rgb);
        assert_eq!(rgb, [0, 0, 127, 128, 255, 255]);
    }
}
