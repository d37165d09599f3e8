//! Videos and streams that `ffmpeg`, another program, decodes and writes to a pipe.
//!
//! It writes portable pixmaps: `ffmpeg` knows the colour matrix and the range of a stream, which YUV4MPEG2 has no room for,
//! so it makes RGB; each pixmap tells its size, which raw video does not, and which may change when a camera is set up
//! anew. No second program must be asked for the size first, and nothing is compressed again.

use super::child::Program;
use super::feed::Keep;
use crate::camera::formats::{Limits, PpmStream};
use crate::camera::url::Url;
use crate::camera::{ErrorKind, Options, Source, SourceError};
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

const ADVICE: &str = "install ffmpeg (Debian: apt install ffmpeg), or say where it is";

/// A stream: `rtsp://`, `rtsps://` or a playlist by HTTP.
pub(super) fn stream(url: &Url, place: String, options: &Options) -> Result<Box<dyn Source>, SourceError> {
    let mut input: Vec<OsString> = Vec::new();
    if url.scheme().starts_with("rtsp") {
        input.extend(["-rtsp_transport", "tcp", "-allowed_media_types", "video"].map(OsString::from));
        input.extend(["-protocol_whitelist", "rtsp,rtsps,rtp,tcp,tls,udp"].map(OsString::from));
    } else {
        input.extend(["-protocol_whitelist", "http,https,tcp,tls,crypto"].map(OsString::from));
    }
    input.extend(["-fflags", "nobuffer", "-i"].map(OsString::from));
    input.push(url.with_password().into());
    let hidden = url.clone();
    let program = Program {
        command: command(input, options),
        place,
        advice: ADVICE,
        mask: Box::new(move |text| hidden.mask(text)),
        keep: Keep::Newest,
        failure: ErrorKind::Lost,
    };
    start(program, options)
}

/// A video file: every frame, or so many of them as make the speed that is wanted by the video's own clock.
pub(super) fn file(path: &Path, place: String, options: &Options) -> Result<Box<dyn Source>, SourceError> {
    if !path.is_file() {
        let what = "there is no such file, or it is none; check the path";
        return Err(SourceError::new(ErrorKind::Permanent, place, what));
    }
    // A file that names others, as playlists do, must not reach the network; a name may look like an option or an address.
    let mut input: Vec<OsString> = ["-protocol_whitelist", "file", "-i"].map(OsString::from).into();
    let mut name = OsString::from("file:");
    name.push(path);
    input.push(name);
    let program = Program {
        command: command(input, options),
        place,
        advice: ADVICE,
        mask: Box::new(str::to_string),
        keep: Keep::All,
        failure: ErrorKind::Permanent,
    };
    start(program, options)
}

fn start(program: Program, options: &Options) -> Result<Box<dyn Source>, SourceError> {
    let limits = Limits::of(options);
    program.start(|stdout| Box::new(PpmStream::new(stdout, &limits)), options)
}

fn command(input: Vec<OsString>, options: &Options) -> Command {
    let mut command = Command::new(&options.ffmpeg);
    command.args(["-hide_banner", "-nostdin", "-loglevel", "error"]).args(input);
    command.args(["-an", "-sn", "-dn", "-map", "0:v:0"]);
    if let Some(filters) = filters(options) {
        command.args(["-vf", &filters]);
    }
    command.args(["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:1"]);
    command
}

/// What is done to frames before they come through the pipe.
fn filters(options: &Options) -> Option<String> {
    let mut filters = Vec::new();
    // Never faster than the source, whose frames would be repeated.
    filters.extend(options.max_fps.map(|fps| format!("fps=fps='min({fps},source_fps)'")));
    filters.extend(
        options.fit.map(|[w, h]| {
            format!("scale=w='min({w},iw)':h='min({h},ih)':force_original_aspect_ratio=decrease")
        }),
    );
    (!filters.is_empty()).then(|| filters.join(","))
}
