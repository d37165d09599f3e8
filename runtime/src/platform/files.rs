//! Files that appear under their name only when they are complete.
//!
//! Until then an older file of that name stays as it is, and whatever fails leaves nothing behind. Only a process
//! killed in between leaves its `.NAME.partial-PID`, which nothing reads.

use alloc::format;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Files of this many bytes leave the system's cache when they are finished.
const FORGET_FROM: u64 = 64 << 20;

/// A file being written under a temporary name in its own folder; [`PartialFile::finish`] gives it its name.
#[derive(Debug)]
pub struct PartialFile {
    /// `None` once it is closed.
    file: Option<BufWriter<File>>,
    temporary: PathBuf,
    output: PathBuf,
}

impl PartialFile {
    /// Starts a file beside `output`.
    ///
    /// # Errors
    /// If `output` is a folder or a device, or its folder cannot be written to.
    pub fn create(output: &Path) -> io::Result<Self> {
        // A link is followed, so that its target is replaced and not the link.
        let place = match output.canonicalize() {
            Ok(real) => {
                let kind = real.metadata()?;
                if kind.is_dir() {
                    return Err(io::Error::other("is a folder: name a file in it"));
                }
                if !kind.is_file() {
                    return Err(io::Error::other("is no regular file: name a place on a disk"));
                }
                real
            }
            Err(_) => output.to_path_buf(),
        };
        let Some(name) = place.file_name() else { return Err(io::Error::other("names no file")) };
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".partial-{}", std::process::id()));
        let temporary = place.with_file_name(hidden);
        let file = File::create(&temporary)?;
        Ok(PartialFile { file: Some(BufWriter::with_capacity(1 << 20, file)), temporary, output: place })
    }

    /// Makes the file durable, then gives it its name; returns its size.
    ///
    /// # Errors
    /// If the disk is full or fails; nothing is left then.
    pub fn finish(mut self) -> io::Result<u64> {
        // Dropping `self` on an error removes the temporary file.
        let writer = self.file.as_mut().expect("open until now");
        writer.flush()?;
        let file = writer.get_ref();
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        if bytes >= FORGET_FROM {
            // Written pages are small ones; a model that is mapped from them decodes a seventh slower.
            super::mmap::forget(file);
        }
        std::fs::rename(&self.temporary, &self.output)?;
        self.file = None;
        if let Some(folder) = self.output.parent().filter(|f| !f.as_os_str().is_empty()) {
            // The new name survives a power cut too where the system can promise it.
            let _ = File::open(folder).and_then(|f| f.sync_all());
        }
        Ok(bytes)
    }
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_mut().expect("open until finished").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().expect("open until finished").flush()
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if let Some(writer) = self.file.take() {
            // What is still buffered belongs to a file that is being removed.
            drop(writer.into_parts());
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Writes `bytes` to `path` as a whole.
///
/// # Errors
/// As [`PartialFile::create`] and [`PartialFile::finish`].
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = PartialFile::create(path)?;
    file.write_all(bytes)?;
    file.finish().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = std::env::temp_dir().join(format!("pg-files-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a");
        write_whole(&path, b"old").unwrap();
        let mut abandoned = PartialFile::create(&path).unwrap();
        abandoned.write_all(b"half").unwrap();
        drop(abandoned);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        std::os::unix::fs::symlink("a", folder.join("link")).unwrap();
        write_whole(&folder.join("link"), b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
        for bad in [folder.as_path(), Path::new("/dev/null"), &folder.join("no/such/place"), Path::new("/")] {
            assert!(write_whole(bad, b"x").is_err(), "{}", bad.display());
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
