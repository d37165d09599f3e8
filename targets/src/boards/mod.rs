//! Boards as data: the files of `targets/boards`, which are part of every program that asks for them.

mod estimate;

pub use estimate::{Estimate, Input};

use serde::Deserialize;

/// The files of `targets/boards`, in the order in which people look for them.
const FILES: [&str; 12] = [
    include_str!("../../boards/raspberry-pi-zero-2-w.toml"),
    include_str!("../../boards/raspberry-pi-3b.toml"),
    include_str!("../../boards/raspberry-pi-4b.toml"),
    include_str!("../../boards/raspberry-pi-5.toml"),
    include_str!("../../boards/raspberry-pi-500.toml"),
    include_str!("../../boards/jetson-nano.toml"),
    include_str!("../../boards/jetson-orin-nano.toml"),
    include_str!("../../boards/jetson-agx-orin.toml"),
    include_str!("../../boards/apple-m1.toml"),
    include_str!("../../boards/apple-m2.toml"),
    include_str!("../../boards/apple-m4.toml"),
    include_str!("../../boards/x86-64.toml"),
];

/// What a board is by its vendor's documents, and what is expected of it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name in options.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// Texts of which the device tree's `model` contains one.
    pub models: Vec<String>,
    /// The chip.
    pub soc: String,
    /// Cores of each kind.
    pub cores: Vec<Cores>,
    /// Memory that it is sold with, in GiB.
    pub memory_gib: Vec<f64>,
    /// What the memory can deliver, in 10^9 bytes a second.
    pub bandwidth_gb_s: Option<f64>,
    /// Instruction sets that the kernels look for, as Linux calls them in /proc/cpuinfo.
    pub features: Vec<String>,
    /// The kernel table that should run.
    pub kernels: String,
    /// What programs are built for.
    pub triple: String,
    /// The processor of QEMU that stands for it, if one does.
    pub emulator: Option<String>,
    /// What the kernels reach, estimated.
    pub macs_per_cycle: Option<MacsPerCycle>,
}

/// Cores of one kind.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cores {
    /// As the vendor calls them.
    pub name: String,
    /// How many.
    pub count: usize,
    /// The highest clock, in 10^9 a second.
    pub clock_ghz: Option<f64>,
}

/// Multiplications of one core in one cycle with 4-bit weights, everything around them included: estimates.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MacsPerCycle {
    /// In the vision tower.
    pub vision: f64,
    /// In a prefix.
    pub prefill: f64,
    /// In decoding, while weights come from a cache.
    pub decode: f64,
}

impl Profile {
    /// Every board.
    ///
    /// # Panics
    /// If a file is no profile, which a test excludes.
    pub fn all() -> Vec<Profile> {
        FILES.iter().map(|file| Self::parse(file).expect("tested")).collect()
    }

    /// Reads a board file.
    ///
    /// # Errors
    /// What is wrong with it, with the place.
    pub fn parse(text: &str) -> Result<Profile, String> {
        toml::from_str(text).map_err(|e| e.to_string())
    }

    /// The board of this name.
    ///
    /// # Errors
    /// A message with the names that there are.
    pub fn by_name(name: &str) -> Result<Profile, String> {
        let all = Self::all();
        let names: Vec<&str> = all.iter().map(|p| p.name.as_str()).collect();
        let message = format!("there is no board {name:?}; there are {}", names.join(", "));
        all.into_iter().find(|p| p.name == name).ok_or(message)
    }

    /// The board that a device tree's `model` is of: the one with the longest text that is part of it.
    pub fn of_model(model: &str) -> Option<Profile> {
        let longest = |p: &Profile| p.models.iter().filter(|m| model.contains(*m)).map(String::len).max();
        Self::all().into_iter().filter(|p| longest(p).is_some()).max_by_key(longest)
    }

    /// Cores of all kinds.
    pub fn n_cores(&self) -> usize {
        self.cores.iter().map(|c| c.count).sum()
    }

    /// Such as `4 x Cortex-A76 at 2.4 GHz`.
    pub fn cores_text(&self) -> String {
        let text = |c: &Cores| {
            let clock = c.clock_ghz.map_or(String::new(), |ghz| format!(" at {ghz} GHz"));
            format!("{} x {}{clock}", c.count, c.name)
        };
        self.cores.iter().map(text).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_file_is_a_profile_of_its_name() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/boards");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|e| {
                e.unwrap().file_name().into_string().unwrap().strip_suffix(".toml").map(String::from)
            })
            .collect();
        let all: Vec<Profile> = FILES.iter().map(|f| Profile::parse(f).unwrap()).collect();
        let names: BTreeSet<String> = all.iter().map(|p| p.name.clone()).collect();
        assert_eq!((names.len(), &names), (all.len(), &files), "names are unique, and those of the files");
        let titles: BTreeSet<&str> = all.iter().map(|p| p.title.as_str()).collect();
        assert_eq!(titles.len(), all.len());
        for p in &all {
            assert!(
                p.cores.iter().all(|c| c.count > 0 && c.clock_ghz.is_none_or(|g| (0.5..6.0).contains(&g)))
            );
            assert!(p.memory_gib.is_sorted() && p.memory_gib.iter().all(|&g| g > 0.0), "{}", p.name);
            assert_eq!(crate::machine::table_for(&p.features), Some(p.kernels.as_str()), "{}", p.name);
            assert_eq!(Profile::by_name(&p.name).as_ref(), Ok(p));
        }
        assert!(Profile::by_name("pdp-11").unwrap_err().contains("raspberry-pi-5, "));
    }

    #[test]
    fn what_is_no_profile_is_refused_with_the_place() {
        let good = FILES[0];
        for (bad, part) in [
            (good.replace("soc =", "sock ="), "unknown field `sock`"),
            (good.replace("kernels = \"neon\"\n", ""), "missing field `kernels`"),
            (good.replace("count = 4", "count = -4"), "line"),
            (good.replace("memory_gib = [0.5]", "memory_gib = \"much\""), "line"),
            ("\u{0}\u{1}".into(), "line"),
        ] {
            let message = Profile::parse(&bad).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn models_are_told_apart() {
        for (model, name) in [
            ("Raspberry Pi 5 Model B Rev 1.0", Some("raspberry-pi-5")),
            ("Raspberry Pi 500 Rev 1.0", Some("raspberry-pi-500")),
            ("Raspberry Pi 4 Model B Rev 1.5", Some("raspberry-pi-4b")),
            ("Raspberry Pi 3 Model B Rev 1.2", Some("raspberry-pi-3b")),
            ("Raspberry Pi 3 Model B Plus Rev 1.3", None),
            ("Raspberry Pi Zero 2 W Rev 1.0", Some("raspberry-pi-zero-2-w")),
            ("NVIDIA Jetson Nano Developer Kit", Some("jetson-nano")),
            ("NVIDIA Jetson Nano 2GB Developer Kit", Some("jetson-nano")),
            ("NVIDIA Orin Nano Developer Kit", Some("jetson-orin-nano")),
            ("NVIDIA Jetson Orin Nano Developer Kit", Some("jetson-orin-nano")),
            ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", Some("jetson-orin-nano")),
            ("NVIDIA Jetson AGX Orin Developer Kit", Some("jetson-agx-orin")),
            ("Apple MacBook Air (M1, 2020)", Some("apple-m1")),
            ("Apple MacBook Pro (13-inch, M1, 2020)", Some("apple-m1")),
            ("Apple MacBook Pro (14-inch, M1 Pro, 2021)", None),
            ("Apple iMac (24-inch, 4x USB-C, M1, 2021)", Some("apple-m1")),
            ("Apple MacBook Air (15-inch, M2, 2023)", Some("apple-m2")),
            ("Apple MacBook Pro (14-inch, M4, 2024)", Some("apple-m4")),
            ("Apple iMac (24-inch, 2x USB-C, M4, 2024)", None),
            ("linux,dummy-virt", None),
            ("", None),
        ] {
            assert_eq!(Profile::of_model(model).map(|p| p.name).as_deref(), name, "{model}");
        }
    }
}
