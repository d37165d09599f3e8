//! JPEG pictures as parts of one endless HTTP answer (`multipart/x-mixed-replace`).
//!
//! A part that tells its length is taken by it, another one by the picture's own end. Servers disagree about whether the
//! dashes before a boundary belong to it, so those at its start do not count.

use super::{Cut, Cutter, Encoding, JpegStream, Limits, exact, line, unreadable};
use std::io::{self, Read};

const MOST_LINE: usize = 1024;
/// Lines of a part before its picture.
const MOST_HEADERS: usize = 64;
/// Longest boundary (RFC 2046), with room for those who do not know.
const MOST_BOUNDARY: usize = 200;

/// The boundary that the content type of an answer names; `None` if it is no multipart.
pub(crate) fn boundary(content_type: &str) -> Option<Result<String, String>> {
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !kind.trim().to_ascii_lowercase().starts_with("multipart/") {
        return None;
    }
    let named = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("boundary")
            .then(|| value.trim().trim_matches('"').trim_start_matches('-'))
    });
    Some(match named {
        Some(boundary) if !boundary.is_empty() && boundary.len() <= MOST_BOUNDARY => Ok(boundary.to_string()),
        _ => Err("the server names no boundary between pictures, or an impossible one".to_string()),
    })
}

/// Parts of a stream.
pub(crate) struct Multipart<R> {
    parts: JpegStream<R>,
    boundary: String,
    most_bytes: usize,
    text: Vec<u8>,
}

/// A line of a stream.
enum Line {
    Boundary,
    LastBoundary,
    Other,
    End,
}

impl<R: Read + Send> Multipart<R> {
    pub(crate) fn new(input: R, boundary: String, limits: &Limits) -> Self {
        let parts = JpegStream::new(input, limits);
        Multipart { parts, boundary, most_bytes: limits.bytes, text: Vec::new() }
    }

    fn line(&mut self) -> io::Result<Line> {
        if line(&mut self.parts.input, MOST_LINE, &mut self.text)?.is_none() {
            return Ok(Line::End);
        }
        let dashes = self.text.iter().take_while(|&&byte| byte == b'-').count();
        let after = self.text[dashes..].strip_prefix(self.boundary.as_bytes());
        Ok(match after.map(<[u8]>::trim_ascii) {
            Some(b"") if dashes > 0 => Line::Boundary,
            Some(b"--") if dashes > 0 => Line::LastBoundary,
            _ => Line::Other,
        })
    }

    fn part(&mut self, bytes: &mut Vec<u8>) -> io::Result<Result<Cut, String>> {
        // As long as a picture may be is how far a boundary may be.
        let mut passed = 0;
        loop {
            match self.line()? {
                Line::Boundary => break,
                Line::LastBoundary | Line::End => return Ok(Ok(Cut::End)),
                Line::Other => passed += self.text.len() + 1,
            }
            if passed > self.most_bytes {
                return Ok(Err("the boundary that the server named does not come".into()));
            }
        }
        let mut length = None;
        for _ in 0..MOST_HEADERS {
            match self.line()? {
                Line::End => return Ok(Ok(Cut::End)),
                _ if self.text.is_empty() => return self.body(length, bytes).map(Ok),
                _ => {}
            }
            if let Some((name, value)) = std::str::from_utf8(&self.text).ok().and_then(|l| l.split_once(':'))
                && name.trim().eq_ignore_ascii_case("content-length")
            {
                length = Some(value.trim().parse::<u64>().unwrap_or(u64::MAX));
            }
        }
        Ok(Ok(Cut::Damaged))
    }

    fn body(&mut self, length: Option<u64>, bytes: &mut Vec<u8>) -> io::Result<Cut> {
        let Some(length) = length.filter(|length| *length > 0) else { return self.parts.picture(bytes) };
        if length > self.most_bytes as u64 {
            // The next boundary is looked for, which may be near: the length may be wrong.
            return Ok(Cut::Damaged);
        }
        let is_whole = exact(&mut self.parts.input, length as usize, bytes)?;
        Ok(match is_whole && bytes.starts_with(&[0xff, 0xd8]) {
            true => Cut::Picture(Encoding::File),
            false => Cut::Damaged,
        })
    }
}

impl<R: Read + Send> Cutter for Multipart<R> {
    fn cut(&mut self, bytes: &mut Vec<u8>) -> Result<Cut, String> {
        self.part(bytes).map_err(unreadable)?
    }
}
