//! What the inference thread says of a camera's picture, in memory taken at set-up.

use super::Options;
use pg_runtime::output::{Bbox, Object};
use pg_runtime::tokenizer::Tokenizer;
use pg_runtime::{Answer, Timing};
use pg_targets::camera::FrameBuffer;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Reports that may be on their way at a time.
const N_REPORTS: usize = 8;
/// Pictures that may be on their way at a time: they are encoded faster than looked at, and are large.
const N_PICTURES: usize = 3;

/// An answer, copied out of the session.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    /// Location tokens written out.
    pub(crate) text: String,
    pub(crate) objects: Vec<Seen>,
    pub(crate) n_tokens: usize,
    pub(crate) timing: Timing,
}

/// An object of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) bbox: Bbox,
    pub(crate) score: f32,
    /// A range of the answer's text.
    pub(crate) label: std::ops::Range<usize>,
}

impl Said {
    /// Bytes of the longest answer.
    pub(super) fn bytes(tokenizer: &Tokenizer, options: &Options) -> usize {
        options.max_new_tokens * tokenizer.longest_piece_bytes().max(3) + 3
    }

    /// With room for the longest answer.
    pub(super) fn new(tokenizer: &Tokenizer, options: &Options) -> Self {
        let n = options.max_new_tokens;
        Said {
            text: String::with_capacity(Said::bytes(tokenizer, options)),
            // Four tokens each, and none before the first.
            objects: Vec::with_capacity(n / 4 + 1),
            n_tokens: 0,
            timing: Timing::default(),
        }
    }

    /// Becomes a copy of `answer`, in the room that there is.
    pub(super) fn set(&mut self, answer: &Answer<'_>) {
        self.text.clear();
        self.text.push_str(answer.text());
        self.objects.clear();
        let seen = |o: &Object| Seen { bbox: o.bbox, score: o.score, label: o.label.clone() };
        self.objects.extend(answer.objects().iter().map(seen));
        self.n_tokens = answer.tokens().len();
        self.timing = answer.timing();
    }

    fn clear(&mut self) {
        self.text.clear();
        self.objects.clear();
        self.n_tokens = 0;
        self.timing = Timing::default();
    }

    /// The label of one of its objects.
    pub(crate) fn label(&self, seen: &Seen) -> &str {
        self.text.get(seen.label.clone()).unwrap_or_default()
    }
}

/// What a report says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The answer to the question of this number.
    Answer(usize),
    /// The scene is as it was told last.
    Unchanged,
    /// The picture is larger than the session was set up for.
    TooLarge,
}

/// One answer about a camera's picture.
#[derive(Debug)]
pub(crate) struct Report {
    /// Whose picture it is, and what was asked; none of either once it has been given back.
    pub(crate) camera: Option<Arc<crate::camera::Camera>>,
    pub(crate) questions: Option<Arc<Vec<super::Question>>>,
    pub(crate) outcome: Outcome,
    /// What belongs together.
    pub(crate) incident: u64,
    /// Whether this is the picture's last report.
    pub(crate) is_last: bool,
    /// The picture, in the first report about each.
    pub(crate) frame: Option<FrameBuffer>,
    pub(crate) said: Said,
    pub(crate) frame_seq: u64,
    pub(crate) dropped: u64,
    pub(crate) age_ms: f64,
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) wall: std::time::SystemTime,
}

/// Reports on their way from the inference thread and back to it.
#[derive(Debug)]
pub(crate) struct Reports {
    queues: Mutex<Queues>,
    arrived: Notify,
    lost: AtomicU64,
}

#[derive(Debug)]
struct Queues {
    // Handed on to the other queue and back as they are, without being moved.
    #[allow(clippy::vec_box)]
    free: Vec<Box<Report>>,
    full: VecDeque<Box<Report>>,
    /// Buffers of pictures that are on no way.
    spare: Vec<FrameBuffer>,
}

impl Reports {
    pub(super) fn new(tokenizer: &Tokenizer, options: &Options) -> Self {
        let report = |_| {
            Box::new(Report {
                camera: None,
                questions: None,
                outcome: Outcome::Unchanged,
                incident: 0,
                is_last: true,
                frame: None,
                said: Said::new(tokenizer, options),
                frame_seq: 0,
                dropped: 0,
                age_ms: 0.0,
                width: 0,
                height: 0,
                wall: std::time::SystemTime::UNIX_EPOCH,
            })
        };
        let queues = Queues {
            free: (0..N_REPORTS).map(report).collect(),
            full: VecDeque::with_capacity(N_REPORTS),
            spare: (0..N_PICTURES).map(|_| FrameBuffer::default()).collect(),
        };
        Reports { queues: Mutex::new(queues), arrived: Notify::new(), lost: AtomicU64::new(0) }
    }

    /// An empty report; the oldest that nobody has fetched yet if there is no other, which is lost.
    pub(super) fn take(&self) -> Option<Box<Report>> {
        let mut queues = self.queues();
        let mut report = queues.free.pop().or_else(|| {
            self.lost.fetch_add(1, Ordering::Relaxed);
            queues.full.pop_front()
        })?;
        queues.spare.extend(report.frame.take());
        report.said.clear();
        report.is_last = false;
        Some(report)
    }

    /// Puts a picture into a report and leaves a buffer for the next. If none is free, an older report that nobody has
    /// fetched goes without its picture; if there is no such report, this one.
    pub(super) fn attach(&self, report: &mut Report, frame: &mut FrameBuffer) {
        let mut queues = self.queues();
        let spare =
            queues.spare.pop().or_else(|| queues.full.iter_mut().find_map(|older| older.frame.take()));
        report.frame = spare.map(|spare| std::mem::replace(frame, spare));
    }

    /// Gives the buffer of a report's picture back.
    pub(crate) fn give_frame_back(&self, frame: FrameBuffer) {
        self.queues().spare.push(frame);
    }

    /// Sends a report.
    pub(super) fn send(&self, report: Box<Report>) {
        self.queues().full.push_back(report);
        self.arrived.notify_one();
    }

    /// Waits for a report.
    pub(crate) async fn receive(&self) -> Box<Report> {
        loop {
            if let Some(report) = self.queues().full.pop_front() {
                return report;
            }
            self.arrived.notified().await;
        }
    }

    /// Gives a report back.
    pub(crate) fn give_back(&self, mut report: Box<Report>) {
        // The camera may have been taken out of the configuration: not held longer than needed.
        report.camera = None;
        report.questions = None;
        self.queues().free.push(report);
    }

    /// Reports lost because nobody fetched them in time.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
