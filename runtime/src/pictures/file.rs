//! A picture file to pixels: what programs show the model and draw on.
//!
//! In: a path to a PNG, JPEG, BMP, PNM or WebP file. Out: a [`Picture`] of `Gray8` or `Rgb8`. The header is checked
//! against the caps below before anything of the picture's size is allocated. Colours become what Pillow's
//! `convert("RGB")` gives for 8-bit pictures: palettes are looked up, alpha is dropped without blending. 16-bit
//! pictures are scaled to 8 bits and rounded by the `image` crate. EXIF orientation and colour profiles are ignored,
//! as the reference processor does. Of an animation, the first picture counts.

use super::jpeg::{self, JpegHeaders};
use crate::error::Error;
use crate::imaging::{Frame, MAX_SIDE, PixelFormat};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use image::error::{ImageError, LimitErrorKind};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, ErrorKind, Seek};
use std::path::Path;

/// Most pixels of a picture: 192 MB decoded.
const MAX_PIXELS: u64 = 64_000_000;

/// Most bytes of a file: an uncompressed picture of [`MAX_PIXELS`] with four 16-bit channels.
const MAX_FILE_BYTES: u64 = MAX_PIXELS * 8 + 65_536;

const READABLE: [ImageFormat; 5] =
    [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::Pnm, ImageFormat::WebP];
/// What strangers may send: formats whose headers bound what decoding takes.
const FROM_STRANGERS: [ImageFormat; 3] = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP];
const CONVERT: &str = "convert it to PNG or JPEG";
const DAMAGED: &str = "the file is damaged or incomplete: copy or export it again";

/// Pixels of a picture file, rows without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    format: PixelFormat,
    data: Vec<u8>,
}

impl Picture {
    /// Pixels per row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Number of rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// `Gray8` or `Rgb8`.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// `[height, width, format.bytes()]`
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// A copy with every pixel repeated `times` times in both directions, so that labels fit on a small picture.
    pub fn enlarged(&self, times: u8) -> Picture {
        let (n, bytes) = (usize::from(times.max(1)), self.format.bytes());
        let mut data = Vec::with_capacity(self.data.len() * n * n);
        for row in self.data.chunks_exact(self.width as usize * bytes) {
            let wide: Vec<u8> = row.chunks_exact(bytes).flat_map(|pixel| pixel.repeat(n)).collect();
            data.extend(wide.repeat(n));
        }
        Picture { width: self.width * n as u32, height: self.height * n as u32, format: self.format, data }
    }

    /// A copy of a frame, such as one from a camera, without an alpha channel.
    pub fn copy_of(frame: &Frame<'_>) -> Picture {
        let rows = (0..frame.height()).flat_map(|y| frame.row(y));
        let (format, data) = match frame.format() {
            PixelFormat::Rgba8 => {
                let rows = (0..frame.height()).flat_map(|y| frame.row(y).as_chunks::<4>().0);
                (PixelFormat::Rgb8, rows.flat_map(|p| [p[0], p[1], p[2]]).collect())
            }
            format => (format, rows.copied().collect()),
        };
        Picture { width: frame.width() as u32, height: frame.height() as u32, format, data }
    }

    /// The picture as the runtime takes it.
    pub fn frame(&self) -> Frame<'_> {
        Frame::new(&self.data, self.width as usize, self.height as usize, self.format)
            .expect("`load` checked the sides and the decoder gave all pixels")
    }
}

/// Reads a picture file.
///
/// # Errors
/// [`Error::Io`] names the file, what is wrong with it and what to do.
pub fn load(path: &Path) -> Result<Picture, Error> {
    read(path).map_err(|reason| Error::Io { path: path.display().to_string(), reason })
}

/// Reads a JPEG picture in memory, such as a frame of a camera, within the limits of files.
///
/// # Errors
/// What is wrong with it, in words.
pub fn decode_jpeg(bytes: &[u8]) -> Result<Picture, String> {
    read_jpeg(bytes, MAX_PIXELS)
}

fn read_jpeg(bytes: &[u8], max_pixels: u64) -> Result<Picture, String> {
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return Err("is not a JPEG picture".to_string());
    }
    let mut marked = Vec::new();
    let bytes = if check_jpeg(bytes)?.has_codes { bytes } else { jpeg::with_usual_codes(bytes, &mut marked) };
    convert(ImageReader::with_format(Cursor::new(bytes), ImageFormat::Jpeg), max_pixels)
}

/// Reads a picture file in memory that has at most `max_pixels`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<Picture, String> {
    read_from(Cursor::new(bytes), max_pixels)
}

/// What a picture from a stranger may cost to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Width times height.
    pub pixels: u64,
    /// Scans of a progressive JPEG picture, each of which goes over all pixels.
    pub scans: usize,
}

/// Reads a PNG, JPEG or WebP picture in memory that a stranger sent. Its header is held against `caps` before anything of
/// the picture's size is allocated.
///
/// # Errors
/// What is wrong with it, in words.
pub fn decode_within(bytes: &[u8], caps: Caps) -> Result<Picture, String> {
    let reader = ImageReader::new(Cursor::new(bytes));
    let guess = reader.with_guessed_format().map_err(|e| format!("cannot be read: {e}"))?;
    match guess.format() {
        Some(format) if FROM_STRANGERS.contains(&format) => {
            if format == ImageFormat::Jpeg {
                let scans = check_jpeg(bytes)?.scans;
                if scans > caps.scans {
                    return Err(format!("has {scans} scans, at most {} are decoded: {CONVERT}", caps.scans));
                }
            }
            decode(bytes, caps.pixels)
        }
        _ => Err(format!("is not a PNG, JPEG or WebP picture: {CONVERT}")),
    }
}

fn read(path: &Path) -> Result<Picture, String> {
    let file = File::open(path).map_err(|e| match e.kind() {
        ErrorKind::NotFound => "there is no such file; check the path".to_string(),
        _ => format!("cannot be opened: {e}"),
    })?;
    let meta = file.metadata().map_err(|e| format!("cannot be read: {e}"))?;
    if !meta.is_file() {
        return Err("is not a file; give the path of a picture".to_string());
    }
    if meta.len() == 0 {
        return Err("the file is empty: copy or export it again".to_string());
    }
    if meta.len() > MAX_FILE_BYTES {
        return Err(format!(
            "the file has {} bytes, at most {MAX_FILE_BYTES} are read: {CONVERT}",
            meta.len()
        ));
    }
    read_from(BufReader::new(file), MAX_PIXELS)
}

fn read_from<R: BufRead + Seek>(source: R, max_pixels: u64) -> Result<Picture, String> {
    let guess = ImageReader::new(source).with_guessed_format().map_err(|e| format!("cannot be read: {e}"))?;
    match guess.format() {
        Some(ImageFormat::Jpeg) => {
            let mut bytes = Vec::new();
            guess.into_inner().read_to_end(&mut bytes).map_err(|e| format!("cannot be read: {e}"))?;
            read_jpeg(&bytes, max_pixels)
        }
        Some(format) if READABLE.contains(&format) => convert(guess, max_pixels),
        Some(format) => {
            Err(format!("is a {format:?} picture; PNG, JPEG, BMP, PNM and WebP are read: {CONVERT}"))
        }
        None => Err(format!("is not a PNG, JPEG, BMP, PNM or WebP picture: {CONVERT}")),
    }
}

fn convert<R: BufRead + Seek>(mut reader: ImageReader<R>, max_pixels: u64) -> Result<Picture, String> {
    let mut limits = Limits::no_limits();
    // For what decoders allocate beside the pixels; the pixels are bounded below, with a better message.
    limits.max_alloc = Some(max_pixels * 8);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(explain)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err("the picture has no pixels".to_string());
    }
    if width as usize > MAX_SIDE || height as usize > MAX_SIDE {
        return Err(format!(
            "the picture is {width} x {height} pixels, sides of at most {MAX_SIDE} are read: scale it down first"
        ));
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > max_pixels {
        return Err(format!(
            "the picture is {width} x {height}, {} megapixels, at most {} are read: scale it down first",
            pixels.div_ceil(1_000_000),
            max_pixels / 1_000_000
        ));
    }
    let (format, data) = match DynamicImage::from_decoder(decoder).map_err(explain)? {
        DynamicImage::ImageLuma8(gray) => (PixelFormat::Gray8, gray.into_raw()),
        other => (PixelFormat::Rgb8, other.into_rgb8().into_raw()),
    };
    Ok(Picture { width, height, format, data })
}

fn explain(error: ImageError) -> String {
    match error {
        ImageError::Unsupported(e) => format!("cannot be decoded ({e}): {CONVERT}"),
        ImageError::Limits(e) if e.kind() == LimitErrorKind::InsufficientMemory => {
            "needs too much memory to decode: scale the picture down first".to_string()
        }
        ImageError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => {
            format!("ends before the picture is complete; {DAMAGED}")
        }
        e => format!("cannot be decoded ({e}); {DAMAGED}"),
    }
}

/// Refuses what the JPEG decoder would take in silence: files that end early, whose rest it paints grey, and four
/// components (CMYK or YCCK), whose inks cannot be told from RGB without a colour profile.
fn check_jpeg(data: &[u8]) -> Result<JpegHeaders, String> {
    let headers = JpegHeaders::read(data).map_err(|e| format!("{e}; {DAMAGED}"))?;
    if headers.components == 4 {
        return Err("is a CMYK picture, made for printing: convert it to RGB".to_string());
    }
    Ok(headers)
}
