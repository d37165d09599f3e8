//! Maps a file read-only, or reads it into memory of larger pages.
//!
//! Going through weights of gigabytes, a processor looks up the place of each 4 KiB page that it meets; pages of 2 MiB
//! spare it most of that. A mapped file gets them for nothing where its pages came into the system's cache in pieces
//! of that size, which is what a file system with large folios does when it *reads* a file, as long as the map asks
//! for it; a file that was just *written* lies there in small ones. Memory of our own gets them always, for the price
//! of reading the file, and of memory that cannot be dropped.

#![allow(unsafe_code)]

use crate::Error;
use crate::error::SetupError;
use crate::platform::machine;
use alloc::string::ToString;
use core::ops::{Deref, DerefMut};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Largest pages that are asked for: on x86-64, and on ARM with pages of 4 KiB.
const HUGE_PAGE: usize = 2 << 20;
/// Bytes read between two reports of progress.
const PIECE: usize = 8 << 20;

/// Maps the whole of `path`. An empty file gives an empty map.
///
/// # Errors
/// [`Error::Io`] if the file cannot be opened, is a directory or cannot be mapped.
pub fn map(path: &Path) -> Result<memmap2::Mmap, Error> {
    let (file, _) = open(path)?;
    // SAFETY: the map is read-only and private to this process. What it cannot exclude is another process
    // writing to the file meanwhile: pg-quantize never does (it renames a finished file into place), and the
    // documentation asks users not to. Kernels read mapped bytes as plain numbers, any value of which is valid.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| in_file(path, &e))?;
    // Reads what is not in the cache yet in large pieces, which halves the time of that too. A system without huge
    // pages refuses, and then nothing is lost.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    Ok(map)
}

/// Opens a regular file; returns it with its size in bytes.
///
/// # Errors
/// [`Error::Io`] if it cannot be opened or is something else.
pub fn open(path: &Path) -> Result<(File, u64), Error> {
    let file = File::open(path).map_err(|e| in_file(path, &e))?;
    let about = file.metadata().map_err(|e| in_file(path, &e))?;
    let kind = about.file_type();
    if !kind.is_file() {
        let reason = if kind.is_dir() { "is a folder, not a model file" } else { "is not a regular file" };
        return Err(Error::Io { path: path.display().to_string(), reason: reason.into() });
    }
    Ok((file, about.len()))
}

/// Reads the whole of `path` into huge pages where the system has them, telling `progress` of bytes read and all
/// bytes. The system's own copy of the file is dropped from its cache, so that one remains.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`SetupError::Copy`] if the machine has less memory than that.
pub fn read(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Anonymous, Error> {
    let (mut file, bytes) = open(path)?;
    if let Some(available) = machine::available().map(|a| a.bytes()).filter(|&a| a < bytes) {
        return Err(SetupError::Copy { needed: bytes, available }.into());
    }
    let mut done = 0;
    let mut memory = Anonymous::new(bytes as usize, Pages::Huge).map_err(|e| in_file(path, &e))?;
    for piece in memory.chunks_mut(PIECE) {
        file.read_exact(piece).map_err(|e| in_file(path, &e))?;
        done += piece.len() as u64;
        progress(done, bytes);
    }
    forget(&file);
    Ok(memory)
}

fn in_file(path: &Path, e: &io::Error) -> Error {
    Error::Io { path: path.display().to_string(), reason: e.to_string() }
}

/// Drops a file's pages from the system's cache, as far as they are on the disk and nobody else uses them: the next
/// reader gets them in large pieces.
pub(super) fn forget(file: &File) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open, because `file` is borrowed; the call reads and writes no memory of ours.
        // It is a hint: whether it was taken makes no difference to us.
        let _ = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// Kinds of pages that memory can be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// The processor's smallest, 4 KiB on most.
    Small,
    /// 2 MiB, as far as the system gives them.
    Huge,
}

/// Memory straight from the system, all zero, that belongs to no file.
#[derive(Debug)]
pub struct Anonymous {
    map: memmap2::MmapMut,
    /// Where the first huge page begins.
    start: usize,
    bytes: usize,
}

impl Anonymous {
    /// Takes `bytes`; they become real pages when they are first written.
    ///
    /// # Errors
    /// If the system refuses that much.
    pub fn new(bytes: usize, pages: Pages) -> io::Result<Self> {
        let room = if pages == Pages::Huge { HUGE_PAGE } else { 0 };
        let whole = bytes.checked_add(room).ok_or(io::ErrorKind::OutOfMemory)?;
        let map = memmap2::MmapMut::map_anon(whole)?;
        // What cannot be had is no reason to fail: `huge_bytes` says what was given.
        #[cfg(target_os = "linux")]
        let _ = map.advise(match pages {
            Pages::Small => memmap2::Advice::NoHugePage,
            Pages::Huge => memmap2::Advice::HugePage,
        });
        let start = map.as_ptr().align_offset(HUGE_PAGE).min(room);
        Ok(Anonymous { map, start, bytes })
    }
}

impl Deref for Anonymous {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.map[self.start..][..self.bytes]
    }
}

impl DerefMut for Anonymous {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.map[self.start..][..self.bytes]
    }
}

/// How much of the maps that hold `memory` lies in huge pages now, in bytes; `None` where the system does not say.
pub fn huge_bytes(memory: &[u8]) -> Option<u64> {
    let first = memory.as_ptr() as u64;
    count_huge(&std::fs::read_to_string("/proc/self/smaps").ok()?, first, first + memory.len() as u64)
}

fn count_huge(smaps: &str, first: u64, end: u64) -> Option<u64> {
    let range = |line: &str| {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
    };
    let (mut inside, mut found) = (false, None);
    for line in smaps.lines() {
        if let Some((from, to)) = range(line) {
            inside = from < end && first < to;
        }
        if inside {
            let kinds = ["AnonHugePages", "FilePmdMapped"];
            for bytes in kinds.iter().filter_map(|key| machine::kilobytes(line, key)) {
                found = Some(found.unwrap_or(0) + bytes);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_are_counted_where_the_memory_is() {
        let smaps = "7f0000-7f2000 r--s 00 00:00 1 /x\nRss: 8 kB\nAnonHugePages: 0 kB\nFilePmdMapped: 4096 kB\n\
                     7f2000-7f4000 rw-p 00 00:00 0\nAnonHugePages: 2048 kB\n";
        assert_eq!(count_huge(smaps, 0x7f0000, 0x7f0010), Some(4096 << 10));
        assert_eq!(count_huge(smaps, 0x7f1000, 0x7f3000), Some(6144 << 10));
        assert_eq!(count_huge(smaps, 0x10, 0x20), None);
    }

    #[test]
    fn memory_is_zero_and_of_the_size_asked_for() {
        for pages in [Pages::Small, Pages::Huge] {
            for bytes in [0, 1, 5_000, HUGE_PAGE + 1] {
                let mut memory = Anonymous::new(bytes, pages).unwrap();
                assert!(memory.len() == bytes && memory.iter().all(|&b| b == 0));
                memory.fill(1);
                if pages == Pages::Huge {
                    assert_eq!(memory.as_ptr() as usize % HUGE_PAGE, 0);
                }
            }
        }
        assert!(Anonymous::new(usize::MAX, Pages::Huge).is_err());
    }

    #[test]
    fn a_file_is_read_as_it_is() {
        let path = std::env::temp_dir().join(alloc::format!("pg-read-{}", std::process::id()));
        let bytes: alloc::vec::Vec<u8> = (0..PIECE + 77).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let mut reports = alloc::vec::Vec::new();
        let memory = read(&path, &mut |done, all| reports.push((done, all))).unwrap();
        assert!(*memory == bytes);
        let all = bytes.len() as u64;
        assert_eq!(reports, [(PIECE as u64, all), (all, all)]);
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read(&path, &mut |_, _| {}), Err(Error::Io { .. })));
        assert!(matches!(read(&std::env::temp_dir(), &mut |_, _| {}), Err(Error::Io { .. })));
    }
}
