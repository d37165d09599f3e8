//! What the system says of memory: how much there is for us, and how much we took. Where it says nothing: `None`.

use alloc::string::String;
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// Memory that this process may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Available {
    /// What the system could give now without writing anything to a disk, in bytes.
    pub system: u64,
    /// The lowest limit of the control groups around this process, in bytes.
    pub group: Option<u64>,
}

impl Available {
    /// The lower of the two.
    pub fn bytes(&self) -> u64 {
        self.group.map_or(self.system, |limit| limit.min(self.system))
    }
}

/// Bytes that are read of a file of the system: those of /proc/cpuinfo with several hundred cores.
const LONGEST_FILE: u64 = 1 << 20;

/// Memory that this process may take.
pub fn available() -> Option<Available> {
    available_in(Path::new("/"))
}

/// The same as the files below `root` tell: a copy of another machine's `proc` and `sys`.
pub fn available_in(root: &Path) -> Option<Available> {
    let system = kilobytes(&text(&root.join("proc/meminfo"))?, "MemAvailable")?;
    let groups = text(&root.join("proc/self/cgroup")).unwrap_or_default();
    Some(Available { system, group: limit_files(root, &groups).iter().filter_map(|f| limit(f)).min() })
}

/// The beginning of a small file; `None` if it cannot be read or is no file (a device or a pipe might never end).
pub fn text(path: &Path) -> Option<String> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = alloc::vec::Vec::new();
    fs::File::open(path).ok()?.take(LONGEST_FILE).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The most that this process ever had in memory, mapped files included, in bytes.
pub fn peak_rss() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM")
}

/// What this process has in memory now that belongs to no file, in bytes.
pub fn anonymous_rss() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "RssAnon")
}

/// The value of a line such as `MemAvailable:   123 kB` (the kernel's kB are 1024 bytes), in bytes.
pub fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Files that may hold a limit: those of every group around this process, in both versions of control groups.
fn limit_files(root: &Path, groups: &str) -> alloc::vec::Vec<PathBuf> {
    let mut files = alloc::vec::Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (top, name) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            c if c.split(',').any(|c| c == "memory") => ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let inside = Path::new(path.trim_start_matches('/'));
        // A group's name can hold no "..", but a file that claims to list groups can.
        if inside.components().all(|c| matches!(c, Component::Normal(_))) {
            files.extend(inside.ancestors().map(|group| root.join(top).join(group).join(name)));
        }
    }
    files
}

/// The limit in a file; there is none if it says `max`, or a number that stands for that.
fn limit(file: &Path) -> Option<u64> {
    text(file)?.trim().parse().ok().filter(|&bytes| bytes < 1 << 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_tables_are_read() {
        let text = "MemTotal:  10 kB\nMemAvailable:    2048 kB\nHugePages_Total:       0\n";
        assert_eq!(kilobytes(text, "MemAvailable"), Some(2048 * 1024));
        assert_eq!(kilobytes(text, "Mem"), None);
        assert_eq!(kilobytes(text, "HugePages_Total"), None);
    }

    #[test]
    fn limits_of_all_groups_count() {
        let files =
            limit_files(Path::new("/"), "12:cpu,memory:/a/b\n3:cpuset:/c\n0::/d\n0::/../x\nnonsense\n");
        let expected = [
            "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/d/memory.max",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(files, expected.map(PathBuf::from));
        let both = Available { system: 5, group: Some(3) };
        assert_eq!((both.bytes(), Available { group: None, ..both }.bytes()), (3, 5));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_takes_some() {
        assert!(peak_rss().unwrap() >= anonymous_rss().unwrap());
        assert!(available().unwrap().bytes() > 0);
    }
}
