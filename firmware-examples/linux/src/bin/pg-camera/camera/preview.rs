//! The newest picture of a camera for people, kept only while somebody watches.

use pg_targets::camera::FrameBuffer;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Filled by the camera's thread while there are viewers.
#[derive(Debug, Default)]
pub(crate) struct Preview {
    viewers: AtomicUsize,
    newest: Mutex<Option<FrameBuffer>>,
    changed: watch::Sender<u64>,
}

/// One who watches; the picture is kept as long as one of them lives.
#[derive(Debug)]
pub(crate) struct Viewer(Arc<super::Camera>);

impl Preview {
    /// Shows a picture, if anybody watches.
    pub(super) fn show(&self, frame: &FrameBuffer) {
        if self.viewers.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.get_or_insert_default().copy_from(frame);
        drop(newest);
        self.changed.send_modify(|n| *n += 1);
    }

    /// People who watch.
    pub(crate) fn viewers(&self) -> usize {
        self.viewers.load(Ordering::Relaxed)
    }
}

impl Viewer {
    /// One more viewer.
    pub(crate) fn join(camera: &Arc<super::Camera>) -> Self {
        camera.preview.viewers.fetch_add(1, Ordering::Relaxed);
        Viewer(camera.clone())
    }

    /// Copies the newest picture; `false` if there is none yet.
    pub(crate) fn copy(&self, into: &mut FrameBuffer) -> bool {
        let newest = self.0.preview.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.as_ref().inspect(|frame| into.copy_from(frame)).is_some()
    }

    /// Wakes at every picture.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.0.preview.changed.subscribe()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let preview = &self.0.preview;
        if preview.viewers.fetch_sub(1, Ordering::Relaxed) == 1 {
            *preview.newest.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}
