//! Picture files: read within limits, and shown one after the other for ever.

use super::pace::{self, Pace};
use crate::camera::formats::{Decoder, Encoding, Limits};
use crate::camera::{Counts, ErrorKind, FrameBuffer, Next, Options, Source, SourceError};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Names of files that may be pictures.
const ENDINGS: [&str; 8] = ["jpg", "jpeg", "png", "bmp", "ppm", "pgm", "pnm", "webp"];
/// Pictures of a list.
const MOST_PICTURES: usize = 100_000;
const MOST_LIST_BYTES: u64 = 16 << 20;

/// Whether a file of this name is looked at.
pub(super) fn is_picture_name(name: &Path) -> bool {
    let is_hidden = name.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with('.'));
    let ending = name.extension().and_then(OsStr::to_str).unwrap_or_default();
    !is_hidden && ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known))
}

/// Picture files of a folder by name; links and folders are left out.
pub(super) fn in_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if is_picture_name(&entry.path()) && entry.file_type()?.is_file() && found.len() < MOST_PICTURES {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Reads picture files into frames.
pub(super) struct Reader {
    decoder: Decoder,
    limits: Limits,
    bytes: Vec<u8>,
}

impl Reader {
    pub(super) fn new(options: &Options) -> Self {
        let limits = Limits::of(options);
        Reader { decoder: Decoder::new(limits), limits, bytes: Vec::new() }
    }

    /// The picture in a file.
    pub(super) fn read(&mut self, path: &Path, into: &mut FrameBuffer) -> Result<(), String> {
        let unreadable = |e: io::Error| format!("cannot be read: {e}");
        // Asked before it is opened: to open a pipe is to wait for whoever writes to it.
        if !fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err("is not a file".into());
        }
        let file = File::open(path).map_err(unreadable)?;
        self.bytes.clear();
        file.take(self.limits.bytes as u64 + 1).read_to_end(&mut self.bytes).map_err(unreadable)?;
        self.decoder.decode(Encoding::File, &self.bytes, into)
    }
}

/// Still pictures in turn.
pub(super) struct Pictures {
    place: String,
    paths: Vec<PathBuf>,
    turn: usize,
    reader: Reader,
    pace: Pace,
    damaged: u64,
    damaged_in_a_row: usize,
}

/// Lists the pictures at `path`: a folder, a picture, or a text with a path in each line.
pub(super) fn open(
    path: &Path,
    fps: f32,
    place: String,
    options: &Options,
) -> Result<Box<dyn Source>, SourceError> {
    let fail = |what: String| SourceError::new(ErrorKind::Permanent, &place, what);
    let paths = list(path).map_err(|e| fail(format!("cannot be read: {e}; check the path")))?;
    if paths.is_empty() {
        return Err(fail(format!("names no pictures; their names end in {}", ENDINGS.join(", "))));
    }
    let pace = Pace::new(pace::slower(Some(fps), options.max_fps));
    let (reader, turn, damaged) = (Reader::new(options), 0, 0);
    Ok(Box::new(Pictures { place, paths, turn, reader, pace, damaged, damaged_in_a_row: 0 }))
}

fn list(path: &Path) -> io::Result<Vec<PathBuf>> {
    if fs::metadata(path)?.is_dir() {
        return in_folder(path);
    }
    if is_picture_name(path) {
        return Ok(vec![path.to_owned()]);
    }
    let mut text = String::new();
    File::open(path)?.take(MOST_LIST_BYTES).read_to_string(&mut text)?;
    let beside = path.parent().unwrap_or(Path::new(""));
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.take(MOST_PICTURES).map(|line| beside.join(line)).collect())
}

impl Source for Pictures {
    fn next(&mut self, into: &mut FrameBuffer, limit: Duration) -> Result<Next, SourceError> {
        if !self.pace.wait(Instant::now() + limit) {
            return Ok(Next::Nothing);
        }
        let path = &self.paths[self.turn];
        self.turn = (self.turn + 1) % self.paths.len();
        if let Err(what) = self.reader.read(path, into) {
            self.damaged += 1;
            self.damaged_in_a_row += 1;
            if self.damaged_in_a_row >= self.paths.len() {
                let what = format!("none of its pictures can be used; {}: {what}", path.display());
                return Err(SourceError::new(ErrorKind::Permanent, &self.place, what));
            }
            return Err(SourceError::new(ErrorKind::Damaged, path.display(), what));
        }
        self.damaged_in_a_row = 0;
        self.pace.given();
        into.set_time(Instant::now(), SystemTime::now());
        Ok(Next::Frame)
    }

    fn counts(&self) -> Counts {
        Counts { damaged: self.damaged, skipped: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/imaging");

    #[test]
    fn pictures_come_in_turn() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["rgb-7x5.png", "rgb-13x9.bmp"] {
            fs::copy(Path::new(GOLDENS).join(name), folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("list"), "# these\nrgb-7x5.png\n\nrgb-13x9.bmp\nmissing.png\n").unwrap();
        for (path, sizes) in [
            (folder.path().to_owned(), vec![Some(13), Some(7), Some(13)]),
            (folder.path().join("list"), vec![Some(7), Some(13), None, Some(7)]),
            (folder.path().join("rgb-7x5.png"), vec![Some(7), Some(7)]),
        ] {
            let mut source = open(&path, 1000.0, "test".into(), &Options::default()).unwrap();
            let mut frame = FrameBuffer::new();
            for width in sizes {
                match source.next(&mut frame, Duration::from_secs(60)) {
                    Ok(next) => assert_eq!((next, Some(frame.width())), (Next::Frame, width)),
                    Err(error) => assert!(width.is_none() && error.kind() == ErrorKind::Damaged, "{error}"),
                }
            }
        }
        let small = Options { max_pixels: 40, ..Options::default() };
        let mut source = open(folder.path(), 1000.0, "test".into(), &small).unwrap();
        assert_eq!(
            source.next(&mut FrameBuffer::new(), Duration::from_secs(60)).unwrap_err().kind(),
            ErrorKind::Damaged
        );
        assert!(open(&folder.path().join("none"), 1.0, "test".into(), &small).is_err());
    }
}
