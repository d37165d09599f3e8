//! The answers to a request, as they come.

use super::report::Said;
use super::{Options, Question};
use pg_runtime::Timing;
use pg_runtime::tokenizer::Tokenizer;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Written by the inference thread, read by whoever asked. All its room is taken when it is made.
#[derive(Debug)]
pub(crate) struct Reply {
    state: Mutex<State>,
    changed: Notify,
    cancelled: AtomicBool,
}

#[derive(Debug)]
struct State {
    answers: Vec<Said>,
    /// Answers that are whole.
    n_whole: usize,
    finished: Option<Finished>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finished {
    /// All answers are whole.
    Done,
    /// Nobody wanted it any more, or the program ends.
    Cancelled,
    /// It was not begun in time.
    TooLate,
    /// The picture is larger than the session was set up for.
    Refused,
}

/// A look at a reply.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// One for each question that was begun.
    pub(crate) answers: Vec<Said>,
    pub(crate) finished: Option<Finished>,
}

impl Reply {
    /// Room for the answers to these questions.
    pub(super) fn new(tokenizer: &Tokenizer, questions: &[Question], options: &Options) -> Self {
        let said = |_: &Question| Said::new(tokenizer, options);
        let state = State { answers: questions.iter().map(said).collect(), n_whole: 0, finished: None };
        Reply { state: Mutex::new(state), changed: Notify::new(), cancelled: AtomicBool::new(false) }
    }

    /// Ends the request before its next layer or token; who asked has gone.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// What there is so far.
    pub(crate) fn look(&self) -> Snapshot {
        let state = self.state();
        let n = (state.n_whole + 1).min(state.answers.len());
        let n = if state.finished.is_some() { state.n_whole } else { n };
        Snapshot { answers: state.answers[..n].to_vec(), finished: state.finished }
    }

    /// Returns when there is more than at the last call, or all. For one waiting reader.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits for the end.
    pub(crate) async fn finished(&self) -> Snapshot {
        loop {
            let seen = self.look();
            if seen.finished.is_some() {
                return seen;
            }
            self.changed().await;
        }
    }

    /// Called by the inference thread for every token.
    pub(super) fn say(&self, i: usize, answer: &pg_runtime::Answer<'_>) {
        if let Some(said) = self.state().answers.get_mut(i) {
            said.set(answer);
        }
        self.changed.notify_one();
    }

    /// Called by the inference thread after every answer, with the time that looking took.
    pub(super) fn whole(&self, i: usize, answer: &pg_runtime::Answer<'_>, looking: Timing) {
        let mut state = self.state();
        if let Some(said) = state.answers.get_mut(i) {
            said.set(answer);
            said.timing.image = looking.image;
            said.timing.vision = looking.vision;
        }
        state.n_whole = i + 1;
        drop(state);
        self.changed.notify_one();
    }

    /// Called once, at the end.
    pub(super) fn finish(&self, how: Finished) {
        self.state().finished = Some(how);
        self.changed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
