//! JPEG pictures, one after the other, cut out of a stream and decoded.
//!
//! A picture is followed from segment to segment (ITU T.81, annex B): a thumbnail lies inside a segment and is passed over
//! by its length, and inside entropy-coded data every 0xff is followed by 0 or a restart marker. A picture that begins
//! before the last one has ended says that the last one is damaged.

use super::{Cut, Cutter, Encoding, Limits, unreadable};
use crate::camera::FrameBuffer;
use pg_runtime::pictures::{JpegHeaders, with_usual_codes};
use std::io::{self, BufRead, BufReader, Read};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Scans of one progressive picture; each costs a pass over all of it.
const MOST_SCANS: usize = 100;

const START: u8 = 0xd8;
const END: u8 = 0xd9;
const SCAN: u8 = 0xda;

/// Pictures in a stream; what lies between them is passed over.
pub(crate) struct JpegStream<R> {
    pub(super) input: BufReader<R>,
    /// Of a picture.
    most_bytes: usize,
    /// The start of the next picture has been read.
    has_started: bool,
}

impl<R: Read + Send> JpegStream<R> {
    pub(crate) fn new(input: R, limits: &Limits) -> Self {
        JpegStream {
            input: BufReader::with_capacity(1 << 16, input),
            most_bytes: limits.bytes,
            has_started: false,
        }
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        let byte = self.input.fill_buf()?.first().copied();
        self.input.consume(usize::from(byte.is_some()));
        Ok(byte)
    }

    /// Reads up to and with the next 0xff, into `bytes` if it is there.
    fn until_marker(&mut self, mut bytes: Option<&mut Vec<u8>>) -> io::Result<Step> {
        loop {
            let chunk = self.input.fill_buf()?;
            if chunk.is_empty() {
                return Ok(Step::End);
            }
            let found = chunk.iter().position(|&b| b == 0xff);
            let take = found.map_or(chunk.len(), |at| at + 1);
            if let Some(bytes) = &mut bytes {
                if bytes.len() + take > self.most_bytes {
                    return Ok(Step::TooLong);
                }
                bytes.extend_from_slice(&chunk[..take]);
            }
            self.input.consume(take);
            if found.is_some() {
                return Ok(Step::Marker);
            }
        }
    }

    /// Passes over everything before the next picture, its start included.
    fn find_start(&mut self) -> io::Result<bool> {
        if std::mem::take(&mut self.has_started) {
            return Ok(true);
        }
        while let Step::Marker = self.until_marker(None)? {
            loop {
                match self.byte()? {
                    Some(START) => return Ok(true),
                    Some(0xff) => {}
                    Some(_) => break,
                    None => return Ok(false),
                }
            }
        }
        Ok(false)
    }

    /// The next picture.
    pub(super) fn picture(&mut self, bytes: &mut Vec<u8>) -> io::Result<Cut> {
        bytes.clear();
        if !self.find_start()? {
            return Ok(Cut::End);
        }
        bytes.extend([0xff, START]);
        let mut has_scan = false;
        loop {
            match self.until_marker(Some(bytes))? {
                Step::Marker => {}
                Step::End | Step::TooLong => return Ok(Cut::Damaged),
            }
            let marker = loop {
                match self.byte()? {
                    // A fill byte; the marker may follow.
                    Some(0xff) => {}
                    Some(byte) => break byte,
                    None => return Ok(Cut::Damaged),
                }
            };
            bytes.push(marker);
            match marker {
                START => {
                    self.has_started = true;
                    return Ok(Cut::Damaged);
                }
                END if has_scan => return Ok(Cut::Picture(Encoding::File)),
                END => return Ok(Cut::Damaged),
                0x00 | 0x01 | 0xd0..=0xd7 => continue,
                // Nothing uses these: the place is not where a marker is.
                0x02..=0xbf => return Ok(Cut::Damaged),
                _ => has_scan |= marker == SCAN,
            }
            if !self.segment(bytes)? {
                return Ok(Cut::Damaged);
            }
        }
    }

    /// The length of a segment and what it holds.
    fn segment(&mut self, bytes: &mut Vec<u8>) -> io::Result<bool> {
        let (Some(high), Some(low)) = (self.byte()?, self.byte()?) else { return Ok(false) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < 2 || bytes.len() + length > self.most_bytes {
            return Ok(false);
        }
        bytes.extend([high, low]);
        let before = bytes.len();
        self.input.by_ref().take(length as u64 - 2).read_to_end(bytes)?;
        Ok(bytes.len() - before == length - 2)
    }
}

enum Step {
    Marker,
    End,
    TooLong,
}

impl<R: Read + Send> Cutter for JpegStream<R> {
    fn cut(&mut self, bytes: &mut Vec<u8>) -> Result<Cut, String> {
        self.picture(bytes).map_err(unreadable)
    }
}

/// A picture that begins with the start of one.
pub(super) fn decode(
    bytes: &[u8],
    limits: &Limits,
    scratch: &mut Vec<u8>,
    into: &mut FrameBuffer,
) -> Result<(), String> {
    if bytes.len() > limits.bytes {
        return Err(format!("has {} bytes, at most {} are read", bytes.len(), limits.bytes));
    }
    let about = JpegHeaders::read(bytes)?;
    limits.check(about.width, about.height)?;
    if about.scans > MOST_SCANS {
        return Err(format!("has {} scans, at most {MOST_SCANS} are read", about.scans));
    }
    let colours = match about.components {
        1 => ColorSpace::Luma,
        3 => ColorSpace::RGB,
        n => return Err(format!("has {n} components; gray and colour pictures (1 or 3) are read")),
    };
    let data = if about.has_codes { bytes } else { with_usual_codes(bytes, scratch) };
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(about.width)
        .set_max_height(about.height)
        .jpeg_set_max_scans(MOST_SCANS)
        .jpeg_set_out_colorspace(colours);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(data), options);
    let explain = |e| format!("cannot be decoded ({e:?})");
    decoder.decode_headers().map_err(explain)?;
    // Two headers in one file might contradict each other.
    let pixels = about.width * about.height;
    let expected = pixels * colours.num_components();
    if decoder.dimensions() != Some((about.width, about.height))
        || decoder.output_buffer_size() != Some(expected)
    {
        return Err("contradicts itself about its size".into());
    }
    into.fill(about.width, about.height, |out| {
        decoder.decode_into(&mut out[..expected]).map_err(explain)?;
        if colours == ColorSpace::Luma {
            for at in (0..pixels).rev() {
                let gray = out[at];
                out[at * 3..][..3].fill(gray);
            }
        }
        Ok(())
    })
}
