//! A camera that Video4Linux2 knows, as a source.

use super::pace::{self, Pace};
use crate::camera::v4l2::{Capture, Wanted};
use crate::camera::{CameraError, Counts, FrameBuffer, Next, Options, Problem, Source, SourceError};
use std::path::Path;
use std::time::{Duration, Instant};

/// A running camera.
pub(super) struct Camera {
    capture: Capture,
    pace: Pace,
    stall: Duration,
    heard: Instant,
}

/// Opens and starts the camera at `path`.
pub(super) fn open(path: &Path, wanted: &Wanted, options: &Options) -> Result<Box<dyn Source>, SourceError> {
    let capture = Capture::open(path, wanted)?;
    // Cameras that have no choice of speed give more frames than are wanted.
    let pace = Pace::new(pace::slower(wanted.mode.fps, options.max_fps));
    Ok(Box::new(Camera { capture, pace, stall: options.stall, heard: Instant::now() }))
}

impl Source for Camera {
    fn next(&mut self, into: &mut FrameBuffer, limit: Duration) -> Result<Next, SourceError> {
        let until = Instant::now() + limit;
        if !self.pace.wait(until) {
            return Ok(Next::Nothing);
        }
        match self.capture.take(into, until.saturating_duration_since(Instant::now())) {
            Ok(()) => {
                self.heard = Instant::now();
                self.pace.given();
                Ok(Next::Frame)
            }
            Err(CameraError { problem: Problem::Late { damaged, .. }, path }) => {
                let silence = self.heard.elapsed();
                if silence <= self.stall {
                    return Ok(Next::Nothing);
                }
                Err(CameraError { path, problem: Problem::Late { limit: silence, damaged } }.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn counts(&self) -> Counts {
        self.capture.counts()
    }
}
