//! A JPEG and a JSON file for every event with a picture, within a quota.
//!
//! Each file is written under another name and renamed, so that one that is there is whole, whatever happens meanwhile.
//! The picture comes first: a JSON file always has its picture. The oldest go first when the folder is full, or a file is
//! too old.

use super::Reader;
use crate::app::App;
use crate::config;
use crate::event::Event;
use pg_runtime::platform::{files, sizes};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

/// Events written at a time.
const BATCH: usize = 16;

/// The folder and what may be in it.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    max_bytes: u64,
    max_age: Duration,
    /// What is in it, by name and so by time: listed once, because a full folder has thousands of files.
    kept: BTreeMap<String, Snapshot>,
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
            kept: BTreeMap::new(),
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
        folder.kept = list(&path).map_err(fail)?;
        folder.make_room(0, SystemTime::now()).map_err(fail)?;
        Ok(folder)
    }

    /// Writes an event that has a picture.
    ///
    /// # Errors
    /// If it cannot be written; then nothing of it is left.
    fn write(&mut self, event: &Event, picture: &[u8]) -> io::Result<()> {
        let json = serde_json::to_vec(event).map_err(io::Error::other)?;
        let (bytes, now) = ((picture.len() + json.len()) as u64, SystemTime::now());
        self.make_room(bytes, now)?;
        let name = file_name(event);
        let jpeg = self.path.join(format!("{name}.jpg"));
        files::write_whole(&jpeg, picture)?;
        files::write_whole(&self.path.join(format!("{name}.json")), &json).inspect_err(|_| {
            // The disk is full: half a snapshot is of no use.
            let _ = fs::remove_file(&jpeg);
        })?;
        self.kept.insert(name, Snapshot { bytes, modified: now });
        Ok(())
    }

    /// Removes what is too old, and the oldest until there is room for so many bytes more.
    fn make_room(&mut self, bytes: u64, now: SystemTime) -> io::Result<()> {
        let mut used: u64 = self.kept.values().map(|s| s.bytes).sum();
        let mut gone = Vec::new();
        for (name, snapshot) in &self.kept {
            let age = now.duration_since(snapshot.modified).unwrap_or_default();
            if used + bytes > self.max_bytes || age > self.max_age {
                used -= snapshot.bytes;
                gone.push(name.clone());
            }
        }
        for name in gone {
            // The JSON file first: none is ever without its picture.
            for ending in ["json", "jpg"] {
                match fs::remove_file(self.path.join(format!("{name}.{ending}"))) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
            self.kept.remove(&name);
        }
        Ok(())
    }
}

/// The snapshots in a folder.
fn list(folder: &Path) -> io::Result<BTreeMap<String, Snapshot>> {
    let mut all: BTreeMap<String, Snapshot> = BTreeMap::new();
    for entry in fs::read_dir(folder)?.flatten() {
        let Some(name) = stem(&entry.path()) else { continue };
        let Ok(meta) = entry.metadata() else { continue };
        let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let snapshot = all.entry(name).or_insert(Snapshot { bytes: 0, modified });
        snapshot.bytes += meta.len();
        snapshot.modified = snapshot.modified.max(modified);
    }
    Ok(all)
}

#[derive(Debug)]
struct Snapshot {
    bytes: u64,
    modified: SystemTime,
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

/// In the order of time, and its own for every event: `20261128T041559.123Z-door-19ace5e5a71-12-caption-340`.
fn file_name(event: &Event) -> String {
    let time: String = event.ts.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    format!("{time}-{}-{}-{}-{}", event.camera, event.id, event.kind.name(), event.seq)
}

/// Writes until the program ends and everything is written.
pub(crate) async fn run(app: Arc<App>, mut folder: Folder) {
    let mut reader = Reader::new(app.clone());
    let mut complained = false;
    while let Some(events) = reader.next(BATCH).await {
        let written = tokio::task::spawn_blocking(move || {
            let mut failed = (0, None);
            for event in &events {
                let Some(picture) = event.picture.as_ref().filter(|p| !p.is_empty()) else { continue };
                if let Err(e) = folder.write(event, picture) {
                    failed = (failed.0 + 1, Some(e));
                }
            }
            (folder, failed)
        });
        let Ok((back, (n_failed, error))) = written.await else { return };
        folder = back;
        app.health.snapshots_failed.fetch_add(n_failed, Ordering::Relaxed);
        if let Some(e) = &error
            && !complained
        {
            ::log::error!("snapshots cannot be written: {e}; tried again with every event");
        } else if complained && error.is_none() {
            ::log::info!("snapshots can be written again");
        }
        complained = error.is_some();
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
            let used: u64 = list(&path).unwrap().values().map(|s| s.bytes).sum();
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
        folder.make_room(0, SystemTime::now() + Duration::from_secs(2 * 86_400)).unwrap();
        let settings =
            config::Snapshots { folder: path.clone(), max_size: "1M".into(), max_days: 1.0, quality: 85 };
        Folder::open(&settings).unwrap();
        assert!(names(&path).is_empty(), "{:?}", names(&path));
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
