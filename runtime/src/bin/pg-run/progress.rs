//! One line on a terminal that says what a run is doing; nothing where nobody looks.

use pg_runtime::{Event, Stage};
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

/// Rewrites its line with every event and removes it when it is dropped.
pub(crate) struct Progress {
    shown: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Progress { shown: io::stderr().is_terminal() }
    }

    /// Never ends a run.
    pub(crate) fn show(&self, event: &Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Stage(Stage::Vision) => self.line("looking at the picture …"),
            Event::Stage(Stage::Prefill) => self.line("reading the prompt …"),
            Event::Stage(Stage::Decode) => self.line("answering …"),
            Event::Token(answer) => self.line(&format!("answering: {} tokens", answer.tokens().len())),
        }
        ControlFlow::Continue(())
    }

    fn line(&self, text: &str) {
        if self.shown {
            // A terminal that went away takes no progress; the answer is printed elsewhere.
            let _ = write!(io::stderr(), "\r\x1b[K{text}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.line("");
    }
}
