//! What the service manager is told, and how it likes its log lines.
//!
//! Without a manager (no `NOTIFY_SOCKET`) everything here does nothing.

use ::log::Level;
use std::io::Write;
use std::time::Duration;

/// Log lines on standard error: with the journal's priorities where systemd reads them, readable elsewhere.
pub(crate) fn start_log() {
    let is_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format(move |out, record| {
            let text = printable(&record.args().to_string());
            if is_journal {
                let priority = match record.level() {
                    Level::Error => 3,
                    Level::Warn => 4,
                    Level::Info => 6,
                    Level::Debug | Level::Trace => 7,
                };
                writeln!(out, "<{priority}>{text}")
            } else {
                writeln!(out, "{:5} {text}", record.level())
            }
        })
        .init();
}

/// Text from outside may hold what terminals obey.
fn printable(text: &str) -> String {
    let escape =
        |c: char| if c.is_control() && c != '\t' { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// The manager that started this program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manager;

impl Manager {
    /// Ready, or ready again after a reload.
    pub(crate) fn ready(self, status: &str) {
        tell(&[sd_notify::NotifyState::Ready, sd_notify::NotifyState::Status(status)]);
    }

    /// One line about what is going on.
    pub(crate) fn status(self, status: &str) {
        tell(&[sd_notify::NotifyState::Status(status)]);
    }

    /// The set-up goes on: allow it so much more time.
    pub(crate) fn extend(self, by: Duration) {
        tell(&[sd_notify::NotifyState::ExtendTimeoutUsec(by.as_micros() as u32)]);
    }

    /// The configuration is being read again.
    pub(crate) fn reloading(self) {
        match sd_notify::NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[sd_notify::NotifyState::Reloading, now]),
            Err(e) => ::log::warn!("the clock cannot be read: {e}"),
        }
    }

    /// The program ends.
    pub(crate) fn stopping(self) {
        tell(&[sd_notify::NotifyState::Stopping, sd_notify::NotifyState::Status("stopping")]);
    }

    /// Still alive.
    pub(crate) fn alive(self) {
        tell(&[sd_notify::NotifyState::Watchdog]);
    }

    /// How often it has to be told so, if at all.
    pub(crate) fn watchdog(self) -> Option<Duration> {
        sd_notify::watchdog_enabled()
    }
}

fn tell(states: &[sd_notify::NotifyState<'_>]) {
    // A manager that does not listen is no reason to stop.
    if let Err(e) = sd_notify::notify(states) {
        ::log::debug!("systemd cannot be told: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn control_characters_do_not_reach_terminals() {
        assert_eq!(printable("a\u{1b}[2Jb\n<3>c\td"), "a\\u{1b}[2Jb\\n<3>c\td");
    }
}
