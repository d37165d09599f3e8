//! Windows onto a file's bytes, mapped only as long as they are used.
//!
//! A checkpoint is mapped piece by piece, so that the pages read so far do not stay resident: packing needs no
//! more memory for 6 GB of weights than for 60 MB.
#![allow(unsafe_code)]

use memmap2::{Mmap, MmapOptions};
use std::fs::File;
use std::io;
use std::ops::Deref;

/// Bytes of a checkpoint file.
#[derive(Debug)]
pub(crate) enum Bytes {
    /// Part of the program.
    Bundled(&'static [u8]),
    /// On disk, with its length when it was opened.
    File(File, u64),
}

/// A range of [`Bytes`], readable until it is dropped.
#[derive(Debug)]
pub(crate) enum Window {
    Bundled(&'static [u8]),
    Mapped(Mmap),
}

impl Bytes {
    /// Length of the whole.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Bytes::Bundled(b) => b.len() as u64,
            Bytes::File(_, len) => *len,
        }
    }

    /// The `len` bytes from `offset` on.
    pub(crate) fn window(&self, offset: u64, len: usize) -> io::Result<Window> {
        let end = offset.checked_add(len as u64).filter(|&end| end <= self.len());
        let Some(end) = end else {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the range ends beyond the file"));
        };
        match self {
            Bytes::Bundled(b) => Ok(Window::Bundled(&b[offset as usize..end as usize])),
            Bytes::File(file, known) => {
                if file.metadata()?.len() != *known {
                    return Err(io::Error::other("the file changed while it was being read"));
                }
                // SAFETY: the invariant is that nobody changes or cuts the file while this window exists. `File`
                // is opened read-only by `super::safetensors` and this program never writes to a checkpoint; the
                // length was compared just now. Another process that changes the file meanwhile breaks the
                // invariant (wrong weights, or SIGBUS if it cuts the file): that risk is stated in `--help`.
                let map = unsafe { MmapOptions::new().offset(offset).len(len).map(file)? };
                Ok(Window::Mapped(map))
            }
        }
    }
}

impl Deref for Window {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Window::Bundled(b) => b,
            Window::Mapped(m) => m,
        }
    }
}
