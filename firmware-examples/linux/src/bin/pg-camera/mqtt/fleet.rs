//! A share in the work of a group: pictures that others send through the broker, each to one machine of the group.
//!
//! A message is a JPEG or PNG picture, or JSON with `image` (base64), and perhaps `prompt` and `id`. The answer goes to the
//! message's response topic with its correlation data, or to `fleet/answer`. The message is acknowledged once the broker has
//! the answer, so a machine that dies before leaves it to the broker, which sends it again when the machine comes back: each
//! message is answered at least once. Pictures that cannot be read are answered with an error, and not sent again.

use super::answer::{self, Answer};
use super::codec::{Filter, Publish};
use super::commands::is_topic;
use super::outbox::{Message, Received};
use super::topics::Names;
use crate::app::App;
use crate::config;
use crate::engine::PICTURE_CAPS;
use base64::Engine as _;
use pg_runtime::pictures;
use pg_targets::camera::FrameBuffer;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// Bytes of a picture file, at most.
const MAX_FILE: usize = 12 << 20;
/// Bytes of a message, at most: such a picture in base64, and what is around it.
pub(super) const MAX_MESSAGE: usize = MAX_FILE / 3 * 4 + (64 << 10);
/// Seconds for which the broker keeps messages for this machine while it is away.
pub(super) const SESSION_EXPIRY: u32 = 24 * 3600;
/// Messages that the broker sends before the first is acknowledged. With one, no machine has work in store while another
/// has none.
pub(super) const RECEIVE_MAXIMUM: u16 = 1;

/// A share.
#[derive(Debug, Clone)]
pub(super) struct Fleet {
    settings: config::Fleet,
    worker: String,
    default_topic: String,
}

/// The JSON form of a message.
#[derive(Debug, Deserialize)]
struct Form {
    image: String,
    prompt: Option<String>,
    id: Option<Value>,
}

/// What a message asks.
#[derive(Debug, PartialEq)]
struct Task {
    file: Vec<u8>,
    prompt: Option<String>,
    id: Option<Value>,
}

impl Fleet {
    pub(super) fn new(settings: &config::Fleet, worker: &str, names: &Names) -> Self {
        let default_topic = names.of("fleet/answer");
        Fleet { settings: settings.clone(), worker: worker.to_string(), default_topic }
    }

    pub(super) fn filter(&self) -> Filter {
        let topic = format!("$share/{}/{}", self.settings.group, self.settings.topic);
        Filter { topic, has_qos1: true, wants_retained: false, skips_own: false }
    }

    /// Whether the message is a picture to look at: its topic matches the filter (4.7.1).
    pub(super) fn takes(&self, topic: &str) -> bool {
        let mut levels = topic.split('/');
        for wanted in self.settings.topic.split('/') {
            match (wanted, levels.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (wanted, Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    /// Looks at the picture and makes the answer.
    pub(super) async fn answer(self, app: Arc<App>, message: Publish, received: Option<Received>) -> Message {
        let topic = message.response_topic.filter(|topic| is_topic(topic)).unwrap_or(self.default_topic);
        let asked = message.user.into_iter().find(|(key, _)| key == "prompt").map(|(_, prompt)| prompt);
        let mut fields = Answer::new();
        fields.insert("worker".into(), self.worker.into());
        let told = async {
            let task = task(message.payload)?;
            if let Some(id) = task.id {
                fields.insert("id".into(), id);
            }
            let prompt = asked.or(task.prompt).unwrap_or(self.settings.prompt);
            let question = answer::question(&app.engine, &prompt)?;
            let decoded = tokio::task::spawn_blocking(move || decode(&task.file));
            let picture = decoded.await.map_err(|_| "the picture cannot be decoded")??;
            answer::ask(&app.engine, picture, question, &[]).await
        };
        match told.await {
            Ok(told) => fields.extend(told),
            Err(why) => drop(fields.insert("error".into(), Value::from(why))),
        }
        let json = Value::from(fields).to_string();
        Message { correlation: message.correlation, answers: received, ..Message::new(topic, json) }
    }

    /// The answer if too many messages came that the broker does not keep.
    pub(super) fn refuse(&self, message: Publish) -> Message {
        let topic = message.response_topic.filter(|topic| is_topic(topic));
        let why = "too many pictures wait: publish with QoS 1, then the broker keeps them";
        let json = serde_json::json!({ "worker": self.worker, "error": why }).to_string();
        let topic = topic.unwrap_or_else(|| self.default_topic.clone());
        Message { correlation: message.correlation, ..Message::new(topic, json) }
    }
}

/// Takes a message apart.
fn task(payload: Vec<u8>) -> Result<Task, String> {
    let limit = |n: usize| match n {
        0 => Err("the picture is empty".to_string()),
        n if n > MAX_FILE => Err(format!("the picture has {n} bytes, at most {MAX_FILE} are taken")),
        _ => Ok(()),
    };
    if payload.first() != Some(&b'{') {
        limit(payload.len())?;
        return Ok(Task { file: payload, prompt: None, id: None });
    }
    let form: Form = serde_json::from_slice(&payload)
        .map_err(|e| format!("neither a picture nor JSON with `image`, `prompt`, `id`: {e}"))?;
    let file = base64::engine::general_purpose::STANDARD
        .decode(form.image.trim())
        .map_err(|e| format!("`image` is not base64: {e}"))?;
    limit(file.len())?;
    let is_plain = |id: &Value| matches!(id, Value::String(s) if s.len() <= 200) || id.is_number();
    if let Some(id) = form.id.as_ref().filter(|id| !id.is_null())
        && !is_plain(id)
    {
        return Err("`id` is to be a number or a text of at most 200 bytes".into());
    }
    Ok(Task { file, prompt: form.prompt, id: form.id })
}

fn decode(file: &[u8]) -> Result<FrameBuffer, String> {
    let picture = pictures::decode_within(file, PICTURE_CAPS).map_err(|e| format!("the picture {e}"))?;
    let mut frame = FrameBuffer::default();
    frame.show(&picture);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_come_as_they_are_or_in_json() {
        let jpeg = vec![0xff, 0xd8, 1];
        assert_eq!(task(jpeg.clone()), Ok(Task { file: jpeg, prompt: None, id: None }));
        let json = br#"{"image": "/9gB", "prompt": "caption en", "id": 7, "other": 1}"#;
        let expected =
            Task { file: vec![0xff, 0xd8, 1], prompt: Some("caption en".into()), id: Some(7.into()) };
        assert_eq!(task(json.to_vec()), Ok(expected));
    }

    #[test]
    fn what_is_no_task_is_refused_in_words() {
        let refused = |payload: &[u8]| task(payload.to_vec()).expect_err("refused");
        assert_eq!(refused(b""), "the picture is empty");
        assert_eq!(refused(br#"{"image": ""}"#), "the picture is empty");
        assert!(refused(b"{").starts_with("neither a picture nor JSON"));
        assert!(refused(br#"{"prompt": "x"}"#).contains("missing field `image`"));
        assert!(refused(br#"{"image": "*"}"#).starts_with("`image` is not base64"));
        assert!(refused(br#"{"image": "/9gB", "id": {}}"#).starts_with("`id` is to be"));
        assert!(task(vec![0; MAX_FILE + 1]).is_err());
        let long = format!(r#"{{"image": "{}"}}"#, "AAAA".repeat(MAX_FILE / 3 + 2));
        assert!(refused(long.as_bytes()).starts_with("the picture has"));
        assert!(long.len() < MAX_MESSAGE);
        assert!(decode(b"GIF89a").is_err());
    }

    #[test]
    fn topics_are_matched_as_in_the_standard() {
        let takes = |filter: &str, topic: &str| {
            let settings = config::Fleet { group: "g".into(), topic: filter.into(), prompt: String::new() };
            Fleet::new(&settings, "w", &Names::new("pg")).takes(topic)
        };
        for (filter, topic) in
            [("a/b", "a/b"), ("a/+", "a/b"), ("a/#", "a/b/c"), ("a/#", "a"), ("#", "a"), ("+/+", "/a")]
        {
            assert!(takes(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [("a/b", "a/c"), ("a/+", "a"), ("a/+", "a/b/c"), ("+", "/a"), ("a/b", "a")] {
            assert!(!takes(filter, topic), "{filter} {topic}");
        }
    }
}
