//! What the segments of a JPEG picture say, before anything is decoded.

/// A segment that says that this is a frame of motion JPEG.
const MOTION_JPEG: [u8; 18] = *b"\xff\xe0\0\x10AVI1\0\0\0\0\0\0\0\0\0\0";

/// Sizes and counts from the segments of a whole picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JpegHeaders {
    /// Pixels per row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// 1: grey, 3: colour, 4: inks.
    pub components: u8,
    /// It brings its own Huffman codes; see [`with_usual_codes`].
    pub has_codes: bool,
    /// Passes over the picture: several in a progressive one, each of which costs time for all of it.
    pub scans: usize,
}

impl JpegHeaders {
    /// Walks the segments of what begins with the start of a picture (ITU T.81, annex B). Inside entropy-coded data every
    /// 0xff is followed by 0 or a restart marker, so the search for the next marker passes over it; damage inside that data
    /// stays unnoticed.
    ///
    /// # Errors
    /// If the picture ends early or has no scan, in words.
    pub fn read(data: &[u8]) -> Result<Self, String> {
        let early = || "ends before the picture is complete".to_string();
        let mut headers = JpegHeaders::default();
        // After the start-of-image marker.
        let mut at = 2;
        loop {
            let skip = data.get(at..).and_then(|rest| rest.iter().position(|&b| b == 0xff));
            at += skip.ok_or_else(early)? + 1;
            let marker = *data.get(at).ok_or_else(early)?;
            match marker {
                // A fill byte: the marker may follow.
                0xff => continue,
                // Stuffing, restarts, and markers without a length.
                0x00 | 0x01 | 0xd0..=0xd8 => {
                    at += 1;
                    continue;
                }
                0xd9 if headers.scans == 0 => return Err("has no picture data".into()),
                0xd9 => return Ok(headers),
                _ => {}
            }
            let segment = data.get(at + 1..).unwrap_or_default();
            let &[high, low, ..] = segment else { return Err(early()) };
            let is_frame = matches!(marker, 0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf);
            // Length, precision, height, width, number of components.
            if let (true, &[_, _, _, y1, y0, x1, x0, components, ..]) = (is_frame, segment) {
                let side = |high, low| usize::from(u16::from_be_bytes([high, low]));
                headers.height = side(y1, y0);
                headers.width = side(x1, x0);
                headers.components = components;
            }
            headers.scans += usize::from(marker == 0xda);
            headers.has_codes |= marker == 0xc4;
            at += 1 + usize::from(u16::from_be_bytes([high, low]));
        }
    }
}

/// The picture with a mark that it is a frame of motion JPEG. Those may leave out their Huffman codes, which are then the
/// usual ones (ITU T.81, annex K.3); decoders supply them if they are told. `scratch` holds the result.
///
/// # Panics
/// If `data` has less than the two bytes of the start of a picture.
pub fn with_usual_codes<'a>(data: &[u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let (start, rest) = data.split_at(2);
    scratch.clear();
    scratch.extend_from_slice(start);
    scratch.extend_from_slice(&MOTION_JPEG);
    scratch.extend_from_slice(rest);
    scratch
}
