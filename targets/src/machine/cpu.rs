//! Cores, instruction sets and clocks.

use super::{folders, name, number, text};
use std::collections::BTreeMap;
use std::path::Path;

/// Cores that are believed.
const MOST_CORES: usize = 4096;
/// In thousands a second, as the kernel counts.
const HIGHEST_KHZ: i64 = 20_000_000;

/// Cores of ARM's own design and others', by implementer and part (ARM, Main ID Register).
const PARTS: [(u32, u32, &str); 16] = [
    (0x41, 0xd03, "Cortex-A53"),
    (0x41, 0xd04, "Cortex-A35"),
    (0x41, 0xd05, "Cortex-A55"),
    (0x41, 0xd07, "Cortex-A57"),
    (0x41, 0xd08, "Cortex-A72"),
    (0x41, 0xd09, "Cortex-A73"),
    (0x41, 0xd0a, "Cortex-A75"),
    (0x41, 0xd0b, "Cortex-A76"),
    (0x41, 0xd0c, "Neoverse-N1"),
    (0x41, 0xd41, "Cortex-A78"),
    (0x41, 0xd42, "Cortex-A78AE"),
    (0x61, 0x022, "Icestorm"),
    (0x61, 0x023, "Firestorm"),
    (0x61, 0x032, "Blizzard"),
    (0x61, 0x033, "Avalanche"),
    (0x00, 0x051, "QEMU's max"),
];

/// The processor.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cpu {
    /// Kinds of cores and how many of each are online, such as `Cortex-A76`.
    pub cores: Vec<(String, usize)>,
    /// Instruction sets as the kernel names them, without the rest of its list.
    pub features: Vec<String>,
    /// Whether the kernel runs this program in 32 bits.
    pub is_32_bit: bool,
}

/// What the kernels look for.
const LOOKED_FOR: [&str; 13] = [
    "asimd",
    "asimdhp",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
];

impl Cpu {
    pub(super) fn read(root: &Path) -> Self {
        let text = text(&root.join("proc/cpuinfo")).unwrap_or_default();
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        let mut features: Option<Vec<&str>> = None;
        let mut is_32_bit = false;
        for core in text.split("\n\n").take(MOST_CORES) {
            let value = |key: &str| {
                let line = core.lines().find(|l| l.split(':').next().is_some_and(|k| k.trim_end() == key))?;
                Some(line.split_once(':')?.1.trim())
            };
            if value("processor").is_none() {
                continue;
            }
            let hex = |key| u32::from_str_radix(value(key)?.strip_prefix("0x")?, 16).ok();
            let kind = match (hex("CPU implementer"), hex("CPU part")) {
                (Some(implementer), Some(part)) => PARTS
                    .iter()
                    .find(|(i, p, _)| (*i, *p) == (implementer, part))
                    .map_or_else(|| format!("core {implementer:#x}/{part:#x}"), |(.., name)| (*name).into()),
                _ => value("model name")
                    .map_or("core".into(), |n| n.chars().filter(|c| !c.is_control()).take(60).collect()),
            };
            *kinds.entry(kind).or_default() += 1;
            let found: Vec<&str> =
                value("Features").or(value("flags")).unwrap_or("").split_whitespace().collect();
            // The list of 32-bit programs has other names.
            is_32_bit |= found.contains(&"vfpv4") && !found.contains(&"asimd");
            // What some cores lack, programs cannot use.
            features = Some(match features {
                None => found,
                Some(before) => before.into_iter().filter(|f| found.contains(f)).collect(),
            });
        }
        let features = features.unwrap_or_default();
        Cpu {
            cores: kinds.into_iter().collect(),
            features: LOOKED_FOR.iter().filter(|f| features.contains(f)).map(|f| (*f).into()).collect(),
            is_32_bit,
        }
    }

    /// Cores of all kinds.
    pub fn n_cores(&self) -> usize {
        self.cores.iter().map(|(_, n)| n).sum()
    }
}

/// The kernel table that runs on a processor with these instruction sets, if any but `scalar` does.
pub fn table_for(features: &[String]) -> Option<&'static str> {
    let has = |wanted: &[&str]| wanted.iter().all(|w| features.iter().any(|f| f == w));
    // The best one first.
    let tables: [(&[&str], &str); 6] = [
        (&["avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni"], "avx512-vnni"),
        (&["avx2", "fma", "f16c", "avx_vnni"], "avx-vnni"),
        (&["avx2", "fma", "f16c"], "avx2"),
        (&["asimd", "asimddp", "i8mm"], "neon-i8mm"),
        (&["asimd", "asimddp"], "neon-dotprod"),
        (&["asimd"], "neon"),
    ];
    tables.into_iter().find(|(wanted, _)| has(wanted)).map(|(_, name)| name)
}

/// The clock of some cores.
#[derive(Debug, Clone, PartialEq)]
pub struct Frequency {
    /// Who sets it, such as `ondemand`.
    pub governor: String,
    /// The most that is allowed now, in thousands a second.
    pub allowed_khz: Option<i64>,
    /// The most that the cores can do, in thousands a second.
    pub possible_khz: Option<i64>,
}

pub(super) fn frequencies(sys: &Path) -> Vec<Frequency> {
    let mut found = Vec::new();
    for core in folders(&sys.join("devices/system/cpu"), "cpu") {
        let of = |file| core.join("cpufreq").join(file);
        let khz = |file| number(&of(file), 1, HIGHEST_KHZ);
        let Some(governor) = name(&of("scaling_governor")) else { continue };
        let frequency = Frequency {
            governor,
            allowed_khz: khz("scaling_max_freq"),
            possible_khz: khz("cpuinfo_max_freq"),
        };
        if !found.contains(&frequency) {
            found.push(frequency);
        }
    }
    found
}

/// The clock of the core that is nearest to its fastest, as a share of that.
pub(super) fn clock_share(sys: &Path) -> Option<f64> {
    let share = |core: &std::path::PathBuf| {
        let khz = |file| number(&core.join("cpufreq").join(file), 1, HIGHEST_KHZ);
        Some(khz("scaling_cur_freq")? as f64 / khz("cpuinfo_max_freq")? as f64)
    };
    folders(&sys.join("devices/system/cpu"), "cpu").iter().filter_map(share).max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_by_instruction_sets() {
        let table = |list: &str| table_for(&list.split(' ').map(String::from).collect::<Vec<_>>());
        assert_eq!(table("asimd"), Some("neon"));
        assert_eq!(table("asimd asimdhp asimddp"), Some("neon-dotprod"));
        assert_eq!(table("i8mm asimddp asimd"), Some("neon-i8mm"));
        assert_eq!(table("avx2 fma"), None);
        assert_eq!(table("avx2 fma f16c avx_vnni"), Some("avx-vnni"));
    }

    /// The names in `proc` and what the processor says are two ways to the same answer.
    #[test]
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn this_machine_is_read_as_the_kernels_see_it() {
        let cpu = Cpu::read(Path::new("/"));
        assert!(cpu.n_cores() >= 1);
        let expected = pg_runtime::Kernels::detect().name();
        assert_eq!(table_for(&cpu.features).unwrap_or("scalar"), expected);
    }
}
