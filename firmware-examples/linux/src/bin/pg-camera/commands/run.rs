//! `run`: the service.

use crate::service::Service;
use crate::{Failure, Outcome, config};
use std::path::Path;

pub(crate) fn run(path: &Path, until_end: bool) -> Result<Outcome, Failure> {
    let config = config::load(path)?;
    if config.cameras.is_empty() && config.http.is_none() && config.mqtt.is_none() {
        return Err(Failure::Message(format!(
            "{}: no camera, no [http] and no [mqtt]: there is nothing to do",
            path.display()
        )));
    }
    let on_ready = Box::new(|_: &crate::app::App| ::log::info!("ready"));
    Service { config, file: Some(path.to_owned()), until_end, on_ready }.run()?;
    Ok(Outcome::Done)
}
