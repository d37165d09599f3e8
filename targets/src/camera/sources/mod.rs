//! The sources themselves, one file each, and what several of them need: `feed` hands pictures from a thread to whoever
//! asks, `child` runs other programs, `pace` says when a frame is due. How bytes are cut into frames is in `formats`.

mod child;
mod feed;
mod ffmpeg;
mod folder;
mod http;
mod pace;
mod push;
mod rpicam;
mod stdin;
mod still;
mod synthetic;
#[cfg(all(test, target_os = "linux"))]
mod tests;
#[cfg(target_os = "linux")]
mod v4l2;

pub use push::{PushError, Pusher, pushed};

use super::{ErrorKind, Location, Options, Source, SourceError};

/// Opens `location`.
pub(super) fn open(location: &Location, options: &Options) -> Result<Box<dyn Source>, SourceError> {
    let place = location.to_string();
    match location {
        #[cfg(target_os = "linux")]
        Location::V4l2 { path, format, mode } => {
            v4l2::open(path, &super::v4l2::Wanted { format: *format, mode: *mode }, options)
        }
        #[cfg(not(target_os = "linux"))]
        Location::V4l2 { .. } => Err(SourceError::new(
            ErrorKind::Permanent,
            place,
            "Video4Linux2 is of Linux: name another source",
        )),
        Location::Rpicam { camera, mode, codec } => rpicam::open(*camera, mode, *codec, place, options),
        Location::Stream(url) => ffmpeg::stream(url, place, options),
        Location::Video(path) => ffmpeg::file(path, place, options),
        Location::MjpegHttp(url) => http::stream(url, place, options),
        Location::Snapshot { url, every } => http::snapshot(url, *every, place, options),
        Location::Folder { path, watch, then } => folder::open(path, *watch, then, place, options),
        Location::Pictures { path, fps } => still::open(path, *fps, place, options),
        Location::Stdin(format) => stdin::open(*format, place, options),
        Location::Push => {
            let what = "frames are handed in by the program, which has to open this one itself (`pushed`)";
            Err(SourceError::new(ErrorKind::Permanent, place, what))
        }
        Location::Synthetic { mode, seed } => Ok(Box::new(synthetic::Synthetic::new(mode, *seed, options))),
    }
}
