//! `demo`: the bundled model, a camera, and a page to look at it, in one command.

use crate::args::Demo;
use crate::config::{self, Config};
use crate::service::Service;
use crate::{Failure, Outcome, models};
use pg_runtime::platform::knobs;
use std::io::{self, Write};
use std::path::PathBuf;

/// The camera of the demo.
const SYNTHETIC: &str = "synthetic:";

pub(crate) fn run(request: &Demo) -> Result<Outcome, Failure> {
    let model = request.model.clone().or_else(|| knobs::path(knobs::MODEL));
    let source = request.source.clone().unwrap_or_else(|| SYNTHETIC.into());
    let config = configuration(model, &source, &request.listen)?;
    let source = config.cameras[0].source.clone();
    let listen = request.listen.clone();
    let on_ready = Box::new(move |app: &crate::app::App| {
        let listen = app.http_address.get().map_or(listen, ToString::to_string);
        let said = writeln!(
            io::stderr(),
            "\nopen http://{listen} in a browser; Ctrl-C ends the demo\n\
             camera: {source}\n\
             The bundled model has 3.6 million parameters and knows only shapes in eight colours and handwritten digits;\n\
             name a packed PaliGemma with -m FILE for everything else."
        );
        // Nobody is left to hear that standard error is closed.
        let _ = said;
    });
    Service { config, file: None, until_end: false, on_ready }.run()?;
    Ok(Outcome::Done)
}

fn configuration(model: Option<PathBuf>, source: &str, listen: &str) -> Result<Config, String> {
    let is_demo = model.is_none();
    let objects = if is_demo { "detect object" } else { "detect person ; car ; cat ; dog" };
    let text = format!(
        "[model]\npath = {}\n[output]\njson_lines = false\n[http]\nlisten = {}\n[[camera]]\nname = \"demo\"\nsource = {}\n\
         trigger = \"always\"\nmin_interval = 1.0\nrate = {{ max_per_minute = 60.0, burst = 4 }}\n\
         dedupe = {{ similarity = 2.0 }}\n[[camera.prompt]]\ntext = {}\n[[camera.prompt]]\ntext = \"caption en\"\n",
        quoted(&model.unwrap_or_else(|| models::DEMO.into()).to_string_lossy()),
        quoted(listen),
        quoted(source),
        quoted(objects),
    );
    config::parse(&text).map_err(|problems| problems.join("\n").trim_start_matches(": ").to_string())
}

/// As TOML writes it.
fn quoted(text: &str) -> String {
    // What JSON escapes, and how, TOML does as well.
    serde_json::Value::from(text).to_string()
}
