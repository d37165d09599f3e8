//! Programs that write pictures to a pipe: started with a list of arguments, never through a shell; ended with the source.
//!
//! What they complain about is kept, a few lines of it, without passwords. A child that outlives this program ends at its
//! next picture, which it cannot write any more.

use super::feed::{self, Feed, Keep, Outlet};
use crate::camera::formats::Cutter;
use crate::camera::{ErrorKind, Options, Source, SourceError};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind as IoErrorKind, Read, Write};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Last lines of complaints that are kept, and bytes of each.
const LINES: usize = 6;
const MOST_LINE: u64 = 300;
/// How long a program may take to end after it has closed its pipe.
const GRACE: Duration = Duration::from_secs(3);

/// What to start, and what its end means.
pub(super) struct Program {
    pub(super) command: Command,
    /// What it reads, a few lines at most: a pipe takes them without waiting.
    pub(super) input: String,
    /// The location with its password masked.
    pub(super) place: String,
    /// What to do if there is no such program.
    pub(super) advice: &'static str,
    /// Hides passwords in its complaints.
    pub(super) mask: Box<dyn Fn(&str) -> String + Send>,
    pub(super) keep: Keep,
    /// What it means if it gives up.
    pub(super) failure: ErrorKind,
}

impl Program {
    /// Starts it; `cutter` is made of what it writes.
    pub(super) fn start(
        mut self,
        cutter: impl FnOnce(ChildStdout) -> Box<dyn Cutter>,
        options: &Options,
    ) -> Result<Box<dyn Source>, SourceError> {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = self.command.get_program().to_string_lossy().into_owned();
        let mut child = self.command.spawn().map_err(|e| match e.kind() {
            IoErrorKind::NotFound => SourceError::new(
                ErrorKind::Permanent,
                &self.place,
                format!("cannot run {name}: {}", self.advice),
            ),
            _ => SourceError::new(ErrorKind::Lost, &self.place, format!("cannot run {name}: {e}")),
        })?;
        // One that does not want it, or is gone already, says so by itself.
        let _ = child.stdin.take().expect("piped").write_all(self.input.as_bytes());
        let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let child = Running(Arc::new(Mutex::new(child)));
        let (outlet, stopper) = (Outlet::new(self.keep), child.clone());
        let mut feed = Feed::new(&outlet, self.place.clone(), options).stopped_by(move || stopper.kill());
        if self.keep == Keep::Newest {
            feed = feed.paced(options.max_fps).stalls_after(options.stall);
        }
        let mut cutter = cutter(stdout);
        feed::start("camera-child", move || {
            let said = Arc::default();
            let listener = Arc::clone(&said);
            let complaints = thread::spawn(move || listen(stderr, &listener));
            let cut = outlet.run(&mut *cutter);
            // Closes the pipe, so that a child that goes on writing ends.
            drop(cutter);
            let status = child.end(outlet.is_closed() || cut.is_err());
            // Not for ever: a child of the child may hold the other end of its complaints.
            wait_for(|| complaints.is_finished().then_some(()));
            let said = said.lock().unwrap_or_else(PoisonError::into_inner);
            outlet.end(self.verdict(&name, cut, status, &said));
        })?;
        Ok(Box::new(feed))
    }

    fn verdict(
        &self,
        name: &str,
        cut: Result<(), String>,
        status: Option<ExitStatus>,
        lines: &VecDeque<String>,
    ) -> Result<(), SourceError> {
        let said: Vec<String> = lines.iter().map(|line| (self.mask)(line)).collect();
        let said = if said.is_empty() { String::new() } else { format!(": {}", said.join("; ")) };
        let what = match (cut, status) {
            (Err(what), _) => format!("{name} {what}{said}"),
            (Ok(()), Some(status)) if status.success() && self.keep == Keep::All => return Ok(()),
            (Ok(()), Some(status)) if status.success() => format!("the stream has ended{said}"),
            (Ok(()), Some(status)) => format!("{name} gave up ({status}){said}"),
            (Ok(()), None) => format!("{name} closed its pipe and did not end{said}"),
        };
        Err(SourceError::new(self.failure, &self.place, what))
    }
}

/// A child that both sides may end.
#[derive(Clone)]
struct Running(Arc<Mutex<Child>>);

impl Running {
    /// Ends it, and takes note of its end so that nothing is left in the system's table.
    fn kill(&self) {
        let mut child = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Waits for its end, without holding up whoever kills it.
    fn end(&self, at_once: bool) -> Option<ExitStatus> {
        let ended = || self.0.lock().unwrap_or_else(PoisonError::into_inner).try_wait().ok().flatten();
        let status = if at_once { None } else { wait_for(ended) };
        if status.is_none() {
            self.kill();
        }
        status
    }
}

/// Asks until there is an answer, for a while.
fn wait_for<T>(answer: impl Fn() -> Option<T>) -> Option<T> {
    let until = Instant::now() + GRACE;
    loop {
        let answer = answer();
        if answer.is_some() || Instant::now() >= until {
            return answer;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Reads to the end and keeps the last lines, without control characters.
fn listen(stderr: ChildStderr, lines: &Mutex<VecDeque<String>>) {
    let (mut input, mut line) = (BufReader::new(stderr), Vec::new());
    loop {
        line.clear();
        match input.by_ref().take(MOST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text: String = text.trim().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        if !text.is_empty() {
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == LINES {
                lines.pop_front();
            }
            lines.push_back(text);
        }
    }
}
