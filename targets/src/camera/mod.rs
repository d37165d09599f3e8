//! Cameras and everything else that frames come from: devices, streams, files, pipes.
//!
//! A [`Location`] is read from text and opened once, with [`Options`]; that gives a [`Source`]. It is asked for frames,
//! one at a time, each with a time limit, and fills a [`FrameBuffer`] of 8-bit RGB. `sources` has one file for each kind,
//! `formats` cuts bytes into frames, `colour` has the formulas. Absent: whoever opens a lost source again, what is done
//! with frames, decoders of video (`ffmpeg` is another program).

mod colour;
mod formats;
mod frame;
mod location;
mod source;
mod sources;
mod url;
#[cfg(target_os = "linux")]
pub mod v4l2;

pub use frame::FrameBuffer;
pub use location::{Location, LocationError, Mode, PipeFormat, RpicamCodec, Then};
pub use source::{Counts, ErrorKind, Next, Options, Source, SourceError};
pub use sources::{PushError, Pusher, pushed};
pub use url::Url;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Formats that frames can be made from, best first: nothing lost, then less colour in fewer bytes, then compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Red, green and blue, a byte each.
    Rgb,
    /// Luma of every pixel, chroma of every pair of pixels in a row, interleaved.
    Yuyv,
    /// Luma of every pixel, then chroma of every square of four pixels.
    Nv12,
    /// A JPEG picture a frame.
    Mjpeg,
}

impl Format {
    /// All of them, best first.
    pub const ALL: [Format; 4] = [Format::Rgb, Format::Yuyv, Format::Nv12, Format::Mjpeg];

    /// As people type it.
    pub const fn name(self) -> &'static str {
        match self {
            Format::Rgb => "rgb",
            Format::Yuyv => "yuyv",
            Format::Nv12 => "nv12",
            Format::Mjpeg => "mjpeg",
        }
    }
}

/// A camera and all that it offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Camera {
    /// Where it is, such as `/dev/video0`.
    pub path: PathBuf,
    /// What it calls itself.
    pub name: String,
    /// The driver's name.
    pub driver: String,
    /// What it is connected to, such as `usb-0000:01:00.0-1.2`.
    pub bus: String,
    /// In the driver's order, those that frames cannot be made from included.
    pub offers: Vec<Offer>,
}

impl Camera {
    /// Names of the formats that frames can be made from, separated by commas.
    pub fn usable(&self) -> String {
        let usable = Format::ALL.into_iter().filter(|f| self.offers.iter().any(|o| o.format == Some(*f)));
        usable.map(Format::name).collect::<Vec<_>>().join(", ")
    }
}

/// One format of a camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The four letters by which drivers know it, such as `YUYV`.
    pub code: String,
    /// The driver's words for it.
    pub description: String,
    /// Which it is, if frames can be made from it.
    pub format: Option<Format>,
    /// In the driver's order; empty if the driver does not say.
    pub sizes: Vec<Size>,
}

/// Sizes of frames, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Just this width and height.
    One([u32; 2]),
    /// From `least` to `most`, in steps.
    Range {
        /// Smallest width and height.
        least: [u32; 2],
        /// Largest width and height.
        most: [u32; 2],
        /// From one width or height to the next.
        step: [u32; 2],
    },
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::One([w, h]) => write!(f, "{w}x{h}"),
            Size::Range { least, most, step } => {
                write!(f, "{}x{} to {}x{}", least[0], least[1], most[0], most[1])?;
                write!(f, " in steps of {}x{}", step[0], step[1])
            }
        }
    }
}

/// What is wrong with a camera.
#[derive(Debug)]
pub struct CameraError {
    /// Which camera.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

/// Kinds of trouble with cameras.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem {
    /// Nothing of that name.
    Missing,
    /// The system does not let this user open it.
    Forbidden,
    /// Something else than a camera that frames can be taken from.
    NotACamera(&'static str),
    /// Another program uses it.
    Busy,
    /// It does not offer the format asked for, or none that frames can be made from.
    NotOffered {
        /// What was asked for, if anything.
        asked: Option<Format>,
        /// What of it frames can be made from or, if nothing, all that it offers, separated by commas.
        offered: String,
    },
    /// The driver contradicts itself, or gives what cannot be used.
    Driver(String),
    /// No frame came in time.
    Late {
        /// How long it was waited for.
        limit: Duration,
        /// Frames that came and were damaged or incomplete.
        damaged: usize,
    },
    /// The system refuses something.
    System {
        /// What was asked of it.
        doing: &'static str,
        /// What it said.
        error: std::io::Error,
    },
}

impl fmt::Display for CameraError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.problem {
            Problem::Missing => {
                f.write_str("there is no such camera; /dev/video* are those that the system knows")
            }
            Problem::Forbidden => {
                f.write_str("may not be opened: add the user to the group video, or ask as root")
            }
            Problem::NotACamera(why) => write!(f, "{why}; name another /dev/video*"),
            Problem::Busy => f.write_str("another program uses the camera: end it first"),
            Problem::NotOffered { asked: Some(asked), offered } => {
                write!(f, "the camera does not offer {}; it offers {offered}", asked.name())
            }
            Problem::NotOffered { asked: None, offered } => {
                let ours = Format::ALL.map(Format::name).join(", ");
                write!(f, "frames are made from {ours}; the camera offers {offered}")
            }
            Problem::Driver(what) => write!(f, "the driver {what}"),
            Problem::Late { limit, damaged } => {
                write!(f, "no frame came in {} ms", limit.as_millis())?;
                match damaged {
                    0 => f.write_str(": is the camera connected, and does it get a signal?"),
                    n => write!(f, "; {n} came damaged or incomplete: check the cable"),
                }
            }
            Problem::System { doing, error } => write!(f, "cannot {doing}: {error}"),
        }
    }
}

impl std::error::Error for CameraError {}
