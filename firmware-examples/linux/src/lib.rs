//! What the programs of this folder share: how they fail, and how they speak of model files.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// Why a command stopped.
#[derive(Debug)]
pub enum Failure {
    /// A message for the user.
    Message(String),
    /// Whoever read our output has gone; not an error.
    BrokenPipe,
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Failure::Message(message)
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
            _ => Failure::Message(format!("standard output: {e}")),
        }
    }
}

impl Failure {
    /// Tells the user, and gives what the program of this name ends with: 2 for an error.
    pub fn end(self, program: &str) -> ExitCode {
        match self {
            Failure::BrokenPipe => ExitCode::SUCCESS,
            Failure::Message(message) => {
                // Nothing can be done if standard error is closed too.
                let _ = writeln!(io::stderr(), "{program}: {message}");
                ExitCode::from(2)
            }
        }
    }
}

/// A message about a model file, with its path unless the error already names it.
pub fn in_file(path: &Path, e: &pg_runtime::Error) -> String {
    match e {
        pg_runtime::Error::Io { .. } => e.to_string(),
        _ => format!("{}: {e}", path.display()),
    }
}
