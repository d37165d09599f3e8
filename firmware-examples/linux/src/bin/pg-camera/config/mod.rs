//! The configuration: one TOML file, read and checked as a whole before anything of it is used.
//!
//! The doc comments of the sections are what `pg-camera schema` tells users, and `sample.toml` is the same in prose. Not
//! here: what the settings do, and secrets themselves, which are read from files when they are needed.

mod camera;
mod check;
mod read;
mod secret;
mod section;
mod webhook;

pub(crate) use camera::*;
pub(crate) use check::check;
pub(crate) use read::{load, parse};
pub(crate) use secret::Secret;
pub(crate) use section::*;
pub(crate) use webhook::{Snapshot, Target, Webhook};

/// The commented sample: every key with its default.
pub(crate) const SAMPLE: &str = include_str!("sample.toml");
/// The JSON schema of a configuration file. Tests make it from the types; programs have the text alone, without what made it.
pub(crate) const SCHEMA: &str = include_str!("schema.json");
