//! Portable pixmaps (P6), one after the other, as ffmpeg's `image2pipe` writes them: each tells its own size.

use super::{Cut, Cutter, Encoding, Limits, exact, line, unreadable};
use std::io::{BufReader, Read};

/// `P6`, `640 480` and `255`: longer lines are something else.
const MOST_LINE: usize = 64;

/// Pictures in a stream.
pub(crate) struct PpmStream<R> {
    input: BufReader<R>,
    limits: Limits,
    text: Vec<u8>,
}

impl<R: Read + Send> PpmStream<R> {
    pub(crate) fn new(input: R, limits: &Limits) -> Self {
        PpmStream { input: BufReader::with_capacity(1 << 16, input), limits: *limits, text: Vec::new() }
    }

    fn line(&mut self) -> Result<Option<&str>, String> {
        let is_there = line(&mut self.input, MOST_LINE, &mut self.text).map_err(unreadable)?;
        Ok(is_there.map(|_| std::str::from_utf8(&self.text).unwrap_or_default()))
    }
}

impl<R: Read + Send> Cutter for PpmStream<R> {
    fn cut(&mut self, bytes: &mut Vec<u8>) -> Result<Cut, String> {
        const WRONG: &str = "gives something else than pixmaps";
        match self.line()? {
            None => return Ok(Cut::End),
            Some("P6") => {}
            Some(_) => return Err(WRONG.into()),
        }
        let sides = self.line()?.and_then(|text| {
            let (width, height) = text.split_once(' ')?;
            Some((width.parse().ok()?, height.parse().ok()?))
        });
        let (width, height) = sides.ok_or(WRONG)?;
        if self.line()? != Some("255") {
            return Err(WRONG.into());
        }
        self.limits.check(width, height)?;
        match exact(&mut self.input, width * height * 3, bytes).map_err(unreadable)? {
            true => Ok(Cut::Picture(Encoding::Rgb { width, height })),
            false => Ok(Cut::End),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::mutations::{damaged, drain};
    use super::*;

    const LIMITS: Limits = Limits { pixels: 64, bytes: 192 };

    #[test]
    fn pixmaps_of_any_size_follow_each_other() {
        let stream = [&b"P6\n2 1\n255\n123456"[..], b"P6\n1 1\n255\nabc"].concat();
        let (mut cutter, mut bytes) = (PpmStream::new(&stream[..], &LIMITS), Vec::new());
        assert_eq!(cutter.cut(&mut bytes), Ok(Cut::Picture(Encoding::Rgb { width: 2, height: 1 })));
        assert_eq!(bytes, b"123456");
        assert_eq!(cutter.cut(&mut bytes), Ok(Cut::Picture(Encoding::Rgb { width: 1, height: 1 })));
        assert_eq!((&bytes[..], cutter.cut(&mut Vec::new())), (&b"abc"[..], Ok(Cut::End)));
        for bad in ["P6\n99999 99999\n255\n", "P6\n0 1\n255\n", "P5\n1 1\n255\n", "P6\n1 1\n65535\n"] {
            assert!(PpmStream::new(bad.as_bytes(), &LIMITS).cut(&mut bytes).is_err(), "{bad}");
        }
        for bytes in damaged(&stream) {
            drain(&mut PpmStream::new(&bytes[..], &LIMITS), LIMITS, bytes.len());
        }
    }
}
