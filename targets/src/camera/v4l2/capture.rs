//! Frames of one camera: set up once, then taken one at a time.
//!
//! [`Capture::open`] maps four buffers of the driver; pictures go from them into the memory of whoever asks. Taking a frame
//! allocates nothing, except with MJPEG, whose decoder does.

use super::{Format, Problem, capability, codes, offers, open, system};
use crate::camera::colour::{self, Colours};
use crate::camera::formats::{Decoder, Encoding, Limits};
use crate::camera::{CameraError, Counts, FrameBuffer, Mode, Offer, Options};
use crate::ioctl::{self, PictureFormat};
use memmap2::MmapMut;
use pg_runtime::imaging::MAX_SIDE;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Buffers asked for: one to read, one to fill, and two so that a late reader costs no frame.
const BUFFERS: u32 = 4;
/// Fewer cannot be filled while one is read.
const FEWEST_BUFFERS: u32 = 2;

/// What a camera is asked for. It decides: sizes and speeds are near what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Wanted {
    /// The best that it offers if `None`.
    pub format: Option<Format>,
    /// What it is set to if `None`.
    pub mode: Mode,
}

/// A camera that is running.
#[derive(Debug)]
pub struct Capture {
    path: PathBuf,
    // Before the file: what is mapped is given back first.
    buffers: Vec<MmapMut>,
    file: File,
    layout: Layout,
    /// For MJPEG.
    decoder: Decoder,
    /// Damaged or incomplete ones, since it was opened.
    damaged: u64,
    /// Good ones that were passed over.
    skipped: u64,
}

/// Where the parts of a picture lie in a buffer, checked to be possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    format: Format,
    width: usize,
    height: usize,
    /// Bytes from one row to the next.
    stride: usize,
    /// Bytes of a whole picture; the least there is, of MJPEG.
    bytes: usize,
    colours: Colours,
    /// RGB of limited range.
    is_narrow: bool,
}

impl Capture {
    /// Opens the camera at `path`, has it give frames as they are wanted, and starts it.
    ///
    /// # Errors
    /// [`CameraError`] says what is wrong: no camera there, in use, format not offered, a driver that contradicts itself.
    pub fn open(path: &Path, wanted: &Wanted) -> Result<Self, CameraError> {
        Self::start(path, wanted).map_err(|problem| CameraError { path: path.to_owned(), problem })
    }

    fn start(path: &Path, wanted: &Wanted) -> Result<Self, Problem> {
        let file = open(path).map_err(|e| e.problem)?;
        capability(&file, path).map_err(|e| e.problem)?;
        let (format, code) = choose(&offers(&file), wanted.format)?;

        let mut set = ioctl::Format::new();
        ioctl::ask(&file, &ioctl::GET_FORMAT, &mut set).map_err(system("ask for its format"))?;
        let [width, height] = wanted.mode.size.unwrap_or([set.picture.width, set.picture.height]);
        let mut set = ioctl::Format::of(*code, width, height);
        ioctl::ask(&file, &ioctl::SET_FORMAT, &mut set).map_err(system("set the format"))?;
        if set.picture.fourcc != *code {
            return Err(Problem::Driver(format!("offers {} and then gives something else", format.name())));
        }
        if let Some(fps) = wanted.mode.fps {
            let mut speed = ioctl::Speed::of([1000, (fps * 1000.0).round().max(1.0) as u32]);
            // Not every camera has a choice; whoever asks for frames waits for the next one in any case.
            let _ = ioctl::ask(&file, &ioctl::SET_SPEED, &mut speed);
        }
        let layout = Layout::of(format, &set.picture).map_err(Problem::Driver)?;

        let mut asked = ioctl::Buffers::new(BUFFERS);
        ioctl::ask(&file, &ioctl::REQUEST_BUFFERS, &mut asked).map_err(system("get buffers"))?;
        if asked.count < FEWEST_BUFFERS {
            return Err(Problem::Driver(format!("has {} buffers, {FEWEST_BUFFERS} are needed", asked.count)));
        }
        let mut buffers = Vec::new();
        // More than asked for are the driver's to keep.
        for index in 0..asked.count.min(BUFFERS) {
            let mut one = ioctl::Buffer::new(index);
            ioctl::ask(&file, &ioctl::QUERY_BUFFER, &mut one).map_err(system("ask about a buffer"))?;
            let bytes = one.length as usize;
            if bytes < layout.bytes {
                let needed = layout.bytes;
                return Err(Problem::Driver(format!(
                    "has buffers of {bytes} bytes for pictures of {needed}"
                )));
            }
            buffers.push(ioctl::map(&file, one.offset(), bytes).map_err(system("map a buffer"))?);
        }
        let decoder = Decoder::new(Limits::of(&Options::default()));
        let camera =
            Capture { path: path.to_owned(), buffers, file, layout, decoder, damaged: 0, skipped: 0 };
        for index in 0..camera.buffers.len() {
            camera.queue(index)?;
        }
        let mut kind = ioctl::CAPTURE;
        ioctl::ask(&camera.file, &ioctl::STREAM_ON, &mut kind).map_err(system("start the camera"))?;
        Ok(camera)
    }

    /// The format of its frames.
    pub fn format(&self) -> Format {
        self.layout.format
    }

    /// Width and height of its frames, in pixels.
    pub fn size(&self) -> [usize; 2] {
        [self.layout.width, self.layout.height]
    }

    /// Frames that came damaged or incomplete, and good ones that were passed over.
    pub fn counts(&self) -> Counts {
        Counts { damaged: self.damaged, skipped: self.skipped }
    }

    /// The newest frame into `into`: the first that is finished after the call. Those that have been waiting are as old as
    /// the last call, and are passed over, as are damaged ones.
    ///
    /// # Errors
    /// [`Problem::Late`] if none comes within `limit`.
    pub fn take(&mut self, into: &mut FrameBuffer, limit: Duration) -> Result<(), CameraError> {
        self.next(into, limit).map_err(|problem| CameraError { path: self.path.clone(), problem })
    }

    fn next(&mut self, into: &mut FrameBuffer, limit: Duration) -> Result<(), Problem> {
        for _ in 0..self.buffers.len() {
            let Some(filled) = self.dequeue()? else { break };
            self.queue(filled.index)?;
            match filled.bytes {
                Some(_) => self.skipped += 1,
                None => self.damaged += 1,
            }
        }
        let until = Instant::now() + limit;
        let before = self.damaged;
        while ioctl::wait(&self.file, until).map_err(system("wait for a frame"))? {
            // None if it was taken back meanwhile.
            let Some(filled) = self.dequeue()? else { continue };
            let bytes = filled.bytes.filter(|n| *n >= self.layout.bytes);
            let is_made = bytes.is_some_and(|n| self.make(filled.index, n, into));
            self.queue(filled.index)?;
            if is_made {
                let now = (Instant::now(), SystemTime::now());
                let taken =
                    filled.age.and_then(|age| Some((now.0.checked_sub(age)?, now.1.checked_sub(age)?)));
                let (captured, wall) = taken.unwrap_or(now);
                into.set_time(captured, wall);
                return Ok(());
            }
            self.damaged += 1;
        }
        Err(Problem::Late { limit, damaged: (self.damaged - before) as usize })
    }

    /// A filled buffer; nothing if none is filled.
    fn dequeue(&self) -> Result<Option<Filled>, Problem> {
        let mut one = ioctl::Buffer::new(0);
        match ioctl::ask(&self.file, &ioctl::DEQUEUE, &mut one) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
            other => other.map_err(system("take a frame"))?,
        }
        let (index, bytes) = (one.index as usize, one.bytes_used as usize);
        let Some(buffer) = self.buffers.get(index) else {
            return Err(Problem::Driver(format!("gives buffer {index} of {}", self.buffers.len())));
        };
        let is_whole = one.flags & ioctl::DAMAGED == 0 && bytes <= buffer.len();
        Ok(Some(Filled { index, bytes: is_whole.then_some(bytes), age: one.age() }))
    }

    fn queue(&self, index: usize) -> Result<(), Problem> {
        let mut one = ioctl::Buffer::new(index as u32);
        ioctl::ask(&self.file, &ioctl::QUEUE, &mut one).map_err(system("give a buffer back"))
    }

    /// Makes the frame of the first `bytes` of a buffer that is not queued; `false` if they are no picture.
    fn make(&mut self, index: usize, bytes: usize, into: &mut FrameBuffer) -> bool {
        let data = &self.buffers[index][..bytes];
        if self.layout.format == Format::Mjpeg {
            // Cameras begin with broken ones, and cables break others.
            return data.starts_with(&[0xff, 0xd8])
                && self.decoder.decode(Encoding::File, data, into).is_ok();
        }
        self.layout.convert(data, into.reset(self.layout.width, self.layout.height));
        true
    }
}

/// A buffer that the driver has filled.
struct Filled {
    index: usize,
    /// How many bytes of it; `None` of a damaged one.
    bytes: Option<usize>,
    /// How long ago the picture was taken, if the driver says so.
    age: Option<Duration>,
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Closing the device would do the same; nothing can be done about a refusal.
        let mut kind = ioctl::CAPTURE;
        let _ = ioctl::ask(&self.file, &ioctl::STREAM_OFF, &mut kind);
    }
}

/// The format to ask for, and its code among those that are offered.
fn choose(offers: &[Offer], asked: Option<Format>) -> Result<(Format, &'static [u8; 4]), Problem> {
    let is_offered = |code: &[u8; 4]| offers.iter().any(|o| o.code.as_bytes() == code);
    let code = |format: Format| codes(format).iter().copied().find(|code| is_offered(code));
    let usable = Format::ALL.into_iter().filter_map(|format| Some((format, code(format)?)));
    let chosen = usable.clone().find(|(format, _)| asked.is_none_or(|asked| asked == *format));
    chosen.ok_or_else(|| {
        let usable: Vec<&str> = usable.map(|(format, _)| format.name()).collect();
        let all: Vec<&str> = offers.iter().map(|o| o.code.as_str()).collect();
        let offered = [usable, all, vec!["nothing"]].into_iter().find(|list| !list.is_empty());
        Problem::NotOffered { asked, offered: offered.unwrap_or_default().join(", ") }
    })
}

impl Layout {
    fn of(format: Format, set: &PictureFormat) -> Result<Self, String> {
        let (width, height) = (set.width as usize, set.height as usize);
        let sides = 1..=MAX_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(format!(
                "gives pictures of {width} x {height} pixels, sides of 1 to {MAX_SIDE} are possible"
            ));
        }
        let is_odd = |n: usize| !n.is_multiple_of(2);
        if (format == Format::Yuyv || format == Format::Nv12) && is_odd(width)
            || format == Format::Nv12 && is_odd(height)
        {
            return Err(format!(
                "gives {} of {width} x {height} pixels, which cannot be halved",
                format.name()
            ));
        }
        let row = match format {
            Format::Rgb => width * 3,
            Format::Yuyv => width * 2,
            Format::Nv12 => width,
            Format::Mjpeg => 0,
        };
        // 0 where a driver does not fill it in.
        let stride = if set.bytes_per_line == 0 { row } else { set.bytes_per_line as usize };
        if stride < row || stride > 16 * MAX_SIDE {
            return Err(format!("has rows of {row} bytes begin every {stride} bytes"));
        }
        let bytes = match format {
            Format::Mjpeg => 1,
            // The last row of luma is followed by the chroma, half as many rows of the same length.
            Format::Nv12 => stride * (height + height / 2 - 1) + row,
            _ => stride * (height - 1) + row,
        };
        let colours = Colours::of(set.colorspace, set.encoding, set.quantization)
            .ok_or("gives colours of constant luminance, which are not supported")?;
        let is_narrow = set.quantization == 2;
        Ok(Layout { format, width, height, stride, bytes, colours, is_narrow })
    }

    /// `data` of at least `self.bytes` to `[height, width, 3]`.
    fn convert(&self, data: &[u8], rgb: &mut [u8]) {
        let row = |y: usize| &data[y * self.stride..];
        for (y, out) in rgb.chunks_exact_mut(self.width * 3).enumerate() {
            match self.format {
                Format::Rgb => {
                    out.copy_from_slice(&row(y)[..self.width * 3]);
                    if self.is_narrow {
                        colour::widen(out);
                    }
                }
                Format::Yuyv => self.colours.yuyv(&row(y)[..self.width * 2], out),
                Format::Nv12 => {
                    let chroma = &row(self.height + y / 2)[..self.width];
                    self.colours.nv12(&row(y)[..self.width], chroma, out);
                }
                Format::Mjpeg => unreachable!("decoded, not converted"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::Size;

    fn set(width: u32, height: u32, bytes_per_line: u32) -> PictureFormat {
        let mut set = ioctl::Format::of(*b"    ", width, height).picture;
        (set.bytes_per_line, set.colorspace) = (bytes_per_line, 8);
        set
    }

    #[test]
    fn lengths_that_a_driver_gives_are_checked() {
        for (format, picture, complaint) in [
            (Format::Rgb, set(0, 4, 0), "0 x 4 pixels"),
            (Format::Rgb, set(u32::MAX, 4, 0), "4294967295 x 4 pixels"),
            (Format::Rgb, set(4, 4, 11), "rows of 12 bytes begin every 11"),
            (Format::Yuyv, set(4, 4, u32::MAX), "begin every 4294967295"),
            (Format::Yuyv, set(5, 4, 0), "cannot be halved"),
            (Format::Nv12, set(4, 5, 0), "cannot be halved"),
        ] {
            let error = Layout::of(format, &picture).unwrap_err();
            assert!(error.contains(complaint), "{error}");
        }
        for (format, picture, bytes) in [
            (Format::Rgb, set(5, 3, 0), 45),
            (Format::Rgb, set(5, 3, 16), 47),
            (Format::Yuyv, set(4, 3, 0), 24),
            (Format::Nv12, set(4, 4, 0), 24),
            (Format::Nv12, set(4, 4, 8), 44),
            (Format::Mjpeg, set(5, 3, 0), 1),
        ] {
            assert_eq!(Layout::of(format, &picture).unwrap().bytes, bytes);
        }
    }

    #[test]
    fn rows_are_found_where_the_driver_puts_them() {
        let filler = [99; 8];
        let layout = Layout::of(Format::Nv12, &set(4, 4, 8)).unwrap();
        // Luma grows by row; the chroma of the upper half is red, of the lower blue.
        let rows = [[50; 4], [60; 4], [70; 4], [80; 4], [90, 240, 90, 240], [240, 110, 240, 110]];
        let data: Vec<u8> = rows.iter().flat_map(|r| r.iter().chain(&filler[4..]).copied()).collect();
        let mut rgb = vec![0; 48];
        layout.convert(&data[..layout.bytes], &mut rgb);
        for (y, row) in rgb.chunks(12).enumerate() {
            let mut expected = [0; 6];
            let [cb, cr] = [rows[4 + y / 2][0], rows[4 + y / 2][1]];
            layout.colours.yuyv(&[rows[y][0], cb, rows[y][0], cr], &mut expected);
            assert_eq!(row, [expected, expected].concat());
        }
        let layout = Layout::of(Format::Rgb, &set(2, 2, 8)).unwrap();
        let data = [1, 2, 3, 4, 5, 6, 99, 99, 7, 8, 9, 10, 11, 12];
        let mut rgb = vec![0; 12];
        layout.convert(&data, &mut rgb);
        assert_eq!(rgb, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn the_best_format_that_is_offered_is_chosen() {
        let offer = |code: &str| Offer {
            code: code.into(),
            description: String::new(),
            format: None,
            sizes: vec![Size::One([4, 4])],
        };
        let offers = [offer("JPEG"), offer("NV12"), offer("YUYV")];
        assert_eq!(choose(&offers, None).unwrap(), (Format::Yuyv, b"YUYV"));
        assert_eq!(choose(&offers, Some(Format::Mjpeg)).unwrap(), (Format::Mjpeg, b"JPEG"));
        let error = |offers: &[Offer], asked| {
            let problem = choose(offers, asked).unwrap_err();
            CameraError { path: "/dev/video7".into(), problem }.to_string()
        };
        assert_eq!(
            error(&offers, Some(Format::Rgb)),
            "/dev/video7: the camera does not offer rgb; it offers yuyv, nv12, mjpeg"
        );
        assert_eq!(
            error(&[offer("BA81")], None),
            "/dev/video7: frames are made from rgb, yuyv, nv12, mjpeg; the camera offers BA81"
        );
        assert!(error(&[], None).ends_with("the camera offers nothing"));
    }
}
