//! A file system that is soon full.

use std::path::Path;
use std::process::{Command, Stdio};

/// A small file system of its own, unmounted at the end.
#[derive(Debug)]
pub struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// Mounts one of `size` (such as `4k`) at `place`; `None` without the right to.
    pub fn mount(place: &'a Path, size: &str) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "small"]).arg(place).stderr(Stdio::null());
        mount.status().is_ok_and(|s| s.success()).then_some(SmallDisk(place))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}
