//! Picture files of a folder, each once: those that are there, by name, then those that are put there.
//!
//! A file that cannot be used is never tried twice: it goes to a folder `failed` beside the others or, where files stay,
//! is passed over. Names that no picture has, hidden files and links are left alone.

use super::still::{self, Reader};
use crate::camera::location::Then;
use crate::camera::{Counts, ErrorKind, FrameBuffer, Next, Options, Source, SourceError};
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// A file that was written so lately may still be: the folder says when it is finished.
const FRESH: Duration = Duration::from_secs(2);
/// Files of the same name that a folder takes.
const MOST_NAMESAKES: u32 = 10_000;

/// The files that wait, and what becomes of them.
pub(super) struct Folder {
    path: PathBuf,
    then: Then,
    place: String,
    queue: VecDeque<Found>,
    reader: Reader,
    damaged: u64,
    #[cfg(target_os = "linux")]
    watch: Option<watch::Watch>,
}

struct Found {
    path: PathBuf,
    /// Somebody said that it is finished.
    is_finished: bool,
}

/// Looks into the folder at `path`.
pub(super) fn open(
    path: &Path,
    is_watched: bool,
    then: &Then,
    place: String,
    options: &Options,
) -> Result<Box<dyn Source>, SourceError> {
    let fail = |what: String| SourceError::new(ErrorKind::Permanent, &place, what);
    if !path.is_dir() {
        return Err(fail("there is no such folder; make it, or check the path".into()));
    }
    if let Then::Move(to) = then
        && !to.is_dir()
    {
        return Err(fail(format!("{} is no folder to move files to: make it", to.display())));
    }
    // Before the files are listed: one that comes meanwhile is seen twice rather than never.
    #[cfg(target_os = "linux")]
    let watch = match is_watched {
        true => Some(watch::Watch::new(path).map_err(|e| fail(format!("cannot be watched: {e}")))?),
        false => None,
    };
    #[cfg(not(target_os = "linux"))]
    if is_watched {
        return Err(fail("folders are watched on Linux only: leave watch=1 out".into()));
    }
    let mut folder = Folder {
        path: path.to_owned(),
        then: then.clone(),
        place,
        queue: VecDeque::new(),
        reader: Reader::new(options),
        damaged: 0,
        #[cfg(target_os = "linux")]
        watch,
    };
    folder.list()?;
    Ok(Box::new(folder))
}

impl Folder {
    fn list(&mut self) -> Result<(), SourceError> {
        let lost =
            |e: io::Error| SourceError::new(ErrorKind::Lost, &self.place, format!("cannot be read: {e}"));
        let paths = still::in_folder(&self.path).map_err(lost)?;
        self.queue.extend(paths.into_iter().map(|path| Found { path, is_finished: false }));
        Ok(())
    }

    /// The next file's picture; `None` if it is left for later.
    fn take(&mut self, found: &Found, into: &mut FrameBuffer) -> Result<Option<Next>, SourceError> {
        let Ok(meta) = fs::symlink_metadata(&found.path) else { return Ok(None) };
        if !meta.is_file() {
            return Ok(None);
        }
        let written = meta.modified().unwrap_or_else(|_| SystemTime::now());
        match self.reader.read(&found.path, into) {
            Ok(()) => {
                self.settle(&found.path)?;
                into.set_time(Instant::now(), SystemTime::now());
                Ok(Some(Next::Frame))
            }
            Err(_) if !found.is_finished && self.is_watched() && is_fresh(written) => Ok(None),
            Err(what) => {
                self.damaged += 1;
                self.put_aside(&found.path)?;
                Err(SourceError::new(ErrorKind::Damaged, found.path.display(), what))
            }
        }
    }

    fn is_watched(&self) -> bool {
        #[cfg(target_os = "linux")]
        return self.watch.is_some();
        #[cfg(not(target_os = "linux"))]
        false
    }

    /// Does with a file that has become a frame what was asked for.
    fn settle(&self, file: &Path) -> Result<(), SourceError> {
        let (result, doing) = match &self.then {
            Then::Keep => return Ok(()),
            Then::Delete => (fs::remove_file(file), "deleted".to_string()),
            Then::Move(to) => (move_to(file, to), format!("moved to {}", to.display())),
        };
        self.must(result, file, &doing)
    }

    /// Moves a file out of the way that is no picture.
    fn put_aside(&self, file: &Path) -> Result<(), SourceError> {
        if self.then == Then::Keep {
            return Ok(());
        }
        let failed = self.path.join("failed");
        let moved = fs::create_dir_all(&failed).and_then(|()| move_to(file, &failed));
        self.must(moved, file, &format!("moved to {}", failed.display()))
    }

    fn must(&self, result: io::Result<()>, file: &Path, done: &str) -> Result<(), SourceError> {
        result.map_err(|e| {
            let what = format!("{} cannot be {done}: {e}; check who may write there", file.display());
            SourceError::new(ErrorKind::Permanent, &self.place, what)
        })
    }

    /// Waits for new files; `false` if nothing can come.
    #[cfg(target_os = "linux")]
    fn wait(&mut self, until: Instant) -> Result<bool, SourceError> {
        let Some(watch) = &mut self.watch else { return Ok(false) };
        let lost = |what: String| SourceError::new(ErrorKind::Lost, &self.place, what);
        let news = watch.wait(until).map_err(|e| lost(format!("cannot be watched: {e}")))?;
        if news.is_gone {
            return Err(lost("the folder is gone".into()));
        }
        for name in news.names {
            let path = self.path.join(name);
            if still::is_picture_name(&path) && !self.queue.iter().any(|other| other.path == path) {
                self.queue.push_back(Found { path, is_finished: true });
            }
        }
        if news.is_incomplete {
            self.list()?;
        }
        Ok(true)
    }

    #[cfg(not(target_os = "linux"))]
    fn wait(&mut self, _: Instant) -> Result<bool, SourceError> {
        Ok(false)
    }
}

impl Source for Folder {
    fn next(&mut self, into: &mut FrameBuffer, limit: Duration) -> Result<Next, SourceError> {
        let until = Instant::now() + limit;
        loop {
            while let Some(found) = self.queue.pop_front() {
                if let Some(next) = self.take(&found, into)? {
                    return Ok(next);
                }
            }
            match self.wait(until)? {
                false => return Ok(Next::End),
                true if self.queue.is_empty() && Instant::now() >= until => return Ok(Next::Nothing),
                true => {}
            }
        }
    }

    fn counts(&self) -> Counts {
        Counts { damaged: self.damaged, skipped: 0 }
    }
}

fn is_fresh(written: SystemTime) -> bool {
    // A time that is yet to come is no proof of age.
    SystemTime::now().duration_since(written).map_or(true, |age| age < FRESH)
}

/// Moves a file into a folder, under another name if its own is taken.
fn move_to(file: &Path, folder: &Path) -> io::Result<()> {
    let name = file.file_name().unwrap_or_default();
    let mut to = folder.join(name);
    for number in 1..MOST_NAMESAKES {
        if fs::symlink_metadata(&to).is_err() {
            break;
        }
        let mut other = Path::new(name).file_stem().unwrap_or_default().to_owned();
        other.push(format!("-{number}"));
        to = folder.join(other);
        if let Some(ending) = Path::new(name).extension() {
            to.set_extension(ending);
        }
    }
    match fs::rename(file, &to) {
        // To another disk.
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
            fs::copy(file, &to)?;
            fs::remove_file(file)
        }
        other => other,
    }
}

#[cfg(target_os = "linux")]
mod watch {
    //! What Linux says of changes in a folder.

    use crate::ioctl;
    use inotify::{EventMask, Inotify, WatchMask};
    use std::ffi::OsString;
    use std::io;
    use std::path::Path;
    use std::time::Instant;

    pub(super) struct Watch {
        inotify: Inotify,
        buffer: Vec<u8>,
    }

    #[derive(Default)]
    pub(super) struct News {
        pub(super) names: Vec<OsString>,
        /// More has changed than could be told.
        pub(super) is_incomplete: bool,
        pub(super) is_gone: bool,
    }

    impl Watch {
        pub(super) fn new(folder: &Path) -> io::Result<Self> {
            let inotify = Inotify::init()?;
            let finished = WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO;
            let gone = WatchMask::DELETE_SELF | WatchMask::MOVE_SELF | WatchMask::ONLYDIR;
            inotify.watches().add(folder, finished | gone)?;
            Ok(Watch { inotify, buffer: vec![0; 16 << 10] })
        }

        /// Waits for news, at most until then.
        pub(super) fn wait(&mut self, until: Instant) -> io::Result<News> {
            let mut news = News::default();
            if !ioctl::wait(&self.inotify, until)? {
                return Ok(news);
            }
            let events = match self.inotify.read_events(&mut self.buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(news),
                other => other?,
            };
            let gone =
                EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::IGNORED | EventMask::UNMOUNT;
            for event in events {
                news.is_incomplete |= event.mask.contains(EventMask::Q_OVERFLOW);
                news.is_gone |= event.mask.intersects(gone);
                news.names.extend(event.name.map(OsString::from));
            }
            Ok(news)
        }
    }
}
