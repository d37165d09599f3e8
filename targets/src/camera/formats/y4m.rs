//! YUV4MPEG2: a line about the stream, then frames of planes, each after a line of its own.
//!
//! 8 bits, chroma of every pixel, every pair, every four pixels or none. The format tells no matrix: BT.601, as ffmpeg
//! takes it. The range is the one that `XCOLORRANGE` names; without it luma alone is full, as ffmpeg's gray, and all else limited. Where chroma lies between pixels makes no difference here.

use super::{Cut, Cutter, Encoding, Limits, exact, line, unreadable};
use crate::camera::FrameBuffer;
use crate::camera::colour::Colours;
use std::io::{BufReader, Read};

/// Of the stream's line and of a frame's.
const MOST_LINE: usize = 1024;

/// Planes of luma and chroma, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Yuv {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) chroma: Chroma,
    pub(crate) colours: Colours,
}

/// How many pixels share a sample of chroma.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chroma {
    None,
    All,
    Pairs,
    Squares,
}

impl Yuv {
    /// Width and height of a plane of chroma.
    fn chroma_size(&self) -> [usize; 2] {
        match self.chroma {
            Chroma::None => [0, 0],
            Chroma::All => [self.width, self.height],
            Chroma::Pairs => [self.width.div_ceil(2), self.height],
            Chroma::Squares => [self.width.div_ceil(2), self.height.div_ceil(2)],
        }
    }

    /// Of a whole picture.
    pub(crate) fn bytes(&self) -> usize {
        let [width, height] = self.chroma_size();
        self.width * self.height + 2 * width * height
    }

    /// Planes to `[height, width, 3]`.
    pub(crate) fn convert(&self, planes: &[u8], into: &mut FrameBuffer) -> Result<(), String> {
        if planes.len() != self.bytes() {
            return Err("the picture is incomplete".into());
        }
        let [chroma_width, chroma_height] = self.chroma_size();
        let (luma, chroma) = planes.split_at(self.width * self.height);
        let (cb, cr) = chroma.split_at(chroma_width * chroma_height);
        let rows = into.reset(self.width, self.height).chunks_exact_mut(self.width * 3);
        for (y, (rgb, luma)) in rows.zip(luma.chunks_exact(self.width)).enumerate() {
            let y = if self.chroma == Chroma::Squares { y / 2 } else { y };
            let row = |plane: &'_ [u8]| y * chroma_width..(y * chroma_width + chroma_width).min(plane.len());
            match self.chroma {
                Chroma::None => self.colours.gray(luma, rgb),
                Chroma::All => self.colours.planes(luma, &cb[row(cb)], &cr[row(cr)], rgb),
                _ => self.colours.halved_planes(luma, &cb[row(cb)], &cr[row(cr)], rgb),
            }
        }
        Ok(())
    }
}

/// Frames in a stream.
pub(crate) struct Y4mStream<R> {
    input: BufReader<R>,
    limits: Limits,
    text: Vec<u8>,
    about: Option<Yuv>,
    /// Of the stream's own frames a second, the share that is wanted.
    share: f64,
    max_fps: Option<f32>,
    /// Grows by `share` with every frame; one is given when it passes a whole number.
    due: f64,
}

impl<R: Read + Send> Y4mStream<R> {
    /// Gives every frame, or so many of them as make `max_fps` by the stream's own clock.
    pub(crate) fn new(input: R, limits: &Limits, max_fps: Option<f32>) -> Self {
        let input = BufReader::with_capacity(1 << 16, input);
        Y4mStream { input, limits: *limits, text: Vec::new(), about: None, share: 1.0, max_fps, due: 1.0 }
    }

    fn header(&mut self) -> Result<Option<Yuv>, String> {
        if line(&mut self.input, MOST_LINE, &mut self.text).map_err(unreadable)?.is_none() {
            return Ok(None);
        }
        let text = std::str::from_utf8(&self.text).unwrap_or_default();
        let fields = text.strip_prefix("YUV4MPEG2").filter(|f| f.is_empty() || f.starts_with(' '));
        let fields = fields.ok_or("is no YUV4MPEG2: it has another first line")?;
        let (mut width, mut height, mut chroma, mut is_full) = (0, 0, Chroma::Squares, None);
        for field in fields.split_ascii_whitespace() {
            let (name, value) = field.split_at(field.chars().next().map_or(0, char::len_utf8));
            match name {
                "W" => width = value.parse().unwrap_or(0),
                "H" => height = value.parse().unwrap_or(0),
                "F" => self.share = share(value, self.max_fps),
                "C" => chroma = chroma_of(value)?,
                "X" if value == "COLORRANGE=FULL" => is_full = Some(true),
                "X" if value == "COLORRANGE=LIMITED" => is_full = Some(false),
                _ => {}
            }
        }
        self.limits.check(width, height)?;
        let colours = Colours::bt601(is_full.unwrap_or(chroma == Chroma::None));
        Ok(Some(Yuv { width, height, chroma, colours }))
    }
}

fn chroma_of(name: &str) -> Result<Chroma, String> {
    Ok(match name {
        "420" | "420jpeg" | "420mpeg2" | "420paldv" => Chroma::Squares,
        "422" => Chroma::Pairs,
        "444" => Chroma::All,
        "mono" => Chroma::None,
        other => {
            let other: String = other.chars().take(20).collect();
            return Err(format!("has pixels of kind {other}; 420, 422, 444 and mono with 8 bits are read"));
        }
    })
}

/// What part of `rate` ("30000:1001") makes `max_fps`.
fn share(rate: &str, max_fps: Option<f32>) -> f64 {
    let rate = rate.split_once(':').and_then(|(n, d)| Some((n.parse::<u32>().ok()?, d.parse::<u32>().ok()?)));
    match (rate, max_fps) {
        (Some((n, d)), Some(fps)) if n > 0 && d > 0 => {
            (f64::from(fps) * f64::from(d) / f64::from(n)).clamp(0.0, 1.0)
        }
        _ => 1.0,
    }
}

impl<R: Read + Send> Cutter for Y4mStream<R> {
    fn cut(&mut self, bytes: &mut Vec<u8>) -> Result<Cut, String> {
        let about = match self.about {
            Some(about) => about,
            None => match self.header()? {
                Some(about) => *self.about.insert(about),
                None => return Ok(Cut::End),
            },
        };
        if line(&mut self.input, MOST_LINE, &mut self.text).map_err(unreadable)?.is_none() {
            return Ok(Cut::End);
        }
        if self.text != b"FRAME" && !self.text.starts_with(b"FRAME ") {
            return Err("is no YUV4MPEG2 any more: a frame does not begin where the last one ends".into());
        }
        if !exact(&mut self.input, about.bytes(), bytes).map_err(unreadable)? {
            return Ok(Cut::Damaged);
        }
        let is_due = self.due >= 1.0;
        self.due += self.share - if is_due { 1.0 } else { 0.0 };
        Ok(if is_due { Cut::Picture(Encoding::Yuv(about)) } else { Cut::Skipped })
    }
}
