//! The output file: written under a temporary name and renamed when it is complete.
//!
//! Called by [`crate::pack`]. An older file of the same name stays as it is until then, and whatever fails leaves
//! nothing behind. Only a process killed in between leaves its `.NAME.partial-PID`, which nothing reads.

use crate::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file that exists under its own name only once [`PartialFile::finish`] was called.
#[derive(Debug)]
pub(crate) struct PartialFile {
    /// `None` once it is closed.
    file: Option<BufWriter<File>>,
    temporary: PathBuf,
    output: PathBuf,
}

impl PartialFile {
    /// Starts a file beside `output`.
    pub(crate) fn create(output: &Path) -> Result<Self, Error> {
        let refuse =
            |reason: &str| Err(Error::Output { path: output.to_path_buf(), reason: reason.to_string() });
        // A link is followed, so that its target is replaced and not the link.
        let place = match output.canonicalize() {
            Ok(real) => match real.metadata().map_err(Error::io("cannot write", output))? {
                m if m.is_dir() => return refuse("is a folder: name a file in it"),
                m if !m.is_file() => {
                    return refuse("is no regular file: the model file needs a place on disk");
                }
                _ => real,
            },
            Err(_) => output.to_path_buf(),
        };
        let Some(name) = place.file_name().map(|n| n.to_os_string()) else {
            return refuse("has no file name");
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".partial-{}", std::process::id()));
        let temporary = place.with_file_name(hidden);
        let file = File::create(&temporary).map_err(Error::io("cannot write", output))?;
        Ok(PartialFile { file: Some(BufWriter::with_capacity(1 << 20, file)), temporary, output: place })
    }

    /// Makes the file durable, then gives it its name.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        let writer = self.file.take().expect("open until now");
        let result = writer.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| {
            file.sync_all()?;
            let bytes = file.metadata()?.len();
            std::fs::rename(&self.temporary, &self.output)?;
            Ok(bytes)
        });
        if result.is_err() {
            let _ = std::fs::remove_file(&self.temporary);
        } else if let Some(folder) = self.output.parent().filter(|f| !f.as_os_str().is_empty()) {
            // The new name survives a power cut too where the system can promise it.
            let _ = File::open(folder).and_then(|f| f.sync_all());
        }
        result
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
