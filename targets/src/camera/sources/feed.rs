//! Pictures that a thread reads, handed over one at a time.
//!
//! The thread waits for its camera as long as it takes; whoever asks for frames waits on a condition, with a limit. What
//! is handed over is still encoded: a picture that nobody wants is never decoded. Buffers go around between both sides.

use super::pace::Pace;
use crate::camera::formats::{Cut, Cutter, Decoder, Encoding, Limits};
use crate::camera::{Counts, ErrorKind, FrameBuffer, Next, Options, Source, SourceError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// A stream that has nothing but damaged pictures for so long is of no use.
const MOST_DAMAGED: u64 = 100;

/// What becomes of a picture when the next one comes before it is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The thread waits with the next one.
    All,
    /// The newer one takes its place.
    Newest,
}

/// The thread's side.
#[derive(Clone)]
pub(crate) struct Outlet(Arc<Shared>);

struct Shared {
    keep: Keep,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    waiting: Option<Picture>,
    spare: Vec<Vec<u8>>,
    /// Nothing more will come, and why.
    end: Option<Result<(), SourceError>>,
    /// Nobody will ask again.
    is_closed: bool,
    counts: Counts,
    /// Pictures without a good one in between.
    damaged_in_a_row: u64,
    /// When there was a sign of life.
    heard: Instant,
}

struct Picture {
    encoding: Encoding,
    bytes: Vec<u8>,
    captured: Instant,
    wall: SystemTime,
}

impl Outlet {
    pub(crate) fn new(keep: Keep) -> Self {
        let state = State {
            waiting: None,
            spare: Vec::new(),
            end: None,
            is_closed: false,
            counts: Counts::default(),
            damaged_in_a_row: 0,
            heard: Instant::now(),
        };
        Outlet(Arc::new(Shared { keep, state: Mutex::new(state), changed: Condvar::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of it is a single assignment: one that a panic interrupted leaves nothing half done.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory for the next picture.
    pub(crate) fn spare(&self) -> Vec<u8> {
        self.state().spare.pop().unwrap_or_default()
    }

    /// Hands a picture over; `false` if nobody will ask for it.
    pub(crate) fn put(
        &self,
        encoding: Encoding,
        bytes: Vec<u8>,
        captured: Instant,
        wall: SystemTime,
    ) -> bool {
        let mut state = self.state();
        state.heard = Instant::now();
        while self.0.keep == Keep::All && state.waiting.is_some() && !state.is_closed {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_closed {
            return false;
        }
        if let Some(old) = state.waiting.replace(Picture { encoding, bytes, captured, wall }) {
            state.counts.skipped += 1;
            state.spare.push(old.bytes);
        }
        self.0.changed.notify_all();
        true
    }

    /// There is no picture, but the camera answers.
    pub(crate) fn heard(&self) {
        self.state().heard = Instant::now();
    }

    /// Waits; `false` as soon as nobody will ask again.
    pub(crate) fn sleep_until(&self, until: Instant) -> bool {
        let mut state = self.state();
        while !state.is_closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// Nothing more will come.
    pub(crate) fn end(&self, why: Result<(), SourceError>) {
        let mut state = self.state();
        state.end.get_or_insert(why);
        self.0.changed.notify_all();
    }

    /// Hands over all pictures of a stream; `Ok` at its end or when nobody will ask again.
    pub(crate) fn run(&self, cutter: &mut dyn Cutter) -> Result<(), String> {
        loop {
            let mut bytes = self.spare();
            match cutter.cut(&mut bytes)? {
                Cut::Picture(encoding) => {
                    if !self.put(encoding, bytes, Instant::now(), SystemTime::now()) {
                        return Ok(());
                    }
                    continue;
                }
                Cut::Damaged => {
                    let mut state = self.state();
                    state.counts.damaged += 1;
                    state.damaged_in_a_row += 1;
                    if state.damaged_in_a_row >= MOST_DAMAGED {
                        return Err(too_many_damaged("cut off or no pictures"));
                    }
                }
                Cut::Skipped => self.state().counts.skipped += 1,
                Cut::End => return Ok(()),
            }
            let mut state = self.state();
            if state.is_closed {
                return Ok(());
            }
            state.spare.push(bytes);
        }
    }

    fn close(&self) {
        self.state().is_closed = true;
        self.0.changed.notify_all();
    }
}

fn too_many_damaged(why: &str) -> String {
    format!("the last {MOST_DAMAGED} pictures were damaged ({why}): check the connection and the camera")
}

/// The side of whoever asks.
pub(crate) struct Feed {
    outlet: Outlet,
    place: String,
    decoder: Decoder,
    pace: Pace,
    /// How long the camera may say nothing.
    stall: Option<Duration>,
    /// Ends what the thread waits for.
    stop: Option<Box<dyn FnOnce() + Send>>,
}

impl Feed {
    /// `place` is the location with its password masked.
    pub(crate) fn new(outlet: &Outlet, place: String, options: &Options) -> Self {
        Feed {
            outlet: outlet.clone(),
            place,
            decoder: Decoder::new(Limits::of(options)),
            pace: Pace::new(None),
            stall: None,
            stop: None,
        }
    }

    /// Gives at most so many frames a second; the thread is not slowed down unless it keeps all pictures.
    pub(crate) fn paced(mut self, fps: Option<f32>) -> Self {
        self.pace = Pace::new(fps);
        self
    }

    /// Takes silence for a loss.
    pub(crate) fn stalls_after(mut self, stall: Duration) -> Self {
        self.stall = Some(stall);
        self
    }

    pub(crate) fn stopped_by(mut self, stop: impl FnOnce() + Send + 'static) -> Self {
        self.stop = Some(Box::new(stop));
        self
    }

    /// The next picture; `None` if none comes in time.
    fn wait(&self, until: Instant) -> Result<Option<Result<Picture, Next>>, SourceError> {
        let mut state = self.outlet.state();
        loop {
            if let Some(picture) = state.waiting.take() {
                self.outlet.0.changed.notify_all();
                return Ok(Some(Ok(picture)));
            }
            match &state.end {
                Some(Ok(())) => return Ok(Some(Err(Next::End))),
                Some(Err(error)) => return Err(error.clone()),
                None => {}
            }
            let now = Instant::now();
            if let Some(stall) =
                self.stall.filter(|stall| now.saturating_duration_since(state.heard) > *stall)
            {
                let what =
                    format!("nothing came for {} s: check the camera and the network", stall.as_secs_f32());
                return Err(SourceError::new(ErrorKind::Lost, &self.place, what));
            }
            if now >= until {
                return Ok(None);
            }
            let wait = (until - now).min(self.stall.unwrap_or(Duration::MAX));
            state = self.outlet.0.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Source for Feed {
    fn next(&mut self, into: &mut FrameBuffer, limit: Duration) -> Result<Next, SourceError> {
        let until = Instant::now() + limit;
        if !self.pace.wait(until) {
            return Ok(Next::Nothing);
        }
        loop {
            let picture = match self.wait(until)? {
                None => return Ok(Next::Nothing),
                Some(Err(end)) => return Ok(end),
                Some(Ok(picture)) => picture,
            };
            let decoded = self.decoder.decode(picture.encoding, &picture.bytes, into);
            let mut state = self.outlet.state();
            state.spare.push(picture.bytes);
            match decoded {
                Ok(()) => {
                    state.damaged_in_a_row = 0;
                    into.set_time(picture.captured, picture.wall);
                    drop(state);
                    self.pace.given();
                    return Ok(Next::Frame);
                }
                Err(why) => {
                    state.counts.damaged += 1;
                    state.damaged_in_a_row += 1;
                    if state.damaged_in_a_row >= MOST_DAMAGED {
                        return Err(SourceError::new(ErrorKind::Lost, &self.place, too_many_damaged(&why)));
                    }
                }
            }
        }
    }

    fn counts(&self) -> Counts {
        self.outlet.state().counts
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.outlet.close();
        if let Some(stop) = self.stop.take() {
            stop();
        }
    }
}

/// Starts the thread of a feed; it is not waited for: what it waits for may take its time to end.
pub(crate) fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), SourceError> {
    let thread = thread::Builder::new().name(name.into()).spawn(run);
    let fail = |e| SourceError::new(ErrorKind::Lost, name, format!("cannot start a thread: {e}"));
    thread.map(drop).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RGB: Encoding = Encoding::Rgb { width: 1, height: 1 };
    const LONG: Duration = Duration::from_secs(60);

    fn put(outlet: &Outlet, value: u8) -> bool {
        outlet.put(RGB, vec![value; 3], Instant::now(), SystemTime::now())
    }

    #[test]
    fn the_newest_picture_is_given() {
        let outlet = Outlet::new(Keep::Newest);
        let mut feed = Feed::new(&outlet, "test".into(), &Options::default());
        let mut frame = FrameBuffer::new();
        assert_eq!(feed.next(&mut frame, Duration::ZERO).unwrap(), Next::Nothing);
        assert!(put(&outlet, 1) && put(&outlet, 2));
        assert_eq!(feed.next(&mut frame, LONG).unwrap(), Next::Frame);
        assert_eq!((frame.data(), feed.counts().skipped), (&[2; 3][..], 1));
        outlet.end(Ok(()));
        assert_eq!(feed.next(&mut frame, LONG).unwrap(), Next::End);
        drop(feed);
        assert!(!put(&outlet, 3) && !outlet.sleep_until(Instant::now() + LONG));
    }

    #[test]
    fn no_picture_is_lost_where_all_are_kept() {
        let outlet = Outlet::new(Keep::All);
        let mut feed = Feed::new(&outlet, "test".into(), &Options::default());
        let writer = thread::spawn(move || {
            assert!((0..50).all(|value| put(&outlet, value)));
            outlet.end(Ok(()));
        });
        let mut frame = FrameBuffer::new();
        for value in 0..50 {
            assert_eq!(feed.next(&mut frame, LONG).unwrap(), Next::Frame);
            assert_eq!(frame.data(), [value; 3]);
        }
        assert_eq!(feed.next(&mut frame, LONG).unwrap(), Next::End);
        writer.join().unwrap();
    }

    #[test]
    fn damage_is_counted_and_silence_is_a_loss() {
        let outlet = Outlet::new(Keep::All);
        let mut feed = Feed::new(&outlet, "test".into(), &Options::default());
        let writer = outlet.clone();
        let thread = thread::spawn(move || {
            let put = |bytes| writer.put(RGB, bytes, Instant::now(), SystemTime::now());
            (put(vec![0; 2]), put(vec![0; 3]), (0..MOST_DAMAGED).all(|_| put(vec![])))
        });
        let mut frame = FrameBuffer::new();
        assert_eq!(feed.next(&mut frame, LONG).unwrap(), Next::Frame);
        assert_eq!(feed.counts().damaged, 1);
        let error = feed.next(&mut frame, LONG).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Lost);
        assert!(error.to_string().starts_with("test: the last 100 pictures were damaged"), "{error}");
        assert_eq!(thread.join().unwrap(), (true, true, true));

        let outlet = Outlet::new(Keep::Newest);
        let feed = Feed::new(&outlet, "test".into(), &Options::default());
        let mut feed = feed.stalls_after(Duration::from_millis(1));
        let error = feed.next(&mut frame, LONG).unwrap_err();
        assert!(error.kind() == ErrorKind::Lost && error.to_string().contains("nothing came"), "{error}");
    }
}
