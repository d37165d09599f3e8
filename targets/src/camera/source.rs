//! What all sources of frames have in common: how they are asked, what they answer, and what can be wrong with them.

use super::{CameraError, FrameBuffer, Problem};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Something that gives frames, one after the other. Dropping it ends its threads, connections and children.
pub trait Source: Send {
    /// The next frame into `into`, whose contents mean nothing unless the answer is [`Next::Frame`]; waits at most
    /// `limit`.
    ///
    /// Live sources (cameras, streams) give the newest frame that there is and pass over those that nobody asked for
    /// in time; files, folders and pipes give every frame.
    ///
    /// # Errors
    /// [`SourceError::kind`] says whether to ask on, to open the location again, or to give up.
    fn next(&mut self, into: &mut FrameBuffer, limit: Duration) -> Result<Next, SourceError>;

    /// What did not become a frame, since the source was opened.
    fn counts(&self) -> Counts {
        Counts::default()
    }
}

/// What came of asking a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A frame.
    Frame,
    /// Nothing came within the limit; ask again.
    Nothing,
    /// The file, the folder or the pipe ended.
    End,
}

/// Pictures that did not become frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Damaged, incomplete or too large.
    pub damaged: u64,
    /// Good, and passed over for a newer one or for [`Options::max_fps`].
    pub skipped: u64,
}

/// What is the same for all sources.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Most frames a second; what comes beyond is passed over, if possible before it is decoded. Files and folders
    /// without a speed of their own are not slowed down.
    pub max_fps: Option<f32>,
    /// Most pixels of a picture.
    pub max_pixels: usize,
    /// Most bytes of an encoded picture.
    pub max_bytes: usize,
    /// Videos and streams that `ffmpeg` decodes are scaled down to fit into this width and height.
    pub fit: Option<[u32; 2]>,
    /// A live source that says nothing for so long is taken for lost.
    pub stall: Duration,
    /// The program that decodes videos and streams.
    pub ffmpeg: PathBuf,
    /// The program that takes pictures with cameras of a Raspberry Pi.
    pub rpicam: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_fps: None,
            max_pixels: 16_000_000,
            max_bytes: 12_000_000,
            fit: None,
            stall: Duration::from_secs(20),
            ffmpeg: "ffmpeg".into(),
            rpicam: "rpicam-vid".into(),
        }
    }
}

/// What follows from an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// It will be the same next time: something must be changed by hand.
    Permanent,
    /// The camera or the connection is gone: open the location again after a while.
    Lost,
    /// One picture could not be used; the source goes on.
    Damaged,
}

/// What is wrong with a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    kind: ErrorKind,
    message: String,
}

impl SourceError {
    /// `place` is the location with its password masked, or what stands for it.
    pub(crate) fn new(kind: ErrorKind, place: impl fmt::Display, what: impl fmt::Display) -> Self {
        SourceError { kind, message: format!("{place}: {what}") }
    }

    /// What follows from it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SourceError {}

impl From<CameraError> for SourceError {
    fn from(error: CameraError) -> Self {
        let kind = match error.problem {
            // A camera that is pulled out, in use or forbidden today may come back.
            Problem::NotOffered { .. } | Problem::NotACamera(_) => ErrorKind::Permanent,
            _ => ErrorKind::Lost,
        };
        SourceError { kind, message: error.to_string() }
    }
}
