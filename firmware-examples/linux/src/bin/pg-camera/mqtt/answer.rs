//! Asks the model about one picture for somebody who waits, and tells the answer as JSON.

use crate::camera::{Camera, Viewer, zone::Zone};
use crate::engine::{Engine, Finished, Question, Reply, Said};
use crate::event::{Kind, Timing};
use crate::{prompt, publish};
use pg_targets::camera::FrameBuffer;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Time for a camera to give a picture.
const PICTURE: Duration = Duration::from_secs(10);
/// Time for a question to be begun; those that wait here may wait long.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How often it is looked whether there is room for a question.
const ROOM: Duration = Duration::from_millis(100);

/// Fields of an answer.
pub(super) type Answer = Map<String, Value>;

/// Makes a question of what somebody wrote.
///
/// # Errors
/// What is wrong with it.
pub(super) fn question(engine: &Engine, text: &str) -> Result<Question, String> {
    let prompt = prompt::map(text, &prompt::Settings::default())?;
    engine.question(&prompt.text, 0.0)
}

/// Asks about the next picture of a camera.
///
/// # Errors
/// Why there is no answer.
pub(super) async fn about_camera(
    engine: &Engine,
    camera: &Arc<Camera>,
    question: Question,
) -> Result<Answer, String> {
    let mut picture = FrameBuffer::default();
    {
        let viewer = Viewer::join(camera);
        let mut changed = viewer.changed();
        changed.mark_unchanged();
        let came = tokio::time::timeout(PICTURE, changed.changed()).await;
        if came.is_err() || !viewer.copy(&mut picture) {
            let status = camera.status().borrow().name();
            return Err(format!("the camera gave no picture within {} s: it is {status}", PICTURE.as_secs()));
        }
    }
    ask(engine, picture, question, &camera.settings.zones).await
}

/// Asks about a picture; waits while others are served.
///
/// # Errors
/// Why there is no answer.
pub(super) async fn ask(
    engine: &Engine,
    picture: FrameBuffer,
    question: Question,
    zones: &[Zone],
) -> Result<Answer, String> {
    let size = [picture.width(), picture.height()];
    while engine.check_room(engine.queue_depth()).is_err() {
        tokio::time::sleep(ROOM).await;
    }
    let text = question.text.clone();
    let min_score = question.min_score;
    let reply = engine.submit(picture, vec![question], engine.options().max_new_tokens, PATIENCE);
    let reply = reply.map_err(|_| "the queue is full")?;
    let unwanted = Unwanted { engine, reply: &reply };
    let seen = reply.finished().await;
    drop(unwanted);
    match (seen.finished, seen.answers.first()) {
        (Some(Finished::Done), Some(said)) => Ok(tell(engine, &text, said, min_score, size, zones)),
        (Some(Finished::Refused), _) => Err(format!(
            "a picture of {} x {} pixels is larger than runtime.max_side: send a smaller one",
            size[0], size[1]
        )),
        (Some(Finished::TooLate), _) => Err("there was no time for it".into()),
        _ => Err("the program ends".into()),
    }
}

/// Takes the request back if nobody waits any longer.
struct Unwanted<'a> {
    engine: &'a Engine,
    reply: &'a Arc<Reply>,
}

impl Drop for Unwanted<'_> {
    fn drop(&mut self) {
        self.engine.cancel(self.reply);
    }
}

fn tell(
    engine: &Engine,
    prompt: &str,
    said: &Said,
    min_score: f32,
    size: [usize; 2],
    zones: &[Zone],
) -> Answer {
    let mut answer = Map::new();
    answer.insert("prompt".into(), prompt.into());
    if Kind::of_prompt(prompt) == Kind::Detect {
        let objects = publish::objects(said, min_score, size, zones);
        let mut labels: Vec<&str> = objects.iter().map(|o| o.label.as_str()).collect();
        labels.sort_unstable();
        let words = if labels.is_empty() { "nothing found".into() } else { labels.join(", ") };
        answer.insert("answer".into(), words.into());
        answer.insert("objects".into(), json!(objects));
    } else {
        answer.insert("answer".into(), said.text.trim().into());
    }
    answer.insert("raw".into(), said.text.as_str().into());
    answer.insert("frame".into(), json!({ "w": size[0], "h": size[1] }));
    answer.insert("timing".into(), json!(Timing::of(said.timing, said.n_tokens)));
    answer.insert("model".into(), engine.info().name.as_str().into());
    answer
}
