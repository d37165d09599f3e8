//! The sources themselves, one file each. How their bytes are cut into frames is in `formats`.

mod pace;
mod synthetic;

use super::{ErrorKind, Location, Options, Source, SourceError};

/// Opens `location`.
pub(super) fn open(location: &Location, options: &Options) -> Result<Box<dyn Source>, SourceError> {
    match location {
        Location::Synthetic { mode, seed } => Ok(Box::new(synthetic::Synthetic::new(mode, *seed, options))),
        other => Err(SourceError::new(ErrorKind::Permanent, other, "is not supported by this build")),
    }
}
