//! REST: cameras, what they see this moment, and the part of their configuration that can change while they run.

use super::ask::{self, Answer, Asked};
use super::body::{self, json, typed};
use super::images;
use super::stream::{self, Gone};
use super::{Context, Failure, Request, Response};
use crate::camera::{Camera, Status};
use crate::config::{MAX_PROMPT, MAX_PROMPTS};
use crate::engine::Question;
use crate::event::Kind;
use crate::prompt;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How to describe a picture.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Caption {
    /// `short` or `long`.
    length: Length,
    stream: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Length {
    #[default]
    Short,
    Long,
}

/// What to look for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Detect {
    objects: Vec<String>,
    #[serde(default)]
    min_score: f32,
}

/// What to ask.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    question: String,
    #[serde(default)]
    stream: bool,
}

/// What can change while the program runs. What is left out stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    enabled: Option<bool>,
    prompts: Option<Vec<crate::config::Prompt>>,
}

pub(super) fn find(context: &Context, name: &str) -> Result<Arc<Camera>, Failure> {
    context.app.roster.find(name).ok_or_else(|| Failure::not_found(format!("camera {name:?}")))
}

pub(super) fn list(context: &Context) -> Response {
    let cameras: Vec<Value> = context.app.roster.cameras().iter().map(|c| describe(c)).collect();
    json(StatusCode::OK, &json!({ "cameras": cameras }))
}

pub(super) fn show(context: &Context, name: &str) -> Result<Response, Failure> {
    Ok(json(StatusCode::OK, &describe(&*find(context, name)?)))
}

fn describe(camera: &Camera) -> Value {
    let status = camera.status().borrow().clone();
    let reason = if let Status::Offline(reason) = &status { Some(reason.as_str()) } else { None };
    let n = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let c = &camera.counters;
    json!({
        "name": &*camera.name,
        "status": status.name(),
        "reason": reason,
        "enabled": *camera.enabled().borrow(),
        "viewers": camera.preview.viewers(),
        "prompts": prompts(camera),
        "frames": {
            "used": n(&c.used), "dropped": n(&c.dropped), "stale": n(&c.stale), "gated": n(&c.gated),
            "damaged": n(&c.damaged),
        },
        "reopened": n(&c.reopened),
    })
}

fn prompts(camera: &Camera) -> Value {
    let shown = |q: &Question| json!({ "text": &*q.text, "min_score": q.min_score });
    camera.questions().iter().map(shown).collect()
}

pub(super) fn config(context: &Context, name: &str) -> Result<Response, Failure> {
    let camera = find(context, name)?;
    let enabled = *camera.enabled().borrow();
    Ok(json(StatusCode::OK, &json!({ "enabled": enabled, "prompts": prompts(&camera) })))
}

/// Changes it until the program ends or reads the camera's configuration again.
pub(super) async fn change(context: &Context, name: &str, request: Request) -> Result<Response, Failure> {
    let camera = find(context, name)?;
    let change: Change = body::receive(context, request).await?.value;
    if let Some(prompts) = change.prompts {
        if !(1..=MAX_PROMPTS).contains(&prompts.len()) {
            return Err(unprocessable(format!("prompts: expected 1 to {MAX_PROMPTS} of them")));
        }
        let question = |p: &crate::config::Prompt| {
            if p.text.trim().is_empty() || p.text.len() > MAX_PROMPT {
                return Err(format!("prompts: expected 1 to {MAX_PROMPT} bytes of text"));
            }
            if !(0.0..=1.0).contains(&p.min_score) {
                return Err(format!("prompts: min_score {} is not between 0 and 1", p.min_score));
            }
            context.app.engine.question(&p.text, p.min_score)
        };
        camera.set_questions(prompts.iter().map(question).collect::<Result<_, _>>().map_err(unprocessable)?);
    }
    if let Some(on) = change.enabled {
        camera.enable(on);
    }
    config(context, name)
}

fn unprocessable(message: impl Into<String>) -> Failure {
    Failure::new(StatusCode::UNPROCESSABLE_ENTITY, message)
}

/// Makes the camera look at its next picture, whether or not anything moves; the answers become events.
pub(super) fn run(context: &Context, name: &str) -> Result<Response, Failure> {
    let camera = find(context, name)?;
    if !camera.is_wanted() {
        return Err(Failure::new(StatusCode::CONFLICT, format!("camera {name} is switched off")));
    }
    camera.force();
    Ok(json(StatusCode::ACCEPTED, &json!({ "camera": name, "accepted": true })))
}

/// Hands a picture in, for cameras whose source is `push:`.
pub(super) async fn push(context: &Context, name: &str, request: Request) -> Result<Response, Failure> {
    let camera = find(context, name)?;
    let received = body::receive_bytes(context, request, &["image/jpeg", "image/png", "image/webp"]).await?;
    let place = context.decoders.clone().acquire_owned().await;
    let pushed = tokio::task::spawn_blocking(move || {
        let _place = place;
        camera.push(&received.value)
    });
    let failed = |_| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the decoder failed");
    pushed.await.map_err(failed)?.map_err(unprocessable)?;
    Ok(json(StatusCode::ACCEPTED, &json!({ "camera": name, "accepted": true })))
}

pub(super) async fn snapshot(context: &Context, name: &str) -> Result<Response, Failure> {
    let frame = ask::newest_picture(&find(context, name)?).await?;
    let encoded = tokio::task::spawn_blocking(move || images::jpeg(&frame)).await;
    let jpeg = encoded.map_err(|_| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the encoder failed"))?;
    Ok(typed(StatusCode::OK, "image/jpeg", jpeg))
}

pub(super) async fn caption(
    context: &Arc<Context>,
    name: &str,
    request: Request,
) -> Result<Response, Failure> {
    let camera = find(context, name)?;
    let request: Caption = body::receive(context, request).await?.value;
    let language = &context.settings.prompts.language;
    let prompt = match request.length {
        Length::Short => format!("caption {language}"),
        Length::Long => format!("describe {language}"),
    };
    answer(context, &camera, &prompt, request.stream, 0.0).await
}

pub(super) async fn detect(
    context: &Arc<Context>,
    name: &str,
    request: Request,
) -> Result<Response, Failure> {
    let camera = find(context, name)?;
    let request: Detect = body::receive(context, request).await?.value;
    if !(0.0..=1.0).contains(&request.min_score) {
        return Err(unprocessable("min_score is not between 0 and 1"));
    }
    answer(context, &camera, &search(&request.objects)?, false, request.min_score).await
}

/// The prompt that looks for these.
///
/// # Errors
/// 422 if one of them is nothing that can be looked for.
pub(super) fn search(objects: &[String]) -> Result<String, Failure> {
    let is_bad =
        |o: &String| o.trim().is_empty() || o.len() > 100 || o.contains(';') || o.contains(char::is_control);
    if objects.is_empty() || objects.len() > 32 || objects.iter().any(is_bad) {
        return Err(unprocessable(
            "objects: expected 1 to 32 names of things, of up to 100 bytes, without `;`",
        ));
    }
    let names: Vec<&str> = objects.iter().map(|o| o.trim()).collect();
    Ok(format!("detect {}", names.join(" ; ")))
}

pub(super) async fn question(
    context: &Arc<Context>,
    name: &str,
    request: Request,
) -> Result<Response, Failure> {
    let camera = find(context, name)?;
    let request: Ask = body::receive(context, request).await?.value;
    let prompt = prompt::map(&request.question, &context.settings.prompts).map_err(unprocessable)?;
    answer(context, &camera, &prompt.text, request.stream, 0.0).await
}

async fn answer(
    context: &Arc<Context>,
    camera: &Arc<Camera>,
    prompt: &str,
    is_stream: bool,
    min_score: f32,
) -> Result<Response, Failure> {
    ask::check_room(context)?;
    let picture = ask::newest_picture(camera).await?;
    let ts = crate::event::timestamp(picture.wall());
    let frame = [picture.width(), picture.height()];
    let asked = ask::ask(context, picture, prompt, None)?;
    let told = Told { camera: camera.name.clone(), ts, frame, min_score };
    if is_stream {
        let (sender, response) = stream::events();
        // Ends with the answer, or when nobody reads it any more.
        tokio::spawn(async move { told.stream(&asked, &sender).await });
        return Ok(response);
    }
    let whole = asked.whole().await?;
    Ok(json(StatusCode::OK, &told.json(&asked, &whole)))
}

/// What is told beside an answer.
struct Told {
    camera: Arc<str>,
    ts: String,
    frame: [usize; 2],
    min_score: f32,
}

impl Told {
    fn json(&self, asked: &Asked, answer: &Answer) -> Value {
        let kind = Kind::of_prompt(asked.prompt());
        let words = (kind != Kind::Detect).then(|| answer.text.trim());
        let objects: Vec<_> = answer.objects.iter().filter(|o| o.score >= self.min_score).collect();
        json!({
            "camera": &*self.camera, "ts": self.ts, "kind": kind.name(), "prompt": &**asked.prompt(),
            "caption": words, "objects": objects, "raw": answer.text, "timing": answer.timing,
            "frame": { "w": self.frame[0], "h": self.frame[1] },
        })
    }

    async fn stream(&self, asked: &Asked, sender: &stream::Sender) -> Result<(), Gone> {
        loop {
            match asked.more_for(sender).await? {
                Ok(answer) if answer.is_whole => {
                    return sender.send(stream::event(None, Some("done"), &self.json(asked, &answer))).await;
                }
                Ok(answer) => {
                    let part = json!({ "text": answer.text });
                    sender.send(stream::event(None, Some("partial"), &part)).await?;
                }
                Err(failure) => {
                    return sender.send(stream::event(None, Some("failed"), &failure.json())).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_to_look_for_become_one_prompt() {
        let search = |o: &[&str]| search(&o.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(search(&["red car", " cat "]).unwrap(), "detect red car ; cat");
        for bad in [&[][..], &[""], &["a;b"], &["a\nb"], &["x"; 33]] {
            assert_eq!(search(bad).unwrap_err().status(), 422, "{bad:?}");
        }
    }
}
