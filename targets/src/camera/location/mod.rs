//! Where frames come from, as people write it: `v4l2:/dev/video0?fps=5`, `rtsp://host/path`, `dir:/in?watch=1`.

use super::sources;
use super::url::Url;
use super::{Format, Options, Source, SourceError};
use crate::query::{self, Query};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

const KINDS: &str = "v4l2:/dev/video0, rpicam:0, rtsp://…, http(s)://….m3u8, mjpeg+http://…, snapshot+http://…, \
                     file:/x.mp4, dir:/in, pictures:/in, stdin:y4m, stdin:mjpeg, stdin:rgb24@640x480, push: or synthetic:";
/// More pictures a second are a slip of the pen.
const MOST_FPS: f32 = 1000.0;
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where frames come from. Shown without passwords, otherwise as it can be written.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Location {
    /// A camera that Video4Linux2 knows.
    V4l2 {
        /// Such as `/dev/video0`.
        path: PathBuf,
        /// The format to ask it for.
        format: Option<Format>,
        /// Its size and speed.
        mode: Mode,
    },
    /// A camera of a Raspberry Pi, taken by `rpicam-vid`.
    Rpicam {
        /// Its number.
        camera: u32,
        /// Its size and speed.
        mode: Mode,
        /// How its frames come through the pipe.
        codec: RpicamCodec,
    },
    /// A stream that `ffmpeg` decodes.
    Stream(Url),
    /// A video file that `ffmpeg` decodes.
    Video(PathBuf),
    /// A stream of JPEG pictures in one answer of an HTTP server.
    MjpegHttp(Url),
    /// A picture of an HTTP server, asked for again and again.
    Snapshot {
        /// Where it is.
        url: Url,
        /// How often it is asked for.
        every: Duration,
    },
    /// Picture files in a folder, each once.
    Folder {
        /// The folder.
        path: PathBuf,
        /// Whether to wait for new ones.
        watch: bool,
        /// What becomes of a file.
        then: Then,
    },
    /// Still pictures, shown one after the other for ever.
    Pictures {
        /// A folder, or a text file with a path in each line.
        path: PathBuf,
        /// Pictures a second.
        fps: f32,
    },
    /// What is piped into this program.
    Stdin(PipeFormat),
    /// Frames that the program itself hands in.
    Push,
    /// Moving shapes.
    Synthetic {
        /// Its size and speed.
        mode: Mode,
        /// Where the shapes begin.
        seed: u64,
    },
}

/// Size and speed that a camera is asked for; it decides.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Mode {
    /// Width and height.
    pub size: Option<[u32; 2]>,
    /// Frames a second.
    pub fps: Option<f32>,
}

/// How frames come from `rpicam-vid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RpicamCodec {
    /// A JPEG picture a frame.
    Mjpeg,
    /// Planes of luma and chroma.
    Yuv420,
}

/// What becomes of a file of a folder that has become a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// It stays, and is not looked at again.
    Keep,
    /// It is deleted.
    Delete,
    /// It goes to this folder.
    Move(PathBuf),
}

/// What comes through a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PipeFormat {
    /// YUV4MPEG2.
    Y4m,
    /// JPEG pictures, one after the other.
    Mjpeg,
    /// Red, green and blue, with nothing between frames of this width and height.
    Rgb24([u32; 2]),
}

/// What is wrong with how a location is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocationError(String);

impl fmt::Display for LocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LocationError {}

impl Location {
    /// Opens it; this may wait for a camera or a server, a few seconds at most.
    ///
    /// # Errors
    /// Says what is wrong, where, and what to do.
    pub fn open(&self, options: &Options) -> Result<Box<dyn Source>, SourceError> {
        sources::open(self, options)
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        parse(text).map_err(LocationError)
    }
}

fn parse(text: &str) -> Result<Location, String> {
    if text.is_empty() || text.contains('\0') {
        return Err(format!("no camera is named: name {KINDS}"));
    }
    let about = |kind: &'static str| move |e: String| format!("{kind}: {e}");
    for (kind, scheme) in [("mjpeg+http", "http"), ("mjpeg+https", "https")] {
        if let Some(rest) = text.strip_prefix(kind).filter(|r| r.starts_with("://")) {
            return Url::parse(&format!("{scheme}{rest}"), &[scheme])
                .map(Location::MjpegHttp)
                .map_err(about(kind));
        }
    }
    for (kind, scheme) in [("snapshot+http", "http"), ("snapshot+https", "https")] {
        if let Some(rest) = text.strip_prefix(kind).filter(|r| r.starts_with("://")) {
            return snapshot(&format!("{scheme}{rest}"), scheme).map_err(about(kind));
        }
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return stream(text, scheme);
    }
    match text.split_once(':') {
        Some((kind, rest)) if !kind.contains(['/', '.']) => {
            local(kind, rest).map_err(|e| format!("{kind}: {e}"))
        }
        _ => plain(text),
    }
}

fn stream(text: &str, scheme: &str) -> Result<Location, String> {
    let url = Url::parse(text, &["rtsp", "rtsps", "http", "https"]);
    // The scheme stands before any password.
    let url = url.map_err(|e| match scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+') {
        true => format!("{scheme}: {e}; sources are {KINDS}"),
        false => e,
    })?;
    if url.scheme().starts_with("http") && !url.path().ends_with(".m3u8") {
        return Err(format!(
            "{url}: say what is there: mjpeg+{scheme}://… for a stream of JPEG pictures, snapshot+{scheme}://… for a \
             single one; a playlist for ffmpeg ends in .m3u8"
        ));
    }
    Ok(Location::Stream(url))
}

/// A path without a scheme.
fn plain(text: &str) -> Result<Location, String> {
    let path = PathBuf::from(text);
    if path.starts_with("/dev") {
        return local("v4l2", text);
    }
    if path.is_dir() {
        return Err(format!("{text}: is a folder: write dir:{text} or pictures:{text}"));
    }
    if !text.contains(['/', '.']) {
        return Err(format!("{text}: is no source; sources are {KINDS}"));
    }
    Ok(Location::Video(path))
}

fn local(kind: &str, rest: &str) -> Result<Location, String> {
    let (name, mut query) = Query::split(rest)?;
    let path = || match name {
        "" => Err("names no path".to_string()),
        name => Ok(PathBuf::from(name)),
    };
    let location = match kind {
        "v4l2" => {
            let format = query.take("fmt").map(|f| {
                let named = Format::ALL.into_iter().find(|format| format.name() == f);
                named.ok_or_else(|| {
                    format!("fmt={f}: formats are {}", Format::ALL.map(Format::name).join(", "))
                })
            });
            Location::V4l2 { path: path()?, format: format.transpose()?, mode: query.mode()? }
        }
        "rpicam" => {
            let camera = if name.is_empty() { Ok(0) } else { name.parse() };
            let camera = camera.map_err(|_| format!("{name} is no number of a camera: write rpicam:0"))?;
            let codec = match query.take("codec") {
                None | Some("mjpeg") => RpicamCodec::Mjpeg,
                Some("yuv420") => RpicamCodec::Yuv420,
                Some(other) => return Err(format!("codec={other}: codecs are mjpeg and yuv420")),
            };
            Location::Rpicam { camera, mode: query.mode()?, codec }
        }
        "file" => Location::Video(path()?),
        "dir" => {
            let watch = match query.take("watch") {
                None | Some("0") => false,
                Some("1") => true,
                Some(other) => {
                    return Err(format!("watch={other}: write watch=1 to wait for new files, or watch=0"));
                }
            };
            let then = match query.take("then") {
                None | Some("keep") => Then::Keep,
                Some("delete") => Then::Delete,
                Some(then) => match then.strip_prefix("move:").filter(|to| !to.is_empty()) {
                    Some(to) => Then::Move(to.into()),
                    None => {
                        return Err(format!(
                            "then={then}: write then=keep, then=delete or then=move:/folder"
                        ));
                    }
                },
            };
            Location::Folder { path: path()?, watch, then }
        }
        "pictures" => Location::Pictures { path: path()?, fps: query.fps()?.unwrap_or(1.0) },
        "stdin" => Location::Stdin(match (name, name.strip_prefix("rgb24@")) {
            ("y4m", _) => PipeFormat::Y4m,
            ("mjpeg", _) => PipeFormat::Mjpeg,
            (_, Some(text)) => PipeFormat::Rgb24(query::size(text)?),
            _ => return Err(format!("{name}: write stdin:y4m, stdin:mjpeg or stdin:rgb24@640x480")),
        }),
        "push" if name.is_empty() => Location::Push,
        "synthetic" if name.is_empty() => {
            let mode = query.mode()?;
            let seed = query.take("seed").unwrap_or("1");
            let seed = seed.parse().map_err(|_| format!("seed={seed}: a seed is a whole number"))?;
            Location::Synthetic { mode, seed }
        }
        "push" | "synthetic" => return Err(format!("nothing follows but ?…, found {name}")),
        _ => return Err(format!("is no kind of source; sources are {KINDS}")),
    };
    query.done()?;
    Ok(location)
}

/// `every=` is ours, the rest of the query is the server's.
fn snapshot(text: &str, scheme: &str) -> Result<Location, String> {
    let url = Url::parse(text, &[scheme])?;
    let mut every = Duration::from_secs(5);
    let mut path = url.path().to_string();
    let query = url.path_and_query().split_once('?').map_or("", |(_, query)| query);
    let mut separator = '?';
    for part in query.split('&').filter(|p| !p.is_empty()) {
        if let Some(text) = part.strip_prefix("every=") {
            every = duration(text)?;
        } else {
            path.push(separator);
            path.push_str(part);
            separator = '&';
        }
    }
    Ok(Location::Snapshot { url: url.with_path(path), every })
}

/// `5s`, `500ms`, `2m`, `1h`; seconds without a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("every={text}: write a time such as 500ms, 5s or 2m, at most a week");
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let seconds = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    let number: f64 = number.parse().map_err(|_| bad())?;
    let duration = Duration::try_from_secs_f64(number * seconds).map_err(|_| bad())?;
    if duration < Duration::from_millis(10) || duration > LONGEST { Err(bad()) } else { Ok(duration) }
}

impl Query<'_> {
    fn fps(&mut self) -> Result<Option<f32>, String> {
        let Some(text) = self.take("fps") else { return Ok(None) };
        let fps: Option<f32> = text.parse().ok().filter(|fps| *fps >= 0.001 && *fps <= MOST_FPS);
        fps.map(Some).ok_or_else(|| format!("fps={text}: write frames a second, 0.001 to {MOST_FPS}"))
    }

    fn mode(&mut self) -> Result<Mode, String> {
        Ok(Mode { size: self.take("size").map(query::size).transpose()?, fps: self.fps()? })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &Path| path.display().to_string();
        let mut query = Vec::new();
        let mut add_mode = |mode: &Mode| {
            query.extend(mode.size.map(|[w, h]| format!("size={w}x{h}")));
            query.extend(mode.fps.map(|fps| format!("fps={fps}")));
        };
        let name = match self {
            Location::V4l2 { path: device, format, mode } => {
                add_mode(mode);
                query.extend(format.map(|format| format!("fmt={}", format.name())));
                format!("v4l2:{}", path(device))
            }
            Location::Rpicam { camera, mode, codec } => {
                add_mode(mode);
                query.extend((*codec == RpicamCodec::Yuv420).then(|| "codec=yuv420".to_string()));
                format!("rpicam:{camera}")
            }
            Location::Stream(url) => url.to_string(),
            Location::Video(file) => format!("file:{}", path(file)),
            Location::MjpegHttp(url) => format!("mjpeg+{url}"),
            Location::Snapshot { url, every } => {
                let separator = if url.path_and_query().contains('?') { '&' } else { '?' };
                format!("snapshot+{url}{separator}every={}ms", every.as_millis())
            }
            Location::Folder { path: folder, watch, then } => {
                query.extend(watch.then(|| "watch=1".to_string()));
                match then {
                    Then::Keep => {}
                    Then::Delete => query.push("then=delete".into()),
                    Then::Move(to) => query.push(format!("then=move:{}", to.display())),
                }
                format!("dir:{}", path(folder))
            }
            Location::Pictures { path: list, fps } => {
                query.push(format!("fps={fps}"));
                format!("pictures:{}", path(list))
            }
            Location::Stdin(PipeFormat::Y4m) => "stdin:y4m".into(),
            Location::Stdin(PipeFormat::Mjpeg) => "stdin:mjpeg".into(),
            Location::Stdin(PipeFormat::Rgb24([w, h])) => format!("stdin:rgb24@{w}x{h}"),
            Location::Push => "push:".into(),
            Location::Synthetic { mode, seed } => {
                add_mode(mode);
                query.push(format!("seed={seed}"));
                "synthetic:".into()
            }
        };
        f.write_str(&name)?;
        if query.is_empty() { Ok(()) } else { write!(f, "?{}", query.join("&")) }
    }
}

#[cfg(test)]
mod tests;
