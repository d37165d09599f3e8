//! `check`: whether a configuration can be used, without using it.

use crate::{Failure, Outcome, config, models};
use std::io::{self, Write};
use std::path::Path;

pub(crate) fn run(path: &Path) -> Result<Outcome, Failure> {
    let config = config::load(path)?;
    let header = models::header(&config.model.path)?;
    for camera in &config.cameras {
        for prompt in &camera.prompts {
            let n = pg_runtime::Prompt::with_tokenizer(header.tokenizer(), &prompt.text).ids().len();
            let most = config.runtime.max_prompt_tokens;
            if n > most {
                return Err(Failure::Message(format!(
                    "{}: camera {}: prompt {:?} has {n} tokens, runtime.max_prompt_tokens leaves room for {most}",
                    path.display(),
                    camera.name,
                    prompt.text
                )));
            }
        }
    }
    let n = config.cameras.len();
    let plural = if n == 1 { "" } else { "s" };
    writeln!(io::stdout(), "{}: good; {n} camera{plural}, model {}", path.display(), header.name())?;
    if let Some(mqtt) = config.mqtt.as_ref().filter(|mqtt| mqtt.has_usual_names()) {
        writeln!(
            io::stdout(),
            "note: another pg-camera at the broker {} needs another mqtt.base_topic ({:?} here) and mqtt.client_id ({:?})",
            mqtt.host,
            mqtt.base_topic,
            mqtt.client_id
        )?;
    }
    Ok(Outcome::Done)
}
