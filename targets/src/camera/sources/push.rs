//! Frames that the program itself hands in, such as those that came by a message or a request.

use super::feed::{Feed, Keep, Outlet};
use crate::camera::formats::{Encoding, Limits};
use crate::camera::{FrameBuffer, Options, Source};
use std::fmt;
use std::time::{Instant, SystemTime};

/// Hands frames to the source that it was made with, which ends when this is dropped.
pub struct Pusher {
    outlet: Outlet,
    limits: Limits,
}

impl fmt::Debug for Pusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pusher")
    }
}

/// Why a picture was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushError {
    /// The source is gone.
    Closed,
    /// It has more bytes than this, which is the limit.
    TooLong(usize),
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PushError::Closed => f.write_str("nobody takes pictures any more"),
            PushError::TooLong(most) => {
                write!(f, "the picture has more than {most} bytes: send a smaller one")
            }
        }
    }
}

impl std::error::Error for PushError {}

/// A source and what fills it. Of several frames that nobody has asked for, the newest one counts.
pub fn pushed(options: &Options) -> (Pusher, Box<dyn Source>) {
    let outlet = Outlet::new(Keep::Newest);
    let feed = Feed::new(&outlet, "push:".into(), options).paced(options.max_fps);
    (Pusher { outlet, limits: Limits::of(options) }, Box::new(feed))
}

impl Pusher {
    /// The bytes of a picture file (JPEG, PNG, …); whether they are one is found out when a frame is asked for.
    ///
    /// # Errors
    /// If it is too long, or the source is gone.
    pub fn file(&self, bytes: &[u8]) -> Result<(), PushError> {
        if bytes.len() > self.limits.bytes {
            return Err(PushError::TooLong(self.limits.bytes));
        }
        self.put(Encoding::File, bytes, Instant::now(), SystemTime::now())
    }

    /// A picture with the time at which it was taken.
    ///
    /// # Errors
    /// If the source is gone.
    pub fn frame(&self, frame: &FrameBuffer) -> Result<(), PushError> {
        let encoding = Encoding::Rgb { width: frame.width(), height: frame.height() };
        self.put(encoding, frame.data(), frame.captured(), frame.wall())
    }

    fn put(&self, encoding: Encoding, bytes: &[u8], at: Instant, wall: SystemTime) -> Result<(), PushError> {
        let mut copy = self.outlet.spare();
        copy.clear();
        copy.extend_from_slice(bytes);
        if self.outlet.put(encoding, copy, at, wall) { Ok(()) } else { Err(PushError::Closed) }
    }
}

impl Drop for Pusher {
    fn drop(&mut self) {
        self.outlet.end(Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::Next;
    use std::time::Duration;

    const JPEG: &[u8] = include_bytes!("../../../../tests/goldens/imaging/photo-half.jpg");
    const PNG: &[u8] = include_bytes!("../../../../tests/goldens/imaging/photo-half.jpg.png");

    #[test]
    fn what_is_pushed_is_given() {
        let (pusher, mut source) = pushed(&Options::default());
        let mut frame = FrameBuffer::new();
        let mut next = |frame: &mut FrameBuffer| source.next(frame, Duration::from_secs(60)).unwrap();
        pusher.file(PNG).unwrap();
        assert_eq!(next(&mut frame), Next::Frame);
        let expected = frame.clone();
        pusher.file(b"no picture").unwrap();
        pusher.file(JPEG).unwrap();
        assert_eq!(next(&mut frame), Next::Frame);
        // Pillow's decoder made the other one.
        let off = frame.data().iter().zip(expected.data()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(frame.data().len() == expected.data().len() && off <= 4, "{off}");
        pusher.frame(&expected).unwrap();
        assert_eq!(next(&mut frame), Next::Frame);
        assert_eq!((frame.data(), frame.captured()), (expected.data(), expected.captured()));
        let long = vec![0; Options::default().max_bytes + 1];
        assert_eq!(pusher.file(&long), Err(PushError::TooLong(12_000_000)));
        drop(pusher);
        assert_eq!(next(&mut frame), Next::End);
        let (pusher, source) = pushed(&Options::default());
        drop(source);
        assert_eq!(pusher.file(PNG), Err(PushError::Closed));
    }
}
