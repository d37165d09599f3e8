//! Does what messages tell cameras to do. Whatever is wrong with a message becomes an event of the camera.

use super::answer::{self, Answer};
use super::codec::Publish;
use super::outbox::Message;
use super::topics::{AS_CONFIGURED, Command, Names};
use crate::app::App;
use crate::camera::Camera;
use crate::config::{MAX_PROMPT, MAX_PROMPTS};
use crate::engine::Question;
use crate::event::{Event, Kind, timestamp};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// A question about a camera's picture.
#[derive(Debug)]
pub(super) struct Query {
    camera: Arc<Camera>,
    text: String,
    question: Question,
    /// Where else to answer, and with what beside the answer.
    response_topic: Option<String>,
    correlation: Option<Vec<u8>>,
}

/// Does what a message tells a camera, except for answering a question, which takes a while.
pub(super) fn obey(app: &App, camera: &str, command: Command, message: Publish) -> Option<Query> {
    if message.is_retained {
        ::log::warn!(
            "MQTT: {} is retained: it is ignored, or it would happen again and again",
            message.topic
        );
        return None;
    }
    let Some(camera) = app.roster.find(camera) else {
        ::log::warn!("MQTT: there is no camera for {}", message.topic.escape_debug());
        return None;
    };
    let done = match command {
        Command::Enable => enable(&camera, &message.payload).map(|()| None),
        Command::Prompt => prompts(app, &camera, &message.payload).map(|()| None),
        Command::Run => {
            camera.force();
            Ok(None)
        }
        Command::Picture => {
            camera.push(&message.payload).map(|()| None).map_err(|e| format!("picture/set: {e}"))
        }
        Command::Query => query(app, &camera, message).map(Some),
    };
    done.unwrap_or_else(|why| {
        complain(app, &camera, why);
        None
    })
}

/// Tells as an event of the camera what was wrong.
pub(super) fn complain(app: &App, camera: &Camera, why: String) {
    static COMPLAINTS: AtomicU64 = AtomicU64::new(1);
    let id = format!("{}-mqtt", crate::publish::id(COMPLAINTS.fetch_add(1, Ordering::Relaxed)));
    let mut event = Event::new(Kind::Error, &camera.name, id, timestamp(SystemTime::now()));
    event.error = Some(why);
    app.log.push(event);
}

fn enable(camera: &Camera, payload: &[u8]) -> Result<(), String> {
    match payload.trim_ascii() {
        b"ON" => camera.enable(true),
        b"OFF" => camera.enable(false),
        other => return Err(format!("enabled/set takes ON or OFF, not {}", shown(other))),
    }
    Ok(())
}

fn prompts(app: &App, camera: &Camera, payload: &[u8]) -> Result<(), String> {
    let text = text(payload, MAX_PROMPTS * (MAX_PROMPT + 1)).map_err(|e| format!("prompt/set: {e}"))?;
    let configured = &camera.settings.prompts;
    let known = |text: &str| configured.iter().find(|p| p.text == text);
    let questions: Vec<Question> = if text == AS_CONFIGURED {
        configured.iter().map(|p| app.engine.question(&p.text, p.min_score)).collect::<Result<_, _>>()
    } else {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let question = |line: &str| match known(line) {
            Some(p) => app.engine.question(&p.text, p.min_score),
            None => answer::question(&app.engine, line),
        };
        lines.map(question).collect::<Result<_, _>>()
    }
    .map_err(|e| format!("prompt/set: {e}"))?;
    if !(1..=MAX_PROMPTS).contains(&questions.len()) {
        return Err(format!("prompt/set takes 1 to {MAX_PROMPTS} prompts, a line each"));
    }
    camera.set_questions(questions);
    Ok(())
}

fn query(app: &App, camera: &Arc<Camera>, message: Publish) -> Result<Query, String> {
    let text = text(&message.payload, MAX_PROMPT).map_err(|e| format!("query/set: {e}"))?;
    if text.is_empty() {
        return Err("query/set takes a question".into());
    }
    let question = answer::question(&app.engine, text).map_err(|e| format!("query/set: {e}"))?;
    let response_topic = message.response_topic.filter(|topic| is_topic(topic));
    let correlation = message.correlation;
    Ok(Query { camera: camera.clone(), text: text.to_string(), question, response_topic, correlation })
}

impl Query {
    pub(super) fn camera(&self) -> &Arc<Camera> {
        &self.camera
    }

    /// Answers it.
    pub(super) async fn answer(self, app: Arc<App>, names: Names) -> Vec<Message> {
        let told = answer::about_camera(&app.engine, &self.camera, self.question).await;
        let mut fields = Answer::new();
        fields.insert("question".into(), self.text.into());
        fields.insert("camera".into(), Value::from(&*self.camera.name));
        fields.insert("ts".into(), timestamp(SystemTime::now()).into());
        match told {
            Ok(told) => fields.extend(told),
            Err(why) => {
                complain(&app, &self.camera, format!("query/set: {why}"));
                fields.insert("error".into(), why.into());
            }
        }
        let json = Value::from(fields).to_string();
        let state = names.camera(&self.camera.name, "query/state");
        let mut messages = vec![Message { is_retained: true, ..Message::new(state, json.clone()) }];
        if let Some(topic) = self.response_topic {
            messages.push(Message { correlation: self.correlation, ..Message::new(topic, json) });
        }
        messages
    }
}

/// Whether this is a topic that can be published to.
pub(super) fn is_topic(topic: &str) -> bool {
    (1..=1000).contains(&topic.len()) && !topic.contains(['+', '#', '\0']) && !topic.starts_with('$')
}

/// A payload as text.
fn text(payload: &[u8], most: usize) -> Result<&str, String> {
    if payload.len() > most {
        return Err(format!("{} bytes are too long, at most {most} are taken", payload.len()));
    }
    let text = std::str::from_utf8(payload).map_err(|_| format!("{} is no text", shown(payload)))?;
    Ok(text.trim())
}

/// The beginning of a payload, for people.
fn shown(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(&payload[..payload.len().min(40)]);
    format!("{:?}", text.escape_debug().to_string())
}
