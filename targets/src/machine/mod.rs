//! The machine found: what Linux says of it in `proc` and `sys` below some root, which tests fill with files of real boards.
//!
//! All of it is untrusted: files are read to a limit, lists have one, and a value that no machine has counts as absent.

pub mod checks;
mod cpu;
mod heat;
mod memory;

pub use checks::{Check, Level};
pub use cpu::{Cpu, Frequency, table_for};
pub use heat::{Condition, Power, Zone};
pub use memory::{HugePages, Memory, Swap};

use crate::boards::Profile;
use pg_runtime::platform::machine::text;
use std::path::{Path, PathBuf};

/// Entries that are read of one folder.
const MOST_ENTRIES: usize = 256;
/// Characters of a name that somebody else chose.
const LONGEST_NAME: usize = 100;

/// What was found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Machine {
    /// The device tree's `model`, or the vendor's name of a PC.
    pub model: Option<String>,
    /// Processor cores and their instruction sets.
    pub cpu: Cpu,
    /// Memory, and what takes its place.
    pub memory: Memory,
    /// How fast the cores may run; of each policy.
    pub frequencies: Vec<Frequency>,
    /// Temperatures.
    pub zones: Vec<Zone>,
    /// Names of devices that slow the processor down now, and how far (of how many steps).
    pub slowed_by: Vec<(String, u64, u64)>,
    /// What a Raspberry Pi says of its supply.
    pub power: Power,
    /// Names of video devices, such as cameras; of the machine that this runs on with the formats they offer.
    pub cameras: Vec<String>,
    /// Names of framebuffers.
    pub displays: Vec<String>,
}

impl Machine {
    /// Reads everything below `root`, which is `/` for the machine that this runs on. What is not there is left out.
    pub fn read(root: &Path) -> Self {
        let sys = root.join("sys");
        let model =
            ["sys/firmware/devicetree/base/model", "proc/device-tree/model", "sys/class/dmi/id/product_name"];
        Machine {
            model: model.iter().find_map(|file| name(&root.join(file))),
            cpu: Cpu::read(root),
            memory: Memory::read(root),
            frequencies: cpu::frequencies(&sys),
            zones: heat::zones(&sys),
            slowed_by: heat::slowed_by(&sys),
            power: Power::read(&sys),
            displays: folders(&sys.join("class/graphics"), "fb")
                .iter()
                .filter_map(|device| Some(format!("{} ({})", name(&device.join("name"))?, file_name(device))))
                .collect(),
            cameras: folders(&sys.join("class/video4linux"), "video")
                .iter()
                .filter_map(|device| {
                    let formats =
                        formats(root, &file_name(device)).map(|f| format!(": {f}")).unwrap_or_default();
                    Some(format!("{} ({}{formats})", name(&device.join("name"))?, file_name(device)))
                })
                .collect(),
        }
    }

    /// The board that this is: by its device tree, or any PC with AVX2 for what all of those have in common.
    pub fn profile(&self) -> Option<Profile> {
        let of_model = self.model.as_deref().and_then(Profile::of_model);
        let is_pc = self.cpu.features.iter().any(|f| f == "avx2");
        of_model.or_else(|| Profile::by_name("x86-64").ok().filter(|_| is_pc))
    }
}

/// The formats that a video device of this machine makes frames of, if it is a camera.
fn formats(root: &Path, device: &str) -> Option<String> {
    #[cfg(target_os = "linux")]
    if root == Path::new("/") {
        let camera = crate::camera::v4l2::describe(&Path::new("/dev").join(device)).ok()?;
        return Some(camera.usable()).filter(|formats| !formats.is_empty());
    }
    let _ = (root, device);
    None
}

/// The entries of a folder whose names are `prefix` and a number, in the order of those.
fn folders(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let number = |path: &Path| file_name(path).strip_prefix(prefix)?.parse::<u32>().ok();
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(|e| Some(e.ok()?.path()));
    let mut found: Vec<(u32, PathBuf)> =
        entries.filter_map(|p| Some((number(&p)?, p))).take(MOST_ENTRIES).collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The first line of a file, without what no name consists of; `None` if nothing is left.
fn name(path: &Path) -> Option<String> {
    let text = text(path)?;
    let line = text.lines().next()?.trim_end_matches('\0');
    let shown = line.chars().filter(|c| !c.is_control() && *c != char::REPLACEMENT_CHARACTER);
    let name: String = shown.take(LONGEST_NAME).collect();
    Some(name.trim().to_string()).filter(|n| !n.is_empty())
}

/// The number that a file holds, if it is between the two given.
fn number(path: &Path, least: i64, most: i64) -> Option<i64> {
    text(path)?.trim().parse().ok().filter(|n| (least..=most).contains(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_no_control_characters_and_end() {
        let folder = std::env::temp_dir().join(format!("pg-names-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("name");
        for (bytes, expected) in [
            (&b"Raspberry Pi 5 Model B Rev 1.0\0"[..], Some("Raspberry Pi 5 Model B Rev 1.0")),
            (b"a\x1b[31mb\xff\n second", Some("a[31mb")),
            (b"", None),
            (b"\0\0", None),
        ] {
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(name(&file).as_deref(), expected);
        }
        std::fs::write(&file, "x".repeat(3 << 20)).unwrap();
        assert_eq!(name(&file).map(|n| n.len()), Some(LONGEST_NAME));
        assert_eq!((name(&folder), name(Path::new("/dev/zero"))), (None, None));
        std::fs::write(&file, "99999999999999999999\n").unwrap();
        assert_eq!(number(&file, 0, i64::MAX), None);
        std::fs::write(&file, "85000\n").unwrap();
        assert_eq!((number(&file, 0, 100_000), number(&file, 0, 50)), (Some(85_000), None));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
