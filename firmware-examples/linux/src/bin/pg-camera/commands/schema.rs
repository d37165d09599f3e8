//! `schema`: the JSON schema of the configuration, for editors.

use crate::config::SCHEMA;
use crate::{Failure, Outcome};
use std::io::{self, Write};

pub(crate) fn run() -> Result<Outcome, Failure> {
    io::stdout().write_all(SCHEMA.as_bytes())?;
    Ok(Outcome::Done)
}
