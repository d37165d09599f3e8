//! The answer that is being written this moment, for whoever watches.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Written by the inference thread for every token of a camera's answer.
#[derive(Debug)]
pub(crate) struct Live {
    now: Mutex<Now>,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Now {
    camera: Option<Arc<str>>,
    question: Option<Arc<str>>,
    text: String,
}

/// A look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Writing {
    pub(crate) camera: Arc<str>,
    pub(crate) question: Arc<str>,
    pub(crate) text: String,
}

impl Live {
    /// Room for answers of so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        let now = Now { camera: None, question: None, text: String::with_capacity(bytes) };
        Live { now: Mutex::new(now), changed: watch::Sender::new(0) }
    }

    pub(super) fn begin(&self, camera: &Arc<str>, question: &Arc<str>) {
        let mut now = self.now();
        now.camera = Some(camera.clone());
        now.question = Some(question.clone());
        now.text.clear();
    }

    pub(super) fn say(&self, text: &str) {
        let mut now = self.now();
        now.text.clear();
        now.text.push_str(text);
        drop(now);
        self.changed.send_modify(|n| *n += 1);
    }

    /// The newest answer as far as it is written.
    pub(crate) fn look(&self) -> Option<Writing> {
        let now = self.now();
        Some(Writing { camera: now.camera.clone()?, question: now.question.clone()?, text: now.text.clone() })
    }

    /// Wakes at every token; who is slow sees only the newest state.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
