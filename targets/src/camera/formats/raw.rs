//! Frames of a known size and format with nothing in between.

use super::{Cut, Cutter, Encoding, exact, unreadable};
use std::io::Read;

/// Frames in a stream.
pub(crate) struct RawStream<R> {
    input: R,
    encoding: Encoding,
    bytes: usize,
}

impl<R: Read + Send> RawStream<R> {
    /// Frames of `bytes` bytes each, a number that has been checked.
    pub(crate) fn new(input: R, encoding: Encoding, bytes: usize) -> Self {
        RawStream { input, encoding, bytes }
    }
}

impl<R: Read + Send> Cutter for RawStream<R> {
    fn cut(&mut self, bytes: &mut Vec<u8>) -> Result<Cut, String> {
        match exact(&mut self.input, self.bytes, bytes).map_err(unreadable)? {
            true => Ok(Cut::Picture(self.encoding)),
            false if bytes.is_empty() => Ok(Cut::End),
            false => Ok(Cut::Damaged),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_by_their_size() {
        let encoding = Encoding::Rgb { width: 2, height: 2 };
        let mut stream = RawStream::new(&[7; 2 * 12 + 5][..], encoding, 12);
        let mut bytes = Vec::new();
        for expected in [Cut::Picture(encoding), Cut::Picture(encoding), Cut::Damaged, Cut::End] {
            assert_eq!(stream.cut(&mut bytes), Ok(expected));
        }
    }
}
