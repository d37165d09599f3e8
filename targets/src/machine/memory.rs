//! Memory: how much, in which pages, and what stands behind it.

use super::{name, text};
use pg_runtime::platform::machine::{Available, available_in, kilobytes};
use std::path::Path;

/// More than any machine has, in bytes.
const MOST_BYTES: u64 = 1 << 50;

/// Memory in bytes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Memory {
    /// What the kernel has to give.
    pub total: Option<u64>,
    /// What this process could take, and the limit of its control groups.
    pub available: Option<Available>,
    /// Where memory is moved to when it is short.
    pub swaps: Vec<Swap>,
    /// Whether programs get pages of some megabytes.
    pub huge_pages: Option<HugePages>,
    /// Size of the smallest pages.
    pub page: Option<u64>,
}

/// A place for memory that is short.
#[derive(Debug, Clone, PartialEq)]
pub struct Swap {
    /// Its device or file.
    pub name: String,
    /// In bytes.
    pub bytes: u64,
}

impl Swap {
    /// Whether it is compressed memory: it takes from what it adds to.
    pub fn is_memory(&self) -> bool {
        self.name.contains("/zram")
    }
}

/// The kernel's setting of transparent huge pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HugePages {
    /// For every program.
    Always,
    /// For programs that ask, as this one does.
    OnRequest,
    /// For none.
    Never,
}

impl Memory {
    pub(super) fn read(root: &Path) -> Self {
        let believable = |bytes: &u64| (1..=MOST_BYTES).contains(bytes);
        let meminfo = text(&root.join("proc/meminfo")).unwrap_or_default();
        Memory {
            total: kilobytes(&meminfo, "MemTotal").filter(believable),
            available: available_in(root).filter(|a| a.system <= MOST_BYTES),
            swaps: swaps(&text(&root.join("proc/swaps")).unwrap_or_default()),
            huge_pages: huge_pages(root),
            page: text(&root.join("proc/self/smaps"))
                .and_then(|smaps| kilobytes(&smaps, "KernelPageSize"))
                .filter(believable),
        }
    }
}

/// A table with the columns Filename, Type, Size (in kB), Used, Priority.
fn swaps(table: &str) -> Vec<Swap> {
    let swap = |line: &str| {
        let mut words = line.split_whitespace();
        let name: String =
            words.next()?.chars().filter(|c| !c.is_control()).take(super::LONGEST_NAME).collect();
        let bytes = words.nth(1)?.parse::<u64>().ok()?.checked_mul(1024)?;
        Some(Swap { name, bytes }).filter(|s| s.bytes <= MOST_BYTES)
    };
    table.lines().skip(1).take(super::MOST_ENTRIES).filter_map(swap).collect()
}

/// A list such as `always [madvise] never`, the one in use in brackets.
fn huge_pages(root: &Path) -> Option<HugePages> {
    let list = name(&root.join("sys/kernel/mm/transparent_hugepage/enabled"))?;
    match list.split_once('[')?.1.split_once(']')?.0 {
        "always" => Some(HugePages::Always),
        "madvise" => Some(HugePages::OnRequest),
        "never" => Some(HugePages::Never),
        _ => None,
    }
}
