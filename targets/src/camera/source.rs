//! Where pictures come from, one after another.

use pg_runtime::{Frame, PixelFormat};
use std::time::{Duration, Instant, SystemTime};

/// An RGB picture in memory that is used again and again.
#[derive(Debug, Clone)]
pub struct FrameBuffer {
    width: usize,
    height: usize,
    /// `[height, width, 3]`
    data: Vec<u8>,
    captured: Instant,
    wall: SystemTime,
}

impl Default for FrameBuffer {
    fn default() -> Self {
        let (captured, wall) = (Instant::now(), SystemTime::UNIX_EPOCH);
        FrameBuffer { width: 1, height: 1, data: vec![0; 3], captured, wall }
    }
}

impl FrameBuffer {
    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }
    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }
    /// `[height, width, 3]`
    pub fn data(&self) -> &[u8] {
        &self.data
    }
    /// `[height, width, 3]`
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }
    /// When the picture was taken.
    pub fn captured(&self) -> Instant {
        self.captured
    }
    /// When the picture was taken, by the calendar.
    pub fn wall(&self) -> SystemTime {
        self.wall
    }
    /// Takes another size; the pixels are whatever they were. Taken at this moment.
    pub fn set_size(&mut self, width: usize, height: usize) {
        (self.width, self.height) = (width.max(1), height.max(1));
        self.data.resize(self.width * self.height * 3, 0);
        (self.captured, self.wall) = (Instant::now(), SystemTime::now());
    }
    /// Becomes a copy.
    pub fn copy_from(&mut self, other: &FrameBuffer) {
        (self.width, self.height) = (other.width, other.height);
        self.data.clear();
        self.data.extend_from_slice(&other.data);
        (self.captured, self.wall) = (other.captured, other.wall);
    }
    /// As the runtime takes it.
    pub fn frame(&self) -> Frame<'_> {
        Frame::new(&self.data, self.width, self.height, PixelFormat::Rgb8).expect("sized together")
    }
}

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A picture.
    Frame,
    /// Nothing yet.
    Nothing,
    /// No more.
    End,
}

/// Something that gives pictures.
pub trait Source: Send {
    /// The next picture into `into`; waits at most `limit`.
    ///
    /// # Errors
    /// If the source is lost.
    fn next(&mut self, into: &mut FrameBuffer, limit: Duration) -> Result<Next, String>;
    /// Damaged pictures passed over so far.
    fn damaged(&self) -> u64 {
        0
    }
}

/// How sources are opened.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Pictures a second, at most.
    pub max_fps: Option<f32>,
}

/// Where a source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location;

impl std::str::FromStr for Location {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        if s.starts_with("synthetic:") { Ok(Location) } else { Err(format!("{s}: no such source")) }
    }
}

impl Location {
    /// Opens it.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(&self, _options: &Options) -> Result<Box<dyn Source>, String> {
        Ok(Box::new(Synthetic(0)))
    }
}

struct Synthetic(usize);

impl Source for Synthetic {
    fn next(&mut self, into: &mut FrameBuffer, _: Duration) -> Result<Next, String> {
        std::thread::sleep(Duration::from_millis(100));
        self.0 += 1;
        into.set_size(224, 224);
        let at = (self.0 * 4) % 180;
        for (i, p) in into.data_mut().chunks_exact_mut(3).enumerate() {
            let (x, y) = (i % 224, i / 224);
            let is_in = (at..at + 40).contains(&x) && (60..100).contains(&y);
            p.copy_from_slice(if is_in { &[230, 40, 40] } else { &[200, 200, 200] });
        }
        Ok(Next::Frame)
    }
}
