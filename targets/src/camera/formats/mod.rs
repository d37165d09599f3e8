//! Bytes of streams and files, cut into encoded pictures and decoded, with limits; nothing here opens or waits for
//! anything but the reader that it is given.
//!
//! Streams are not trusted: lengths are checked before memory is taken for them, and what cannot be a picture is counted
//! and passed over, in time that is proportional to its length.

mod jpeg;
mod multipart;
mod ppm;
mod raw;
mod y4m;

pub(crate) use jpeg::JpegStream;
pub(crate) use multipart::{Multipart, boundary};
pub(crate) use ppm::PpmStream;
pub(crate) use raw::RawStream;
pub(crate) use y4m::{Chroma, Y4mStream, Yuv};

use super::{FrameBuffer, Options};
use pg_runtime::imaging::MAX_SIDE;
use pg_runtime::pictures;
use std::io::{self, BufRead, Read};

/// A stream of pictures.
pub(crate) trait Cutter: Send {
    /// The next picture into `bytes`, still encoded; waits for it as long as the reader does.
    ///
    /// # Errors
    /// What is wrong with the stream as a whole, in words.
    fn cut(&mut self, bytes: &mut Vec<u8>) -> Result<Cut, String>;
}

/// What a stream had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    Picture(Encoding),
    /// Something that is no picture; more may follow.
    Damaged,
    /// A good picture that is not wanted; more may follow.
    Skipped,
    End,
}

/// What the bytes of a picture mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// A picture file; its first bytes tell the format.
    File,
    /// `[height, width, 3]`
    Rgb {
        width: usize,
        height: usize,
    },
    Yuv(Yuv),
}

/// How large pictures may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) pixels: usize,
    pub(crate) bytes: usize,
}

impl Limits {
    pub(crate) fn of(options: &Options) -> Self {
        Limits { pixels: options.max_pixels, bytes: options.max_bytes }
    }

    /// Whether a picture of this size may be made.
    pub(crate) fn check(&self, width: usize, height: usize) -> Result<(), String> {
        if width == 0 || height == 0 {
            return Err("the picture has no pixels".into());
        }
        if width > MAX_SIDE || height > MAX_SIDE || width * height > self.pixels {
            let most = self.pixels;
            return Err(format!(
                "the picture is {width} x {height}; sides of {MAX_SIDE} and {most} pixels are the most: have the \
                 camera give smaller ones"
            ));
        }
        Ok(())
    }
}

/// Makes frames of pictures; its memory is used again.
#[derive(Debug)]
pub(crate) struct Decoder {
    limits: Limits,
    scratch: Vec<u8>,
}

impl Decoder {
    pub(crate) fn new(limits: Limits) -> Self {
        Decoder { limits, scratch: Vec::new() }
    }

    /// Fills `into`; a picture that turns out to be damaged while it is decoded leaves it black.
    ///
    /// # Errors
    /// What is wrong with the picture, in words.
    pub(crate) fn decode(
        &mut self,
        encoding: Encoding,
        bytes: &[u8],
        into: &mut FrameBuffer,
    ) -> Result<(), String> {
        match encoding {
            Encoding::File if bytes.starts_with(&[0xff, 0xd8]) => {
                jpeg::decode(bytes, &self.limits, &mut self.scratch, into)
            }
            Encoding::File => self.file(bytes, into),
            Encoding::Rgb { width, height } => {
                self.limits.check(width, height)?;
                if bytes.len() != width * height * 3 {
                    return Err("the picture is incomplete".into());
                }
                into.reset(width, height).copy_from_slice(bytes);
                Ok(())
            }
            Encoding::Yuv(yuv) => {
                self.limits.check(yuv.width, yuv.height)?;
                yuv.convert(bytes, into)
            }
        }
    }

    /// Whatever else the runtime reads.
    fn file(&self, bytes: &[u8], into: &mut FrameBuffer) -> Result<(), String> {
        if bytes.len() > self.limits.bytes {
            return Err(format!("has {} bytes, at most {} are read", bytes.len(), self.limits.bytes));
        }
        let picture = pictures::decode(bytes, self.limits.pixels as u64)?;
        self.limits.check(picture.width() as usize, picture.height() as usize)?;
        into.show(&picture);
        Ok(())
    }
}

/// A line of at most `most` bytes without its end, `\n` or `\r\n`; `None` at the end of the stream.
fn line<R: BufRead>(input: &mut R, most: usize, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    input.by_ref().take(most as u64).read_until(b'\n', line)?;
    if line.is_empty() {
        return Ok(None);
    }
    let is_whole = line.ends_with(b"\n");
    while line.last().is_some_and(|byte| b"\r\n".contains(byte)) {
        line.pop();
    }
    Ok(Some(is_whole))
}

/// Exactly `count` bytes into `bytes`; `false` if the stream ends before. Memory is taken as they come.
fn exact<R: Read>(input: &mut R, count: usize, bytes: &mut Vec<u8>) -> io::Result<bool> {
    bytes.clear();
    input.by_ref().take(count as u64).read_to_end(bytes)?;
    Ok(bytes.len() == count)
}

fn unreadable(error: io::Error) -> String {
    format!("cannot be read: {error}")
}

#[cfg(test)]
pub(crate) mod tests;

#[cfg(test)]
pub(crate) mod mutations {
    //! Good streams, cut off and damaged in many ways.

    use super::*;

    /// The same numbers in every run (xorshift).
    pub(crate) struct Random(pub(crate) u64);

    impl Random {
        pub(crate) fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % end as u64) as usize
        }
    }

    /// `good` cut off everywhere, and 1500 copies with bytes changed, left out, repeated.
    pub(crate) fn damaged(good: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
        let step = (good.len() / 2000).max(1);
        let cuts = (0..good.len()).step_by(step).map(|end| good[..end].to_vec());
        let mut random = Random(0x5eed);
        let changes = (0..1500).map(move |_| {
            let mut bytes = good.to_vec();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                let end = (at + random.below(40)).min(bytes.len());
                match random.below(5) {
                    0 => bytes[at] = random.below(256) as u8,
                    1 => bytes[at] ^= 1 << random.below(8),
                    2 => drop(bytes.drain(at..end)),
                    3 => {
                        let again = bytes[at..end].to_vec();
                        bytes.splice(at..at, again);
                    }
                    _ => bytes[at] = 0xff,
                }
                if bytes.is_empty() {
                    bytes.push(0);
                }
            }
            bytes
        });
        cuts.chain(changes)
    }

    /// Everything that a cutter finds and everything decoded; how many became frames. No more pictures than bytes.
    pub(crate) fn drain(cutter: &mut dyn Cutter, limits: Limits, length: usize) -> usize {
        let (mut bytes, mut frame, mut decoder) = (Vec::new(), FrameBuffer::new(), Decoder::new(limits));
        let mut frames = 0;
        for _ in 0..=length + 1 {
            match cutter.cut(&mut bytes) {
                Ok(Cut::Picture(encoding)) => {
                    assert!(bytes.capacity() <= 2 * limits.bytes.max(1 << 16) && bytes.len() <= limits.bytes);
                    frames += usize::from(decoder.decode(encoding, &bytes, &mut frame).is_ok());
                    assert!(frame.width() * frame.height() <= limits.pixels);
                }
                Ok(Cut::Damaged | Cut::Skipped) => {}
                Ok(Cut::End) | Err(_) => return frames,
            }
        }
        panic!("the stream of {length} bytes does not end");
    }
}
