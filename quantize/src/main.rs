//! `pg-quantize`: a checkpoint (or none, for random weights) in, one model file out. See `args::HELP`.

mod args;

use args::{Args, HELP, Pack};
use pg_quantize::{Checkpoint, Error, Progress, Report, Synthetic, pack, resolve};
use pg_runtime::platform::status_line::StatusLine;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args_os().skip(1)) {
        Ok(args) => args,
        Err(message) => {
            complain(&format!("{message}; see pg-quantize --help"));
            return ExitCode::from(2);
        }
    };
    let text = match args {
        Args::Help => HELP.to_string(),
        Args::Version => format!("pg-quantize {}\n", env!("CARGO_PKG_VERSION")),
        Args::Pack(job) => match run(&job) {
            Ok(report) if job.json => format!("{}\n", report.to_json()),
            Ok(report) => report.to_string(),
            Err(e) => {
                complain(&e.to_string());
                return ExitCode::from(2);
            }
        },
    };
    // A reader that left has what it wanted.
    match io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("cannot print the report: {e}"));
            ExitCode::from(2)
        }
        _ => ExitCode::SUCCESS,
    }
}

fn run(job: &Pack) -> Result<Report, Error> {
    if let Some(synthetic) = Synthetic::parse(&job.model, job.seed) {
        let synthetic = synthetic?;
        let mut meter = Meter::new();
        return synthetic.write(job.preset, &job.output_for(synthetic.name()), &mut |p| meter.show(p));
    }
    let source = resolve(&job.model)?;
    let checkpoint = Checkpoint::open(&source)?;
    let mut meter = Meter::new();
    pack(&checkpoint, job.preset, &job.output_for(&source.name), &mut |p| meter.show(p))
}

fn complain(message: &str) {
    // Nobody is left to hear that standard error is closed.
    let _ = writeln!(io::stderr(), "pg-quantize: {message}");
}

/// How far packing has come, and how fast.
struct Meter {
    line: StatusLine,
    start: Instant,
    shown: Option<Instant>,
}

impl Meter {
    fn new() -> Self {
        Meter { line: StatusLine::new(), start: Instant::now(), shown: None }
    }

    fn show(&mut self, p: Progress<'_>) {
        let now = Instant::now();
        let is_due = self.shown.is_none_or(|t| now - t > Duration::from_millis(100));
        if !self.line.is_watched() || !is_due {
            return;
        }
        self.shown = Some(now);
        let speed = p.done as f64 / 1e6 / (now - self.start).as_secs_f64().max(1e-3);
        let percent = p.done * 100 / p.total.max(1);
        self.line.show(&format!("{percent:3} %  {speed:.0} MB/s  {}", p.tensor));
    }
}
