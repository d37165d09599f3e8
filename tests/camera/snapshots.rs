//! Snapshots through crashes and full disks.

use crate::daemon::{CAMERA, Daemon};
use pg_runtime::pictures;
use std::collections::BTreeSet;
use std::path::Path;

const SNAPSHOTS: &str = "[snapshots]\nfolder = \"FOLDER/snapshots\"\nmax_size = \"300k\"\n";
const BYTES: u64 = 300_000;

/// Checks every file of the folder: whole, paired, within the quota. Returns how many pictures there are.
fn check(folder: &Path, may_lack_json: bool) -> usize {
    let (mut jpegs, mut jsons, mut bytes) = (BTreeSet::new(), BTreeSet::new(), 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.file_name().unwrap().to_string_lossy().starts_with('.') {
            continue;
        }
        let data = std::fs::read(&path).unwrap();
        bytes += data.len() as u64;
        if path.extension().unwrap() == "jpg" {
            pictures::decode_jpeg(&data).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert!(data.ends_with(&[0xff, 0xd9]), "{} is torn", path.display());
            jpegs.insert(name);
        } else {
            let event: serde_json::Value = serde_json::from_slice(&data).unwrap();
            assert_eq!(event["v"], 1);
            jsons.insert(name);
        }
    }
    assert!(bytes <= BYTES, "{bytes} bytes");
    assert!(jsons.is_subset(&jpegs), "{:?}", jsons.difference(&jpegs));
    assert!(may_lack_json || jpegs == jsons, "{:?}", jpegs.difference(&jsons));
    jpegs.len()
}

#[test]
fn none_is_torn_by_kill_9_and_the_quota_holds() {
    let mut folder = None;
    // Pictures come as fast as they can be written, so that most moments are in the middle of a snapshot.
    let camera = format!("{CAMERA}max_fps = 120.0\n");
    // The moments are spread over the time that a snapshot takes, without a clock: after another number of events each.
    for round in 0..50 {
        let config = format!("{SNAPSHOTS}{camera}");
        let config = match &folder {
            None => config,
            Some(kept) => config.replace("FOLDER", &Path::new(kept).display().to_string()),
        };
        let mut daemon = Daemon::start(&config);
        for _ in 0..1 + round % 7 {
            daemon.event();
        }
        std::thread::sleep(std::time::Duration::from_micros(round * 331 % 5000));
        daemon.signal("KILL");
        assert!(!daemon.ended().success());
        let path = match &folder {
            None => daemon.folder.path().to_owned(),
            Some(kept) => Path::new(kept).to_owned(),
        };
        // The one that was being written may have its picture only.
        check(&path.join("snapshots"), true);
        if folder.is_none() {
            let kept = std::mem::replace(&mut daemon.folder, tempfile::tempdir().unwrap());
            folder = Some(kept.keep());
        }
    }
    let folder = folder.unwrap();
    let mut daemon =
        Daemon::start(&format!("{SNAPSHOTS}{camera}").replace("FOLDER", &folder.display().to_string()));
    let hidden = |path: &Path| {
        let names = std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|n| n.contains(".partial-")).count()
    };
    assert_eq!(hidden(&folder.join("snapshots")), 0, "what crashes left is removed at the start");
    for _ in 0..20 {
        daemon.event();
    }
    daemon.signal("TERM");
    assert!(daemon.ended().success());
    assert!(check(&folder.join("snapshots"), true) > 3);
    std::fs::remove_dir_all(folder).unwrap();
}
