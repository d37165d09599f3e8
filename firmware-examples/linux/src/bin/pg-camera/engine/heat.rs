//! Placeholder of the merge.
use schemars::JsonSchema;
use serde::Deserialize;
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
pub(crate) struct Settings {}
impl Settings {
    pub(crate) fn validate(&self) -> Result<(), String> {
        Ok(())
    }
}
