//! Cameras of a Raspberry Pi, through `rpicam-vid`, another program: the camera's own libraries are C++ and change.

use super::child::Program;
use super::feed::Keep;
use crate::camera::colour::Colours;
use crate::camera::formats::{Chroma, Encoding, JpegStream, Limits, RawStream, Yuv};
use crate::camera::location::{Mode, RpicamCodec};
use crate::camera::{ErrorKind, Options, Source, SourceError};
use std::process::Command;

const ADVICE: &str = "install rpicam-apps on a Raspberry Pi (apt install rpicam-apps), or say where it is";
/// Planes tell no size, so one is always asked for; sides are multiples of what rows are padded to.
const SIZE: [u32; 2] = [640, 480];
const PADDING: u32 = 64;

/// Starts the camera of this number.
pub(super) fn open(
    camera: u32,
    mode: &Mode,
    codec: RpicamCodec,
    place: String,
    options: &Options,
) -> Result<Box<dyn Source>, SourceError> {
    let size = mode.size.unwrap_or(SIZE);
    let limits = Limits::of(options);
    let fail = |what| SourceError::new(ErrorKind::Permanent, &place, what);
    limits.check(size[0] as usize, size[1] as usize).map_err(fail)?;
    if codec == RpicamCodec::Yuv420 && !(size[0].is_multiple_of(PADDING) && size[1].is_multiple_of(2)) {
        let what =
            format!("yuv420 needs a width that {PADDING} divides and an even height: take codec=mjpeg");
        return Err(fail(what));
    }
    let name = match codec {
        RpicamCodec::Mjpeg => "mjpeg",
        RpicamCodec::Yuv420 => "yuv420",
    };
    let mut command = Command::new(&options.rpicam);
    command.args(["--nopreview", "--verbose", "0", "--timeout", "0", "--flush"]);
    command.args(["--camera", &camera.to_string(), "--codec", name]);
    command.args(["--width", &size[0].to_string(), "--height", &size[1].to_string()]);
    if let Some(fps) = mode.fps {
        command.args(["--framerate", &fps.to_string()]);
    }
    command.args(["--output", "-"]);
    let program = Program {
        command,
        input: String::new(),
        place,
        advice: ADVICE,
        mask: Box::new(str::to_string),
        keep: Keep::Newest,
        failure: ErrorKind::Lost,
    };
    let [width, height] = size.map(|side| side as usize);
    // The colour space of video from its image processor is that of small pictures: BT.601, full range with JPEG alone.
    let yuv = Yuv { width, height, chroma: Chroma::Squares, colours: Colours::bt601(false) };
    program.start(
        move |stdout| match codec {
            RpicamCodec::Mjpeg => Box::new(JpegStream::new(stdout, &limits)),
            RpicamCodec::Yuv420 => Box::new(RawStream::new(stdout, Encoding::Yuv(yuv), yuv.bytes())),
        },
        options,
    )
}
