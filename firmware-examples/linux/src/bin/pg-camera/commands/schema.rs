//! `schema`: the JSON schema of the configuration, for editors.

use crate::config::Config;
use crate::{Failure, Outcome};
use std::io::{self, Write};

pub(crate) fn run() -> Result<Outcome, Failure> {
    let schema = schemars::schema_for!(Config);
    let text = serde_json::to_string_pretty(&schema).map_err(|e| format!("the schema: {e}"))?;
    writeln!(io::stdout(), "{text}")?;
    Ok(Outcome::Done)
}
