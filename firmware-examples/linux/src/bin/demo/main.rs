//! `cargo demo`: packs the bundled checkpoint, shows six sample pictures to it, and draws what it found.
//!
//! Prints every answer with its time and writes `demo/index.html` and annotated PNGs into the target folder. Nothing
//! is downloaded. Exit codes: 0 done, 2 an error (message on standard error).

mod run;
mod sheet;
mod terminal;
mod truth;

use pg_quantize::{Checkpoint, Preset, Report, Source};
use pg_runtime::platform::{files::write_whole, knobs};
use pg_runtime::{Model, Session, SessionOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use terminal::Terminal;

/// What is said about the model, on the terminal and on the page.
const LIMITS: &str = "The demo model has 3.6 million parameters and was trained on made-up scenes: it knows only eight \
                      shapes in eight colours, and cards with handwritten digits. It tells nothing about other pictures. \
                      These six were picked from 24 samples: five that it does well, one that it misreads.";

fn main() -> ExitCode {
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Output(e)) if e.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            let message = match failure {
                Failure::Message(message) => message,
                Failure::Output(e) => format!("cannot print: {e}"),
            };
            // Nobody is left to hear that standard error is closed.
            let _ = writeln!(io::stderr(), "demo: {message}");
            ExitCode::from(2)
        }
    }
}

/// Why the demo stopped.
#[derive(Debug)]
enum Failure {
    Message(String),
    /// Standard output is closed or full.
    Output(io::Error),
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Failure::Message(message)
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Failure::Output(e)
    }
}

fn demo() -> Result<(), Failure> {
    if let Some(extra) = std::env::args_os().nth(1) {
        return Err(
            format!("takes no arguments, found {extra:?}; pg-run answers about your own pictures").into()
        );
    }
    let start = Instant::now();
    let folder = output_folder()?;
    std::fs::create_dir_all(&folder)
        .map_err(|e| format!("cannot make the folder {}: {e}", folder.display()))?;
    let mut terminal = Terminal::new();

    let packed = pack(&folder, &mut terminal)?;
    terminal.packed(&packed)?;
    let path = folder.join(MODEL);
    let model = Model::open(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let options = SessionOptions { kernels: knobs::get(knobs::ISA), ..SessionOptions::default() };
    let mut session = Session::new(&model, options).map_err(|e| e.to_string())?;
    let setup = format!(
        "{} kernels, {}, {:.1} MB of working memory",
        session.kernels().name(),
        match session.threads() {
            1 => "1 thread".to_string(),
            n => format!("{n} threads"),
        },
        session.plan().bytes() as f64 / 1e6
    );
    terminal.set_up(&setup)?;

    let truth = truth::Truth::read()?;
    let mut shown = Vec::new();
    for (index, scene) in run::SCENES.iter().enumerate() {
        let mut progress = |prompt: &str| terminal.progress(index, run::SCENES.len(), prompt);
        let result = run::show(scene, &mut session, &truth, &folder, &mut progress)?;
        terminal.shown(&result)?;
        shown.push(result);
    }
    let page = folder.join("index.html");
    write_whole(&page, sheet::page(&shown, &setup, &packed)?.as_bytes())
        .map_err(|e| format!("cannot write {}: {e}", page.display()))?;
    terminal.ending(&shown, &page, start.elapsed().as_secs_f64())?;
    Ok(())
}

/// The packed model's name in the output folder.
const MODEL: &str = "demo.q4.gguf";

fn pack(folder: &Path, terminal: &mut Terminal) -> Result<Report, String> {
    let checkpoint = Checkpoint::open(&Source::demo()).map_err(|e| e.to_string())?;
    let mut progress = |p: pg_quantize::Progress<'_>| terminal.packing(p.tensor);
    pg_quantize::pack(&checkpoint, Preset::Q4, &folder.join(MODEL), &mut progress).map_err(|e| e.to_string())
}

/// `demo` in the target folder, which is where cargo put this program: `TARGET/release/demo`.
fn output_folder() -> Result<PathBuf, String> {
    let exe = std::env::current_exe().map_err(|e| format!("cannot tell where this program is: {e}"))?;
    let target = exe.parent().and_then(Path::parent);
    let target = target.ok_or("this program is not in a target folder; start it with `cargo demo`")?;
    Ok(target.join("demo"))
}
