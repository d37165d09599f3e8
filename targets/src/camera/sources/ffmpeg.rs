//! Videos and streams that `ffmpeg`, another program, decodes and writes to a pipe.
//!
//! It writes portable pixmaps: `ffmpeg` knows the colour matrix and the range of a stream, which YUV4MPEG2 has no room for,
//! so it makes RGB; each pixmap tells its size, which raw video does not, and which may change when a camera is set up
//! anew. No second program must be asked for the size first, and nothing is compressed again.
//!
//! An address with a password is not among the arguments, which everybody on the machine can see: it goes through a pipe, as
//! a playlist with one entry.

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
    let is_rtsp = url.scheme().starts_with("rtsp");
    let protocols = if is_rtsp { "rtsp,rtsps,rtp,tcp,tls,udp" } else { "http,https,tcp,tls,crypto" };
    let mut arguments: Vec<OsString> = Vec::new();
    let mut input = String::new();
    if url.login().is_some() {
        let protocols = format!("pipe,{protocols}");
        let playlist = ["-f", "concat", "-safe", "0", "-protocol_whitelist", &protocols, "-i", "pipe:0"];
        arguments.extend(playlist.map(OsString::from));
        input = self::playlist(url, is_rtsp);
    } else {
        if is_rtsp {
            arguments.extend(["-rtsp_transport", "tcp"].map(OsString::from));
        }
        let address = url.without_login();
        arguments.extend(["-protocol_whitelist", protocols, "-i", &address].map(OsString::from));
    }
    let hidden = url.clone();
    let program = Program {
        command: command(arguments, options),
        input,
        place,
        advice: ADVICE,
        mask: Box::new(move |text| hidden.mask(text)),
        keep: Keep::Newest,
        failure: ErrorKind::Lost,
    };
    start(program, options)
}

/// A playlist with one entry. Options of a stream do not reach it; that RTSP goes through TCP can be said in the address.
fn playlist(url: &Url, is_rtsp: bool) -> String {
    let mut address = url.with_password();
    if is_rtsp {
        address.push_str(if url.path_and_query().contains('?') { "&tcp" } else { "?tcp" });
    }
    format!("ffconcat version 1.0\nfile '{}'\n", address.replace('\'', "'\\''"))
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
        input: String::new(),
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

fn command(arguments: Vec<OsString>, options: &Options) -> Command {
    let mut command = Command::new(&options.ffmpeg);
    command.args(["-hide_banner", "-nostdin", "-loglevel", "error"]).args(arguments);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn playlists_are_quoted() {
        let url = |text| Url::parse(text, &["rtsp", "http"]).unwrap();
        let first = "ffconcat version 1.0\n";
        assert_eq!(
            playlist(&url("rtsp://a:b'c@host/x?y=z"), true),
            format!("{first}file 'rtsp://a:b'\\''c@host/x?y=z&tcp'\n")
        );
        assert_eq!(
            playlist(&url("http://a:b@host/x.m3u8"), false),
            format!("{first}file 'http://a:b@host/x.m3u8'\n")
        );
    }

    #[test]
    fn passwords_are_no_arguments() {
        let url = Url::parse("rtsp://me:secret@host/x", &["rtsp"]).unwrap();
        // A program that says what it is called with, instead of ffmpeg.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("arguments");
        std::fs::write(
            &path,
            "#!/bin/sh\necho \"$@\" >&2\nread first; read second\necho \"$second\" >&2\nexit 1\n",
        )
        .unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let options = Options { ffmpeg: path, ..Options::default() };
        let mut source = stream(&url, url.to_string(), &options).unwrap();
        let error = source.next(&mut crate::camera::FrameBuffer::new(), std::time::Duration::from_secs(60));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("-i pipe:0 ") && error.contains("file 'rtsp://me:***@host/x?tcp'"), "{error}");
    }
}
