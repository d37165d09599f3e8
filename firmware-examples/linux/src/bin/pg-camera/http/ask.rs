//! Questions to the model, from whichever interface: into the queue, and the answer as it grows.

use super::body::{self, Received};
use super::stream::{self, Gone, KEEP_ALIVE};
use super::{Context, Failure, Request};
use crate::camera::{Camera, Status, Viewer};
use crate::engine::{Finished, Question, Reply, Said};
use crate::event::{Object, Timing};
use crate::publish;
use hyper::StatusCode;
use pg_targets::camera::FrameBuffer;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How long a request waits for its turn, which is as long as Frigate's clients wait by default.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a camera has to give a picture.
const CAMERA_TIME: Duration = Duration::from_secs(10);

/// Numbers requests.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// A request in the queue. Dropped, it is taken back: whoever asked has gone.
#[derive(Debug)]
pub(super) struct Asked {
    context: Arc<Context>,
    reply: Arc<Reply>,
    question: Question,
    size: [usize; 2],
    max_new_tokens: usize,
    is_counted: AtomicBool,
    number: u64,
}

/// An answer, whole or as far as it has come.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// Location tokens written out.
    pub(super) text: String,
    pub(super) objects: Vec<Object>,
    pub(super) n_tokens: usize,
    pub(super) timing: Timing,
    pub(super) is_whole: bool,
    /// It ended because no more tokens were allowed.
    pub(super) is_cut: bool,
}

/// Refuses a request before its picture is decoded if there is no room for it anyway.
///
/// # Errors
/// 503 while the model is being set up or the queue is full.
pub(super) fn check_room(context: &Context) -> Result<(), Failure> {
    if !super::health::is_loaded(&context.app) {
        return Err(Failure::later("the model is being loaded", Duration::from_secs(2)));
    }
    Ok(context.app.engine.check_room(context.app.engine.queue_depth())?)
}

/// Reads a request with a picture in it, if there is room for that.
///
/// # Errors
/// As [`check_room`] and [`body::receive`].
pub(super) async fn receive<T: DeserializeOwned>(
    context: &Context,
    request: Request,
) -> Result<Received<T>, Failure> {
    check_room(context)?;
    body::receive(context, request).await
}

/// Asks `prompt`, which is as the model reads it, about a picture.
///
/// # Errors
/// 400 if the prompt is too long or the picture too large, 503 if there is no room.
pub(super) fn ask(
    context: &Arc<Context>,
    picture: FrameBuffer,
    prompt: &str,
    max_new_tokens: Option<usize>,
) -> Result<Asked, Failure> {
    let engine = &context.app.engine;
    let options = engine.options();
    let size = [picture.width(), picture.height()];
    if size[0].max(size[1]) > options.max_side {
        return Err(Failure::new(
            StatusCode::BAD_REQUEST,
            format!(
                "the picture is {} x {} pixels, sides of at most {} are taken (runtime.max_side)",
                size[0], size[1], options.max_side
            ),
        ));
    }
    let question = engine.question(prompt, 0.0).map_err(|e| Failure::new(StatusCode::BAD_REQUEST, e))?;
    let max_new_tokens = max_new_tokens.unwrap_or(usize::MAX).clamp(1, options.max_new_tokens);
    let reply = engine.submit(picture, vec![question.clone()], max_new_tokens, PATIENCE)?;
    let is_counted = AtomicBool::new(false);
    Ok(Asked {
        context: context.clone(),
        reply,
        question,
        size,
        max_new_tokens,
        is_counted,
        number: NUMBERS.fetch_add(1, Ordering::Relaxed),
    })
}

impl Asked {
    /// The prompt that the model is asked.
    pub(super) fn prompt(&self) -> &Arc<str> {
        &self.question.text
    }

    /// Tokens of the prompt.
    pub(super) fn prompt_tokens(&self) -> usize {
        self.question.prompt.ids().len()
    }

    /// Its number in the life of the program.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// What is told of an answer beside what other programs expect.
    pub(super) fn about(&self, answer: &Answer) -> Value {
        json!({ "prompt_used": &*self.question.text, "timing": answer.timing })
    }

    /// Waits for the whole answer.
    ///
    /// # Errors
    /// 503 if nobody answers.
    pub(super) async fn whole(&self) -> Result<Answer, Failure> {
        loop {
            let answer = self.look()?;
            if answer.is_whole {
                return Ok(answer);
            }
            self.reply.changed().await;
        }
    }

    /// Waits for more than was there at the last call.
    ///
    /// # Errors
    /// 503 if nobody answers.
    pub(super) async fn more(&self) -> Result<Answer, Failure> {
        let before = self.look()?;
        if !before.is_whole {
            self.reply.changed().await;
        }
        self.look()
    }

    /// Waits as [`Asked::more`] does, and meanwhile keeps the connection to the reader alive.
    ///
    /// # Errors
    /// If the reader has gone.
    pub(super) async fn more_for(&self, reader: &stream::Sender) -> Result<Result<Answer, Failure>, Gone> {
        loop {
            tokio::select! {
                answer = self.more() => return Ok(answer),
                () = reader.gone() => return Err(Gone),
                () = tokio::time::sleep(KEEP_ALIVE) => reader.keep_alive().await?,
            }
        }
    }

    /// What there is of the answer.
    fn look(&self) -> Result<Answer, Failure> {
        let seen = self.reply.look();
        let later = |what: &str| Failure::later(what, self.context.app.engine.typical());
        match seen.finished {
            Some(Finished::Cancelled) => return Err(later("the program ends")),
            Some(Finished::TooLate) => return Err(later("other requests took too long")),
            Some(Finished::Refused) => {
                return Err(Failure::new(StatusCode::BAD_REQUEST, "the picture cannot be looked at"));
            }
            Some(Finished::Done) | None => {}
        }
        let is_whole = seen.finished.is_some();
        let said = seen.answers.first();
        let answer = said.map_or_else(Answer::nothing, |said| self.answer(said, is_whole));
        if is_whole && !self.is_counted.swap(true, Ordering::Relaxed) {
            self.context.metrics.observe_request(&answer.timing);
        }
        Ok(answer)
    }

    fn answer(&self, said: &Said, is_whole: bool) -> Answer {
        Answer {
            text: said.text.clone(),
            objects: publish::objects(said, self.question.min_score, self.size, &[]),
            n_tokens: said.n_tokens,
            timing: Timing::of(said.timing, said.n_tokens).rounded(),
            is_whole,
            is_cut: is_whole && said.n_tokens >= self.max_new_tokens,
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.context.app.engine.cancel(&self.reply);
    }
}

impl Answer {
    fn nothing() -> Self {
        Answer {
            text: String::new(),
            objects: Vec::new(),
            n_tokens: 0,
            timing: Timing::default(),
            is_whole: false,
            is_cut: false,
        }
    }
}

/// The newest picture of a camera, which is waited for.
///
/// # Errors
/// 503 if the camera gives none.
pub(super) async fn newest_picture(camera: &Arc<Camera>) -> Result<FrameBuffer, Failure> {
    let status = camera.status().borrow().clone();
    let mut frame = FrameBuffer::default();
    let missing = |status: &Status| {
        Failure::later(
            format!("camera {} is {} and gives no picture", camera.name, status.name()),
            CAMERA_TIME,
        )
    };
    if matches!(status, Status::Off | Status::Ended | Status::Offline(_)) {
        return Err(missing(&status));
    }
    let viewer = Viewer::join(camera);
    let mut changed = viewer.changed();
    let arrived = async {
        while !viewer.copy(&mut frame) {
            if changed.changed().await.is_err() {
                break;
            }
        }
    };
    match tokio::time::timeout(CAMERA_TIME, arrived).await {
        Ok(()) => Ok(frame),
        Err(_) => Err(missing(&camera.status().borrow())),
    }
}
