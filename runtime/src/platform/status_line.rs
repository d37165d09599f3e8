//! One line on standard error that is rewritten in place; nothing where no person is watching.

use std::io::{self, IsTerminal, Write};

/// Goes to standard error, so that results can be told apart from it. Dropping it removes the line.
#[derive(Debug)]
pub struct StatusLine {
    is_terminal: bool,
    is_shown: bool,
}

impl StatusLine {
    /// Shows nothing yet.
    #[allow(clippy::new_without_default)] // looks at the outside world, which a default does not
    pub fn new() -> Self {
        StatusLine { is_terminal: io::stderr().is_terminal(), is_shown: false }
    }

    /// Whether a person may be watching: without one there is no need to make a text.
    pub fn is_watched(&self) -> bool {
        self.is_terminal
    }

    /// Replaces the line.
    pub fn show(&mut self, text: &str) {
        if self.is_terminal {
            // A line that cannot be shown is no loss.
            let _ = write!(io::stderr(), "\r\x1b[K{text}");
            self.is_shown = true;
        }
    }

    /// Removes the line.
    pub fn clear(&mut self) {
        if core::mem::take(&mut self.is_shown) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.clear();
    }
}
