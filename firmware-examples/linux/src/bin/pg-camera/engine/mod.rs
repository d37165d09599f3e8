//! The inference thread: one session, which cameras and requests share.
//!
//! [`Engine`] is the handle that the rest of the program holds. Requests wait in a bounded queue; cameras' pictures are in
//! their mailboxes. Results come back in [`Report`]s that were made at set-up, so that the thread allocates nothing while it
//! runs (`tests/camera` counts). Not here: events, protocols, what becomes of an answer.

pub(crate) mod bucket;
pub(crate) mod dedupe;
pub(crate) mod heat;
mod live;
mod reply;
mod report;
mod worker;

pub(crate) use live::Live;
pub(crate) use reply::{Finished, Reply};
pub(crate) use report::{Outcome, Report, Reports, Said};
pub(crate) use worker::Options;

use crate::camera::Roster;
use crate::event::ModelInfo;
use pg_runtime::pictures::Caps;
use pg_runtime::{Model, Prompt};
use pg_targets::camera::FrameBuffer;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What decoding a picture may cost that somebody sends.
pub(crate) const PICTURE_CAPS: Caps = Caps { pixels: 16_000_000, scans: 100 };

/// A prompt, tokenized.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) text: Arc<str>,
    pub(crate) prompt: Prompt,
    /// Objects with a lower score are left out.
    pub(crate) min_score: f32,
}

impl Question {
    /// Tokenizes a prompt.
    ///
    /// # Errors
    /// If it is longer than the session has room for.
    pub(crate) fn new(model: &Model, text: &str, min_score: f32, max_tokens: usize) -> Result<Self, String> {
        let prompt = Prompt::new(model, text);
        let n = prompt.ids().len();
        if n > max_tokens {
            return Err(format!(
                "the prompt has {n} tokens, runtime.max_prompt_tokens leaves room for {max_tokens}: shorten it"
            ));
        }
        Ok(Question { text: text.into(), prompt, min_score })
    }
}

/// A picture and questions about it from somebody who waits for the answers.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) picture: FrameBuffer,
    pub(crate) questions: Vec<Question>,
    pub(crate) max_new_tokens: usize,
    /// Not begun later than this.
    pub(crate) deadline: Instant,
    pub(crate) reply: Arc<Reply>,
}

/// There is no room for another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Busy {
    /// When there will be, about.
    pub(crate) retry_after: Duration,
}

/// The handle.
#[derive(Debug)]
pub(crate) struct Engine {
    model: &'static Model,
    info: Arc<ModelInfo>,
    options: Options,
    shared: Arc<Shared>,
}

/// What the handle, the cameras and the thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Something to do has come.
    wake: Condvar,
    /// Milliseconds that requests took lately, smoothed.
    typical_ms: AtomicUsize,
    /// Threads that heat leaves to the engine.
    pub(crate) threads: AtomicUsize,
    /// How many times as long as usual to wait between pictures, because of heat, in percent; 0 pauses.
    pub(crate) pace_percent: AtomicUsize,
    /// Steps of the model begun.
    pub(crate) steps: Arc<AtomicUsize>,
    pub(crate) reports: Reports,
    pub(crate) live: Live,
    pub(crate) roster: Roster,
    is_busy: AtomicBool,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Request>,
    /// Requests that are done, for the service side to drop.
    done: Vec<Request>,
    woken: bool,
    stop: bool,
}

impl Engine {
    /// Sets the session up and starts its thread.
    ///
    /// # Errors
    /// If the session cannot be set up as asked.
    pub(crate) fn start(
        model: &'static Model,
        info: ModelInfo,
        options: Options,
        roster: Roster,
    ) -> Result<(Arc<Self>, JoinHandle<()>), String> {
        let session = worker::session(model, &options)?;
        let state = State {
            waiting: VecDeque::with_capacity(options.max_queue),
            done: Vec::with_capacity(options.max_queue + 1),
            woken: false,
            stop: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            wake: Condvar::new(),
            typical_ms: AtomicUsize::new(0),
            threads: AtomicUsize::new(session.threads()),
            pace_percent: AtomicUsize::new(100),
            steps: session.steps(),
            reports: Reports::new(model.tokenizer(), &options),
            live: Live::new(Said::bytes(model.tokenizer(), &options)),
            roster,
            is_busy: AtomicBool::new(false),
        });
        let thread = worker::spawn(session, shared.clone(), &options)?;
        Ok((Arc::new(Engine { model, info: Arc::new(info), options, shared }), thread))
    }

    pub(crate) fn model(&self) -> &'static Model {
        self.model
    }

    pub(crate) fn info(&self) -> &Arc<ModelInfo> {
        &self.info
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Tokenizes a prompt.
    ///
    /// # Errors
    /// If it is too long.
    pub(crate) fn question(&self, text: &str, min_score: f32) -> Result<Question, String> {
        Question::new(self.model, text, min_score, self.options.max_prompt_tokens)
    }

    /// Puts a request into the queue. The reply is to be waited for, or cancelled.
    ///
    /// # Errors
    /// [`Busy`] if the queue is full.
    pub(crate) fn submit(
        &self,
        picture: FrameBuffer,
        questions: Vec<Question>,
        max_new_tokens: usize,
        patience: Duration,
    ) -> Result<Arc<Reply>, Busy> {
        let reply = Arc::new(Reply::new(self.model.tokenizer(), &questions, &self.options));
        let mut state = self.shared.state();
        // Dropped here and not on the inference thread.
        let finished = std::mem::take(&mut state.done);
        state.done = Vec::with_capacity(self.options.max_queue + 1);
        self.check_room(state.waiting.len())?;
        state.waiting.push_back(Request {
            picture,
            questions,
            max_new_tokens: max_new_tokens.clamp(1, self.options.max_new_tokens),
            deadline: Instant::now() + patience,
            reply: reply.clone(),
        });
        state.woken = true;
        drop(state);
        drop(finished);
        self.shared.wake.notify_one();
        Ok(reply)
    }

    /// Whether one more has room beside so many that wait.
    ///
    /// # Errors
    /// [`Busy`] if not.
    pub(crate) fn check_room(&self, waiting: usize) -> Result<(), Busy> {
        if waiting < self.options.max_queue {
            return Ok(());
        }
        Err(Busy { retry_after: self.typical().saturating_mul(waiting as u32 + 1) })
    }

    /// Takes a request back whose sender has gone: one that waits leaves the queue, one that is being answered ends before
    /// its next layer or token.
    pub(crate) fn cancel(&self, reply: &Arc<Reply>) {
        reply.cancel();
        let mut state = self.shared.state();
        let at = state.waiting.iter().position(|request| Arc::ptr_eq(&request.reply, reply));
        let request = at.and_then(|i| state.waiting.remove(i));
        drop(state);
        if let Some(request) = request {
            request.reply.finish(Finished::Cancelled);
        }
    }

    /// Requests that wait.
    pub(crate) fn queue_depth(&self) -> usize {
        self.shared.state().waiting.len()
    }

    /// What a request takes, about; at least a second.
    pub(crate) fn typical(&self) -> Duration {
        Duration::from_millis(self.shared.typical_ms.load(Ordering::Relaxed).max(1000) as u64)
    }

    /// Ends the thread after what it is doing; what waits is told that nobody will answer.
    pub(crate) fn stop(&self) {
        self.shared.state().stop = true;
        self.shared.wake.notify_one();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the thread look at the cameras' mailboxes.
    pub(crate) fn wake(&self) {
        self.state().woken = true;
        self.wake.notify_one();
    }

    /// Whether the thread has nothing to do.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_busy.load(Ordering::Relaxed) && self.state().waiting.is_empty()
    }

    /// Whether the thread has been told to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.state().stop
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Weights;
    use crate::models;

    fn options() -> Options {
        Options {
            threads: 1,
            kernels: None,
            max_prompt_tokens: 32,
            max_new_tokens: 16,
            max_side: 512,
            max_queue: 1,
        }
    }

    #[tokio::test]
    async fn who_goes_away_frees_the_queue_and_the_model() {
        let (model, info) = models::open(models::DEMO.as_ref(), Weights::Mapped).unwrap();
        let (engine, thread) = Engine::start(model, info, options(), Roster::default()).unwrap();
        let shared = engine.shared().clone();
        let steps = || shared.steps.load(Ordering::Relaxed);
        let pause = |on: bool| {
            shared.pace_percent.store(if on { 0 } else { 100 }, Ordering::Relaxed);
            shared.wake();
        };
        let ask = || {
            let mut picture = FrameBuffer::default();
            picture.reset(64, 64).fill(90);
            let question = engine.question("caption en", 0.0).unwrap();
            engine.submit(picture, vec![question], 16, Duration::from_secs(3600))
        };
        // While it waits.
        pause(true);
        let first = ask().unwrap();
        let refused = ask().unwrap_err();
        assert!(refused.retry_after >= Duration::from_secs(1));
        engine.cancel(&first);
        assert_eq!(first.finished().await.finished, Some(Finished::Cancelled));
        assert_eq!((engine.queue_depth(), steps()), (0, 0), "nothing of it was computed");
        // The place is free for another, who is answered.
        let second = ask().unwrap();
        pause(false);
        assert_eq!(second.finished().await.finished, Some(Finished::Done));
        let whole = steps();
        // While it is looked at: sometimes that is over before it can be taken back.
        let taken_back = (0..100).find_map(|_| {
            let begun = steps();
            let reply = ask().unwrap();
            while steps() == begun && reply.look().finished.is_none() {
                std::hint::spin_loop();
            }
            engine.cancel(&reply);
            while reply.look().finished.is_none() {
                std::thread::yield_now();
            }
            (reply.look().finished == Some(Finished::Cancelled)).then(|| steps() - begun)
        });
        let taken_back = taken_back.expect("none of a hundred was taken back in the middle");
        assert!((1..whole).contains(&taken_back), "{taken_back} of {whole} steps");
        engine.stop();
        thread.join().unwrap();
    }
}
