//! `pg-camera`: cameras in, events out, for months.
//!
//! Exit codes: 0 done, 1 `doctor` found problems, 2 an error (message on standard error).

mod app;
mod args;
mod backoff;
mod camera;
mod commands;
mod config;
mod engine;
mod event;
mod http;
mod log;
mod models;
mod mqtt;
mod prompt;
mod publish;
mod service;
mod sinks;
mod systemd;

use args::{Args, Command};
use pg_linux::Failure;
use std::io::{self, Write};
use std::process::ExitCode;

/// What a command ends with when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// `doctor` found what has to be changed.
    Problems,
}

fn main() -> ExitCode {
    systemd::start_log();
    match run() {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Problems) => ExitCode::from(1),
        Err(failure) => failure.end("pg-camera"),
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
        Command::Run { config, until_end } => commands::run::run(config, *until_end),
        Command::Demo(demo) => commands::demo::run(demo),
        Command::Check { config } => commands::check::run(config),
        Command::Plan { config } => commands::plan::run(config, args.json),
        Command::Once(once) => commands::once::run(once, args.json),
        Command::Doctor { config } => commands::doctor::run(config.as_deref(), args.json),
        Command::Schema => commands::schema::run(),
    }
}
