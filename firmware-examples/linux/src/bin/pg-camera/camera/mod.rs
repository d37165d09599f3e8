//! A camera of the configuration: its source, what decides which of its pictures are looked at, and how it is doing.
//!
//! Each camera has a thread (`watch`) that fetches pictures, blacks out what is private and offers what seems worth it to
//! the inference thread through a mailbox. Not here: drivers and children that give pictures (`pg_targets::camera`), and
//! what is done with answers.

mod mailbox;
pub(crate) mod motion;
mod preview;
pub(crate) mod privacy;
pub(crate) mod schedule;
mod watch;
pub(crate) mod zone;

pub(crate) use preview::{Preview, Viewer};
pub(crate) use watch::{Watcher, start};

use crate::config;
use crate::engine::bucket::Bucket;
use crate::engine::dedupe::{Dedupe, Labels, Verdict};
use crate::engine::{Engine, Question};
use mailbox::Mailbox;
use pg_targets::camera::{FrameBuffer, Pusher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch as channel;

/// The source of cameras whose pictures are handed in.
const PUSH: &str = "push:";

/// How a camera is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Status {
    /// Its source is being opened.
    Starting,
    /// It delivers.
    Online,
    /// It was lost, for this reason, and is tried again.
    Offline(String),
    /// Switched off, by somebody or by its schedule.
    Off,
    /// The file or pipe has ended.
    Ended,
}

impl Status {
    /// The word that outputs use.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Status::Starting => "starting",
            Status::Online => "online",
            Status::Offline(_) => "offline",
            Status::Off => "off",
            Status::Ended => "ended",
        }
    }
}

/// What became of a camera's pictures.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Looked at.
    pub(crate) used: AtomicU64,
    /// Replaced by newer ones before there was time.
    pub(crate) dropped: AtomicU64,
    /// Too old when there was time.
    pub(crate) stale: AtomicU64,
    /// Nothing moved, or nobody wanted one.
    pub(crate) gated: AtomicU64,
    /// Could not be decoded.
    pub(crate) damaged: AtomicU64,
    /// Passed over by the source, because there were more than wanted.
    pub(crate) skipped: AtomicU64,
    /// Times that the source had to be opened again.
    pub(crate) reopened: AtomicU64,
}

/// A camera, shared by its thread, the inference thread and the services.
#[derive(Debug)]
pub(crate) struct Camera {
    pub(crate) name: Arc<str>,
    pub(crate) settings: config::Camera,
    pub(crate) counters: Counters,
    /// For whoever watches live.
    pub(crate) preview: Preview,
    status: channel::Sender<Status>,
    mailbox: Mailbox,
    questions: Mutex<Arc<Vec<Question>>>,
    is_enabled: channel::Sender<bool>,
    is_forced: AtomicBool,
    is_removed: AtomicBool,
    /// Takes pictures from the services, while the source is `push:` and open.
    pusher: Mutex<Option<Pusher>>,
    pacing: Mutex<Pacing>,
}

/// What decides when the next picture may be looked at; the inference thread's.
#[derive(Debug)]
struct Pacing {
    bucket: Bucket,
    dedupe: Dedupe,
    last_look: Option<Instant>,
}

/// A picture that was fetched to be looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Taken {
    /// What it belongs to.
    pub(crate) incident: u64,
    /// Its number among the source's pictures.
    pub(crate) seq: u64,
    /// Pictures that were not looked at since the last that was.
    pub(crate) dropped: u64,
    /// Time since it was taken.
    pub(crate) age: Duration,
    /// Whether somebody asked for a look.
    pub(crate) is_forced: bool,
}

impl Camera {
    /// A camera as configured, with its prompts tokenized.
    ///
    /// # Errors
    /// A prompt that is too long.
    pub(crate) fn new(settings: config::Camera, engine: &Engine) -> Result<Arc<Self>, String> {
        let name: Arc<str> = settings.name.as_str().into();
        let question = |p: &config::Prompt| {
            engine.question(&p.text, p.min_score).map_err(|e| format!("camera {name}: {e}"))
        };
        let questions = settings.prompts.iter().map(question).collect::<Result<Vec<_>, _>>()?;
        let width = engine.model().config().vision.d_model;
        let pacing = Pacing {
            bucket: Bucket::new(&settings.rate, Instant::now()),
            dedupe: Dedupe::new(settings.dedupe.clone(), width),
            last_look: None,
        };
        Ok(Arc::new(Camera {
            name,
            counters: Counters::default(),
            preview: Preview::default(),
            status: channel::Sender::new(Status::Starting),
            mailbox: Mailbox::default(),
            questions: Mutex::new(Arc::new(questions)),
            is_enabled: channel::Sender::new(settings.enabled),
            is_forced: AtomicBool::new(false),
            is_removed: AtomicBool::new(false),
            pusher: Mutex::new(None),
            pacing: Mutex::new(pacing),
            settings,
        }))
    }

    /// What is asked about its pictures.
    pub(crate) fn questions(&self) -> Arc<Vec<Question>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks something else from the next picture on.
    pub(crate) fn set_questions(&self, questions: Vec<Question>) {
        self.pacing().dedupe.forget();
        *self.questions.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(questions);
    }

    /// How it is doing, and a way to hear of changes.
    pub(crate) fn status(&self) -> channel::Receiver<Status> {
        self.status.subscribe()
    }

    fn set_status(&self, status: Status) {
        self.status.send_if_modified(|now| {
            let is_new = *now != status;
            *now = status;
            is_new
        });
    }

    /// Whether it is switched on, and a way to hear of changes.
    pub(crate) fn enabled(&self) -> channel::Receiver<bool> {
        self.is_enabled.subscribe()
    }

    /// Switches it on or off; off, its source is closed.
    pub(crate) fn enable(&self, on: bool) {
        self.is_enabled.send_if_modified(|now| std::mem::replace(now, on) != on);
        if !on {
            self.mailbox.clear();
        }
    }

    fn is_enabled(&self) -> bool {
        *self.is_enabled.borrow()
    }

    /// Asks for a look at the next picture, whether or not anything moves.
    pub(crate) fn force(&self) {
        self.is_forced.store(true, Ordering::Relaxed);
    }

    /// Hands a picture file in, if the source is `push:`.
    ///
    /// # Errors
    /// Why it is not taken, in words.
    pub(crate) fn push(&self, picture: &[u8]) -> Result<(), String> {
        match &*self.pusher() {
            Some(pusher) => pusher.file(picture).map_err(|e| e.to_string()),
            None if self.settings.source == PUSH => Err("the camera is switched off".into()),
            None => Err(format!(
                "the camera's pictures come from {}, not from here",
                self.settings.source_shown()
            )),
        }
    }

    fn pusher(&self) -> MutexGuard<'_, Option<Pusher>> {
        self.pusher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes it out of the running configuration.
    pub(crate) fn remove(&self) {
        self.is_removed.store(true, Ordering::Relaxed);
        self.mailbox.clear();
    }

    fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Relaxed)
    }

    /// Whether answers about its pictures are still wanted.
    pub(crate) fn is_wanted(&self) -> bool {
        self.is_enabled() && !self.is_removed()
    }

    /// When its picture may be looked at, if it has one; `pace` is the percentage of the usual interval, 0 for none at all.
    pub(crate) fn ready_in(&self, now: Instant, pace: usize) -> Option<Duration> {
        if pace == 0 || !self.mailbox.is_full() || !self.is_wanted() {
            return None;
        }
        if self.mailbox.is_forced() {
            return Some(Duration::ZERO);
        }
        let mut pacing = self.pacing();
        let interval = Duration::from_secs_f64(self.settings.min_interval * pace as f64 / 100.0);
        let rest =
            pacing.last_look.map_or(Duration::ZERO, |last| (last + interval).saturating_duration_since(now));
        Some(rest.max(pacing.bucket.wait(now)))
    }

    /// Fetches its picture into `frame`, unless that has become too old.
    pub(crate) fn take(&self, now: Instant, frame: &mut FrameBuffer) -> Option<Taken> {
        let (letter, dropped) = self.mailbox.take(frame)?;
        self.counters.dropped.fetch_add(dropped, Ordering::Relaxed);
        let age = now.saturating_duration_since(frame.captured());
        if age.as_secs_f64() > self.settings.max_age && !letter.is_forced && !self.settings.wait {
            self.counters.stale.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.counters.used.fetch_add(1, Ordering::Relaxed);
        let mut pacing = self.pacing();
        pacing.bucket.take(now);
        pacing.last_look = Some(now);
        let (incident, seq, is_forced) = (letter.incident, letter.seq, letter.is_forced);
        Some(Taken { incident, seq, dropped, age, is_forced })
    }

    /// Whether this is the scene that was told last, and not yet time to tell it again.
    pub(crate) fn is_unchanged(&self, embedding: &[f32], labels: &Labels, now: Instant) -> bool {
        self.pacing().dedupe.compare(embedding, labels, now) == Verdict::Unchanged
    }

    /// Remembers what was told.
    pub(crate) fn was_told(&self, embedding: &[f32], labels: &Labels, now: Instant) {
        self.pacing().dedupe.remember(embedding, labels, now);
    }

    fn pacing(&self) -> MutexGuard<'_, Pacing> {
        self.pacing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cameras of the running configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roster(Arc<Mutex<Arc<Vec<Arc<Camera>>>>>);

impl Roster {
    pub(crate) fn cameras(&self) -> Arc<Vec<Arc<Camera>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The camera of this name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Camera>> {
        self.cameras().iter().find(|c| &*c.name == name).cloned()
    }

    pub(crate) fn set(&self, cameras: Vec<Arc<Camera>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(cameras);
    }
}
