//! Maps a file read-only.

#![allow(unsafe_code)]

use crate::Error;
use alloc::string::ToString;
use std::fs::File;
use std::path::Path;

/// Maps the whole of `path`. An empty file gives an empty map.
///
/// # Errors
/// [`Error::Io`] if the file cannot be opened, is a directory or cannot be mapped.
pub fn map(path: &Path) -> Result<memmap2::Mmap, Error> {
    let io = |e: std::io::Error| Error::Io { path: path.display().to_string(), reason: e.to_string() };
    let file = File::open(path).map_err(io)?;
    let kind = file.metadata().map_err(io)?.file_type();
    if !kind.is_file() {
        let reason = if kind.is_dir() { "is a folder, not a model file" } else { "is not a regular file" };
        return Err(Error::Io { path: path.display().to_string(), reason: reason.into() });
    }
    // SAFETY: the map is read-only and private to this process. What it cannot exclude is another process
    // writing to the file meanwhile: pg-quantize never does (it renames a finished file into place), and the
    // documentation asks users not to. Kernels read mapped bytes as plain numbers, any value of which is valid.
    unsafe { memmap2::Mmap::map(&file) }.map_err(io)
}
