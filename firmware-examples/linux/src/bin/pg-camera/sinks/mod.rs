//! Where events go besides `http` and `mqtt`: standard output, files, displays, servers that take them by POST. Each
//! reads the event log at its own pace.

pub(crate) mod display;
pub(crate) mod lines;
pub(crate) mod snapshots;
pub(crate) mod webhook;

use crate::app::App;
use crate::event::Event;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;

/// Reads every event in order, to the last one before the program ends; those that it was too slow for are counted.
struct Reader {
    app: Arc<App>,
    /// The last event that was read.
    seen: u64,
    newest: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
}

impl Reader {
    fn new(app: Arc<App>) -> Self {
        let (newest, stopping) = (app.log.subscribe(), app.stopping());
        Reader { app, seen: 0, newest, stopping }
    }

    /// Waits for the next events and gives at most so many; `None` once the program ends and all have been read.
    async fn next(&mut self, most: usize) -> Option<Vec<Arc<Event>>> {
        loop {
            let batch = self.app.log.after(self.seen, most);
            self.app.health.events_lost.fetch_add(batch.lost, Ordering::Relaxed);
            if let Some(last) = batch.events.last() {
                self.seen = last.seq;
                return Some(batch.events);
            }
            if *self.stopping.borrow() {
                return None;
            }
            tokio::select! {
                _ = self.newest.changed() => {}
                _ = self.stopping.changed() => {}
            }
        }
    }
}
