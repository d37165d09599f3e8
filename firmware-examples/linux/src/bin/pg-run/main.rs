//! `pg-run`: a picture and a packed model in; words, boxes and numbers out.
//!
//! Exit codes: 0 done, 1 `detect` found nothing or `doctor` found problems, 2 an error (message on standard error).

mod answer;
mod args;
mod bench;
mod doctor;
mod inspect;
mod plan;
mod report;
mod trace;

use args::{Args, Command};
use pg_runtime::platform::sizes;
use pg_runtime::platform::status_line::StatusLine;
use pg_runtime::{Model, Prompt, Session, SessionOptions};
use std::io::{self, Write};
use std::process::ExitCode;

/// What a command ends with when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    FoundNothing,
    /// `doctor` found what has to be changed.
    Problems,
    /// Some pictures could not be processed; the messages were printed when it happened.
    PartlyFailed,
}

/// A message for the user.
#[derive(Debug)]
enum Failure {
    Message(String),
    /// Whoever read our output has gone; not an error.
    BrokenPipe,
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Failure::Message(message)
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
            _ => Failure::Message(format!("standard output: {e}")),
        }
    }
}

fn main() -> ExitCode {
    env_logger::init();
    match run() {
        Ok(Outcome::Done) | Err(Failure::BrokenPipe) => ExitCode::SUCCESS,
        Ok(Outcome::FoundNothing | Outcome::Problems) => ExitCode::from(1),
        Ok(Outcome::PartlyFailed) => ExitCode::from(2),
        Err(Failure::Message(message)) => {
            // Nothing can be done if standard error is closed too.
            let _ = writeln!(io::stderr(), "pg-run: {message}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<Outcome, Failure> {
    let args = match Args::parse(lexopt::Parser::from_env())? {
        args::Parsed::Run(args) => args,
        args::Parsed::Print(text) => {
            writeln!(io::stdout(), "{text}")?;
            return Ok(Outcome::Done);
        }
    };
    match &args.command {
        // Planned before anything is mapped, and timed while it is opened.
        Command::Plan(request) => return plan::run(&args, request),
        Command::Bench(request) => return bench::run(&args, request),
        Command::Doctor(request) => return doctor::run(&args, request),
        _ => {}
    }
    let model = open_model(&args)?;
    match &args.command {
        Command::Plan(_) | Command::Bench(_) | Command::Doctor(_) => unreachable!("done above"),
        Command::Tokenize { text } => tokenize(&args, &model, text),
        Command::Inspect => inspect::run(&args, &model),
        Command::Trace(request) => trace::run(&args, &model, request),
        Command::Answer(request) => answer::run(&args, &model, request),
    }
}

fn open_model(args: &Args) -> Result<Model, Failure> {
    let mut line = StatusLine::new();
    let model = Model::open_in(&args.model, args.placement, &mut |done, all| {
        line.show(&format!("reading the model: {} of {}", sizes::text(done), sizes::text(all)));
    });
    Ok(model.map_err(|e| in_file(&args.model, &e))?)
}

/// A message about a model file, with its path unless the error already names it.
fn in_file(path: &std::path::Path, e: &pg_runtime::Error) -> String {
    match e {
        pg_runtime::Error::Io { .. } => e.to_string(),
        _ => format!("{}: {e}", path.display()),
    }
}

/// A session with just the room that this prompt needs.
fn open_session<'m>(args: &Args, model: &'m Model, prompt: &Prompt) -> Result<Session<'m>, Failure> {
    let options = SessionOptions { max_prompt_tokens: prompt.ids().len(), ..args.options.clone() };
    Ok(Session::new(model, options).map_err(|e| e.to_string())?)
}

fn tokenize(args: &Args, model: &Model, text: &str) -> Result<Outcome, Failure> {
    let tokenizer = model.tokenizer();
    let ids = tokenizer.encode(text);
    let pieces: Vec<&str> = ids.iter().map(|&id| tokenizer.piece(id).unwrap_or_default()).collect();
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::json!({ "v": 1, "text": text, "tokens": ids, "pieces": pieces }))?;
    } else {
        for (id, piece) in ids.iter().zip(pieces) {
            writeln!(out, "{id:>7} {}", piece.escape_debug())?;
        }
    }
    Ok(Outcome::Done)
}
