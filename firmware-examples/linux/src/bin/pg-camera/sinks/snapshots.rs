//! A JPEG and a JSON file for every event with a picture, within a quota.
//!
//! Each file is written under another name and renamed, so that one that is there is whole, whatever happens meanwhile.
//! The picture comes first: a JSON file always has its picture. The oldest go first when the folder is full, or a file is
//! too old.
//!
//! The wall clock is asked how old a file is only when the program starts; from then on the steady clock counts. So a clock
//! that is set, however far, removes nothing, and what was written before it was set is neither older nor newer for it.

use super::Reader;
use crate::app::App;
use crate::config;
use crate::event::Event;
use pg_runtime::platform::{files, sizes};
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

/// Events written at a time.
const BATCH: usize = 16;
/// Snapshots that are written in a row before it is said that they can be: on a disk that is full, small ones still fit.
const SOUND: u32 = 4;
/// A file from before this time (January 2024) was written while the clock was not set: nobody knows how old it is.
const CLOCK_WAS_SET: Duration = Duration::from_secs(1_704_067_200);

/// The folder and what may be in it.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    max_bytes: u64,
    max_age: Duration,
    /// What is in it, the oldest first: listed once, because a full folder has thousands of files.
    kept: VecDeque<Snapshot>,
    /// What it takes.
    bytes: u64,
    opened: Instant,
}

impl Folder {
    /// Makes the folder, if need be, and removes what a crash left half-written.
    ///
    /// # Errors
    /// If it cannot be made or written to.
    pub(crate) fn open(settings: &config::Snapshots) -> Result<Self, String> {
        let path = settings.folder.clone();
        let fail = |e: io::Error| format!("snapshots.folder {}: {e}", path.display());
        fs::create_dir_all(&path).map_err(fail)?;
        let mut folder = Folder {
            max_bytes: sizes::parse(&settings.max_size)?,
            max_age: Duration::from_secs_f64(settings.max_days * 86_400.0),
            kept: VecDeque::new(),
            bytes: 0,
            opened: Instant::now(),
            path: path.clone(),
        };
        let probe = path.join(format!(".probe-{}", std::process::id()));
        fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe)).map_err(fail)?;
        for entry in fs::read_dir(&path).map_err(fail)?.flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with('.') && name.to_string_lossy().contains(".partial-") {
                // Another program may be faster at removing it.
                let _ = fs::remove_file(entry.path());
            }
        }
        folder.kept = list(&path, SystemTime::now()).map_err(fail)?;
        folder.bytes = folder.kept.iter().map(|s| s.bytes).sum();
        folder.make_room(0, Duration::ZERO).map_err(fail)?;
        Ok(folder)
    }

    /// Writes an event that has a picture.
    ///
    /// # Errors
    /// If it cannot be written; then nothing of it is left.
    fn write(&mut self, event: &Event, picture: &[u8]) -> io::Result<()> {
        let json = serde_json::to_vec(event).map_err(io::Error::other)?;
        let bytes = (picture.len() + json.len()) as u64;
        let now = self.opened.elapsed();
        self.make_room(bytes, now)?;
        let name = file_name(event);
        let jpeg = self.path.join(format!("{name}.jpg"));
        files::write_whole(&jpeg, picture)?;
        files::write_whole(&self.path.join(format!("{name}.json")), &json).inspect_err(|_| {
            // The disk is full: half a snapshot is of no use.
            let _ = fs::remove_file(&jpeg);
        })?;
        self.kept.push_back(Snapshot { name, bytes, age: Duration::ZERO, since: now });
        self.bytes += bytes;
        Ok(())
    }

    /// Removes what is too old, and the oldest until there is room for so many bytes more; `now` counts from when it was
    /// opened.
    fn make_room(&mut self, bytes: u64, now: Duration) -> io::Result<()> {
        while let Some((i, snapshot)) = self.unwanted(bytes, now) {
            // The JSON file first: none is ever without its picture.
            for ending in ["json", "jpg"] {
                match fs::remove_file(self.path.join(format!("{}.{ending}", snapshot.name))) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
            self.bytes -= snapshot.bytes;
            self.kept.remove(i);
        }
        Ok(())
    }

    /// One that has to go, and its place. Ages need not be in order: those of some are not known.
    fn unwanted(&self, bytes: u64, now: Duration) -> Option<(usize, &Snapshot)> {
        let is_full = self.bytes + bytes > self.max_bytes;
        self.kept.iter().enumerate().find(|(_, s)| is_full || s.age_at(now) > self.max_age)
    }
}

/// The snapshots in a folder, the oldest first. Those that seem to come from the future are older than all others: they were
/// written by a clock that has been set right since.
fn list(folder: &Path, now: SystemTime) -> io::Result<VecDeque<Snapshot>> {
    let mut all: BTreeMap<String, (u64, SystemTime)> = BTreeMap::new();
    for entry in fs::read_dir(folder)?.flatten() {
        let Some(name) = stem(&entry.path()) else { continue };
        let Ok(meta) = entry.metadata() else { continue };
        let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let (bytes, newest) = all.entry(name).or_insert((0, modified));
        *bytes += meta.len();
        *newest = modified.max(*newest);
    }
    // By name, and so by time; what follows keeps that order among equals.
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_key(|(_, (_, modified))| *modified <= now);
    let snapshot = |(name, (bytes, modified)): (String, (u64, SystemTime))| {
        let is_known = modified >= SystemTime::UNIX_EPOCH + CLOCK_WAS_SET;
        let age = now.duration_since(modified).ok().filter(|_| is_known).unwrap_or_default();
        Snapshot { name, bytes, age, since: Duration::ZERO }
    };
    Ok(all.into_iter().map(snapshot).collect())
}

/// A picture and its event.
#[derive(Debug)]
struct Snapshot {
    /// Of both files, without their endings.
    name: String,
    bytes: u64,
    /// How old it was at that time since the folder was opened.
    age: Duration,
    since: Duration,
}

impl Snapshot {
    fn age_at(&self, now: Duration) -> Duration {
        self.age + now.saturating_sub(self.since)
    }
}

/// The name of one of our files without its ending; other files in the folder are left alone.
fn stem(path: &Path) -> Option<String> {
    let ending = path.extension()?;
    let name = path.file_stem()?.to_str()?;
    let is_ours = (ending == "jpg" || ending == "json")
        && name.len() > 20
        && name.as_bytes()[..15].iter().all(|b| b.is_ascii_digit() || *b == b'T');
    is_ours.then(|| name.to_string())
}

/// In the order of time, and its own for every event: `20261128T041559.123Z-door-19ace5e5a71c0de-12-caption-340`.
fn file_name(event: &Event) -> String {
    let time: String = event.ts.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    format!("{time}-{}-{}-{}-{}", event.camera, event.id, event.kind.name(), event.seq)
}

/// Writes until the program ends and everything is written.
pub(crate) async fn run(app: Arc<App>, mut folder: Folder) {
    let mut reader = Reader::new(app.clone());
    // Once one could not be written: those that could since the last that could not.
    let mut trouble: Option<u32> = None;
    while let Some(events) = reader.next(BATCH).await {
        let written = tokio::task::spawn_blocking(move || {
            let with_picture = |e: &Arc<Event>| e.picture.clone().filter(|p| !p.is_empty());
            let tried = events.iter().filter_map(|e| Some(folder.write(e, &with_picture(e)?)));
            let tried: Vec<_> = tried.collect();
            (folder, tried)
        });
        let Ok((back, tried)) = written.await else { return };
        folder = back;
        // Events without a picture say nothing about the disk.
        for result in tried {
            match &result {
                Err(e) => {
                    if trouble.is_none() {
                        ::log::error!("snapshots cannot be written: {e}; tried again with every event");
                    }
                    trouble = Some(0);
                }
                Ok(()) => trouble = trouble.map(|n| n + 1),
            }
            if trouble.is_some_and(|n| n >= SOUND) {
                ::log::info!("snapshots can be written again");
                trouble = None;
            }
            app.health.snapshots_failed.fetch_add(u64::from(result.is_err()), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;

    fn folder(name: &str, max_size: &str) -> (Folder, PathBuf) {
        let path = std::env::temp_dir().join(format!("pg-snapshots-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let settings =
            config::Snapshots { folder: path.clone(), max_size: max_size.into(), max_days: 1.0, quality: 85 };
        (Folder::open(&settings).unwrap(), path)
    }

    fn event(second: u64) -> Event {
        let ts =
            crate::event::timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second));
        Event::new(Kind::Caption, &"door".into(), "1-2".into(), ts)
    }

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_go_first_and_the_quota_holds() {
        let (mut folder, path) = folder("quota", "10k");
        fs::write(path.join("notes.txt"), vec![0; 50_000]).unwrap();
        for second in 0..20 {
            folder.write(&event(second), &[7; 1500]).unwrap();
            let used: u64 = list(&path, SystemTime::now()).unwrap().iter().map(|s| s.bytes).sum();
            assert!(used <= 10_000, "{used}");
        }
        let names = names(&path);
        assert!(names.contains(&"notes.txt".to_string()));
        assert!(names.iter().any(|n| n.starts_with("20231114T221339.000Z-door-1-2-caption-0.")), "{names:?}");
        assert!(
            names.iter().filter(|n| n.ends_with(".jpg")).count()
                == names.iter().filter(|n| n.ends_with(".json")).count()
        );
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn two_answers_about_one_picture_have_their_own_files() {
        let (mut folder, path) = folder("own", "1M");
        for seq in [1, 2] {
            folder.write(&Event { seq, ..event(0) }, &[7; 100]).unwrap();
        }
        assert_eq!(names(&path).len(), 4, "{:?}", names(&path));
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn what_a_crash_left_is_removed_and_what_is_too_old() {
        let (mut folder, path) = folder("crash", "1M");
        folder.write(&event(0), &[7; 100]).unwrap();
        fs::write(path.join(".20231114T221339.jpg.partial-99"), b"half").unwrap();
        folder.make_room(0, Duration::from_secs(2 * 86_400)).unwrap();
        let settings =
            config::Snapshots { folder: path.clone(), max_size: "1M".into(), max_days: 1.0, quality: 85 };
        Folder::open(&settings).unwrap();
        assert!(names(&path).is_empty(), "{:?}", names(&path));
        fs::remove_dir_all(&path).unwrap();
    }

    /// Gives a snapshot's files this time.
    fn touch(path: &Path, time: SystemTime) {
        for entry in fs::read_dir(path).unwrap() {
            fs::File::options().write(true).open(entry.unwrap().path()).unwrap().set_modified(time).unwrap();
        }
    }

    #[test]
    fn what_a_clock_that_was_not_set_wrote_is_of_no_known_age() {
        let (mut folder, path) = folder("clock", "10k");
        folder.write(&event(0), &[7; 100]).unwrap();
        let settings = |max_days| config::Snapshots {
            folder: path.clone(),
            max_size: "10k".into(),
            max_days,
            quality: 85,
        };
        touch(&path, SystemTime::UNIX_EPOCH + Duration::from_secs(77));
        assert_eq!(Folder::open(&settings(1.0)).unwrap().kept.len(), 1);
        touch(&path, SystemTime::now() - Duration::from_secs(3 * 86_400));
        assert_eq!(Folder::open(&settings(4.0)).unwrap().kept.len(), 1);
        let mut folder = Folder::open(&settings(4.0)).unwrap();
        folder.make_room(0, Duration::from_secs(86_400 - 60)).unwrap();
        assert_eq!(folder.kept.len(), 1);
        folder.make_room(0, Duration::from_secs(86_400 + 60)).unwrap();
        assert_eq!((folder.kept.len(), names(&path).len()), (0, 0));
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn the_newest_stay_when_the_clock_goes_back() {
        let (mut folder, path) = folder("back", "10k");
        let year = 365 * 86_400;
        // A full folder, and then a clock that is a year behind.
        (0..8).for_each(|n| folder.write(&event(year + n), &[7; 1500]).unwrap());
        let before = folder.kept.len();
        (0..3).for_each(|n| folder.write(&event(n), &[7; 1500]).unwrap());
        assert_eq!(folder.kept.len(), before);
        let old = |name: &str| name.starts_with("20231114T2213");
        assert_eq!(names(&path).iter().filter(|n| old(n) && n.ends_with(".jpg")).count(), 3);
        // After a restart, too: what seems to come from the future goes first.
        touch(&path, SystemTime::now() - Duration::from_secs(60));
        for name in names(&path).iter().filter(|n| !old(n)) {
            let file = fs::File::options().write(true).open(path.join(name)).unwrap();
            file.set_modified(SystemTime::now() + Duration::from_secs(year)).unwrap();
        }
        let kept = list(&path, SystemTime::now()).unwrap();
        assert!(kept.iter().rev().take(3).all(|s| old(&s.name)), "{kept:?}");
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_refused_by_name() {
        let settings = config::Snapshots {
            folder: "/proc/snapshots".into(),
            max_size: "1M".into(),
            max_days: 1.0,
            quality: 85,
        };
        let error = Folder::open(&settings).unwrap_err();
        assert!(error.starts_with("snapshots.folder /proc/snapshots: "), "{error}");
    }
}
