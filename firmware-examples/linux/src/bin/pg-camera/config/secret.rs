//! Secrets are named in the configuration, never written there.

use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;

/// More than any token or password has.
const MAX_BYTES: u64 = 4096;

/// A file with a secret, or the name of a systemd credential.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub(crate) enum Secret {
    /// The file that holds it, one line.
    File(PathBuf),
    /// Name of a credential that systemd hands over (`LoadCredential=`).
    Credential(String),
}

impl Secret {
    /// Reads it.
    ///
    /// # Errors
    /// Where it should be and what is wrong; never the secret.
    pub(crate) fn read(&self) -> Result<String, String> {
        let path = match self {
            Secret::File(path) => path.clone(),
            Secret::Credential(name) => {
                if name.is_empty() || name.contains(['/', '\0']) {
                    return Err(format!("{name:?} is no name of a credential"));
                }
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    format!("credential {name}: systemd has handed over none; add LoadCredential={name}:PATH to the unit")
                })?;
                PathBuf::from(folder).join(name)
            }
        };
        let fail = |what: String| format!("{}: {what}", path.display());
        let size = std::fs::metadata(&path).map_err(|e| fail(format!("cannot read the secret: {e}")))?.len();
        if size > MAX_BYTES {
            return Err(fail(format!("{size} bytes are no secret; at most {MAX_BYTES} are read")));
        }
        let text =
            std::fs::read_to_string(&path).map_err(|e| fail(format!("cannot read the secret: {e}")))?;
        let secret = text.trim();
        if secret.is_empty() || secret.contains(|c: char| c.is_control()) {
            return Err(fail("expected a secret in one line".into()));
        }
        Ok(secret.to_string())
    }
}

/// Names the place only.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::File(path) => write!(f, "file {}", path.display()),
            Secret::Credential(name) => write!(f, "credential {name}"),
        }
    }
}
