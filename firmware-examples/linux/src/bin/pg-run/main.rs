//! `pg-run`: a picture and a packed model in; words, boxes and numbers out.
//!
//! Exit codes: 0 done, 1 `detect` found nothing or `doctor` found problems, 2 an error (message on standard error).

mod answer;
mod args;
mod bench;
mod device;
mod doctor;
mod inspect;
mod plan;
mod report;
mod trace;

use args::{Args, Command};
use pg_linux::{Failure, in_file};
use pg_runtime::memory::{Needs, Verdict};
use pg_runtime::model::Placement;
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

fn main() -> ExitCode {
    env_logger::init();
    match run() {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::FoundNothing | Outcome::Problems) => ExitCode::from(1),
        Ok(Outcome::PartlyFailed) => ExitCode::from(2),
        Err(failure) => failure.end("pg-run"),
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
    if args.placement == Placement::Huge {
        // A file that cannot be looked at is a message of its own when it is opened.
        let copy = std::fs::metadata(&args.model).map_or(0, |m| m.len());
        check_memory(&Needs { copy, ..Needs::of(0, 0) })?;
    }
    let mut line = StatusLine::new();
    let model = Model::open_in(&args.model, args.placement, &mut |done, all| {
        line.show(&format!("reading the model: {} of {}", sizes::text(done), sizes::text(all)));
    });
    Ok(model.map_err(|e| in_file(&args.model, &e))?)
}

/// A session with just the room that this prompt needs.
fn open_session<'m>(args: &Args, model: &'m Model, prompt: &Prompt) -> Result<Session<'m>, Failure> {
    let options = SessionOptions { max_prompt_tokens: prompt.ids().len(), ..args.options.clone() };
    let plan = Session::memory_plan(model.header(), &options).map_err(|e| e.to_string())?;
    // A copy is in memory by now.
    let file = if args.placement == Placement::Huge { 0 } else { model.header().file_bytes() };
    check_memory(&Needs::of(file as u64, plan.bytes() as u64))?;
    Ok(Session::new(model, options).map_err(|e| e.to_string())?)
}

/// Refuses before anything is taken what this machine has no room for, and warns of what would be very slow.
fn check_memory(needs: &Needs) -> Result<(), Failure> {
    match needs.complaint() {
        Some(complaint) if needs.verdict() == Verdict::Refused => Err(complaint)?,
        Some(complaint) => {
            let _ = writeln!(io::stderr(), "pg-run: {complaint}; `pg-run plan` has the numbers");
        }
        None => {}
    }
    Ok(())
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
