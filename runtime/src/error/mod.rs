//! Everything that can go wrong, in one place: one enum per room that can fail, and [`Error`] around them.
//!
//! Rank 0: every room imports this one and it imports none. Messages are lower case without a final dot; they
//! say what was found, what was expected and, where the user can do something, what.

mod input;
mod load;

pub use input::{InputError, SetupError};
pub use load::{FormatError, ModelError, TokenizerError};

use alloc::string::String;
use core::fmt;

/// Any failure of this crate. Nothing that runs after [`crate::Session::new`] fails except on bad input.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not a well-formed GGUF file.
    Format(FormatError),
    /// A well-formed file that does not hold a model this runtime can run.
    Model(ModelError),
    /// The vocabulary is unusable.
    Tokenizer(TokenizerError),
    /// A picture or a prompt that cannot be processed.
    Input(InputError),
    /// The session cannot be set up on this machine as asked.
    Setup(SetupError),
    /// The operating system refused a file.
    Io {
        /// The path as given.
        path: String,
        /// What the system said.
        reason: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Format(e) => e.fmt(f),
            Error::Model(e) => e.fmt(f),
            Error::Tokenizer(e) => e.fmt(f),
            Error::Input(e) => e.fmt(f),
            Error::Setup(e) => e.fmt(f),
            Error::Io { path, reason } => write!(f, "{path}: {reason}"),
        }
    }
}

impl core::error::Error for Error {}

macro_rules! wrap {
    ($($variant:ident($inner:ident)),*) => {$(
        impl From<$inner> for Error {
            fn from(e: $inner) -> Self {
                Error::$variant(e)
            }
        }
        impl core::error::Error for $inner {}
    )*};
}
wrap!(
    Format(FormatError),
    Model(ModelError),
    Tokenizer(TokenizerError),
    Input(InputError),
    Setup(SetupError)
);
