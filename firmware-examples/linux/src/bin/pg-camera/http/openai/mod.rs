//! OpenAI's interface, as its clients and llama-server's use it: chat completions about pictures, the list of models.
//!
//! `request` checks what is asked and refuses by name what cannot be done, `shape` fills JSON schemas, `stop` cuts answers
//! at stop sequences. Answers are always the most likely ones: `temperature`, `top_p` and `seed` are taken and change
//! nothing. `x_pg_camera` beside an answer says what the model was really asked.

mod request;
mod shape;
mod stop;

use super::ask::{self, Answer, Asked};
use super::body::json;
use super::stream::{self, Gone};
use super::{Context, Failure, Request, Response, images};
use hyper::StatusCode;
use request::{Chat, Wanted};
use serde_json::{Value, json};
use shape::Shape;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) async fn complete(context: &Arc<Context>, request: Request) -> Result<Response, Failure> {
    let mut received = ask::receive::<Chat>(context, request).await?;
    let settings = &context.settings.prompts;
    let wanted = received.value.check(settings)?;
    let addresses: Vec<&str> = wanted.pictures.iter().map(String::as_str).collect();
    let n_pictures = addresses.len();
    let picture = images::decode_some(context, &addresses, settings.images, "messages").await?;
    let asked = ask::ask(context, picture, &wanted.prompt.text, wanted.max_tokens)?;
    drop(addresses);
    drop(received.room);
    let picture_used = settings.images.pick(n_pictures);
    let completion = Completion { context: context.clone(), asked, wanted, picture_used, n_pictures };
    if completion.wanted.is_stream {
        let (sender, response) = stream::events();
        // Ends with the answer, or when nobody reads it any more.
        tokio::spawn(async move { completion.stream(&sender).await });
        return Ok(response);
    }
    let answer = completion.asked.whole().await?;
    Ok(json(StatusCode::OK, &completion.whole(&answer)?))
}

/// A chat completion that is being answered.
struct Completion {
    context: Arc<Context>,
    asked: Asked,
    wanted: Wanted,
    /// The one of several pictures that is looked at; none if all are.
    picture_used: Option<usize>,
    n_pictures: usize,
}

impl Completion {
    /// What the answer says, and why it ends there.
    fn content(&self, answer: &Answer) -> Result<(String, &'static str), Failure> {
        let reason = if answer.is_cut { "length" } else { "stop" };
        match &self.wanted.shape {
            Shape::Text => match self.wanted.stops.find(&answer.text) {
                Some(at) => Ok((answer.text[..at].to_string(), "stop")),
                None => Ok((answer.text.clone(), reason)),
            },
            shape => Ok((shape.fill(answer)?.to_string(), reason)),
        }
    }

    fn whole(&self, answer: &Answer) -> Result<Value, Failure> {
        let (content, reason) = self.content(answer)?;
        let mut told = self.head("chat.completion");
        told["choices"] = json!([{
            "index": 0,
            "message": { "role": "assistant", "content": content, "refusal": null },
            "logprobs": null,
            "finish_reason": reason,
        }]);
        told["usage"] = self.usage(answer);
        told["x_pg_camera"] = self.about(answer);
        Ok(told)
    }

    fn head(&self, object: &str) -> Value {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
        let model = self.context.app.engine.info();
        json!({
            "id": format!("chatcmpl-pg-{}", self.asked.number()), "object": object, "created": created,
            "model": model.name, "system_fingerprint": concat!("pg-camera-", env!("CARGO_PKG_VERSION")),
        })
    }

    fn usage(&self, answer: &Answer) -> Value {
        let prompt = n_image_tokens(&self.context) + self.asked.prompt_tokens();
        let completion = answer.n_tokens;
        json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion })
    }

    fn about(&self, answer: &Answer) -> Value {
        let mut about = self.asked.about(answer);
        about["why"] = json!(self.wanted.prompt.why.text());
        about["pictures"] = json!({ "sent": self.n_pictures, "used": self.picture_used });
        if self.wanted.has_system {
            about["system_prompt"] = json!("left out: this model knows tasks and questions only");
        }
        if let Some(filled) = self.wanted.shape.filled() {
            about["filled"] = filled;
        }
        about
    }

    fn chunk(&self, delta: &Value, reason: Option<&str>) -> Value {
        let mut told = self.head("chat.completion.chunk");
        told["choices"] = json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": reason }]);
        told
    }

    async fn stream(&self, sender: &stream::Sender) -> Result<(), Gone> {
        sender.data(&self.chunk(&json!({ "role": "assistant", "content": "" }), None)).await?;
        let mut sent = String::new();
        loop {
            let answer = match self.asked.more_for(sender).await? {
                Ok(answer) => answer,
                Err(failure) => return sender.data(&failure.json()).await,
            };
            let is_over = answer.is_whole || self.wanted.stops.find(&answer.text).is_some();
            let part = match self.part(&answer, is_over) {
                Ok(part) => part,
                Err(failure) => return sender.data(&failure.json()).await,
            };
            if let Some(more) = part.strip_prefix(sent.as_str()).filter(|more| !more.is_empty()) {
                sender.data(&self.chunk(&json!({ "content": more }), None)).await?;
                sent = part;
            }
            if is_over {
                return self.end(&answer, sender).await;
            }
        }
    }

    /// As much of the content as is certain.
    fn part(&self, answer: &Answer, is_over: bool) -> Result<String, Failure> {
        if is_over {
            return Ok(self.content(answer)?.0);
        }
        let certain = match &self.wanted.shape {
            Shape::Text => self.wanted.stops.certain(&answer.text),
            // It can be filled only once everything is said.
            _ => 0,
        };
        Ok(answer.text[..certain].to_string())
    }

    async fn end(&self, answer: &Answer, sender: &stream::Sender) -> Result<(), Gone> {
        let reason = self.content(answer).map_or("stop", |(_, reason)| reason);
        let mut last = self.chunk(&json!({}), Some(reason));
        last["x_pg_camera"] = self.about(answer);
        sender.data(&last).await?;
        if self.wanted.with_usage {
            let mut told = self.head("chat.completion.chunk");
            told["choices"] = json!([]);
            told["usage"] = self.usage(answer);
            sender.data(&told).await?;
        }
        sender.send("data: [DONE]\n\n").await
    }
}

/// Tokens that a picture becomes.
fn n_image_tokens(context: &Context) -> usize {
    context.app.engine.model().config().vision.n_patches()
}

/// Tokens of the longest conversation: a picture, a prompt, an answer.
fn n_context(context: &Context) -> usize {
    let options = context.app.engine.options();
    n_image_tokens(context) + options.max_prompt_tokens + options.max_new_tokens
}

/// The list of the one model, with what llama-server adds, from which programs learn that it sees.
pub(super) fn models(context: &Context) -> Response {
    let model = context.app.engine.info();
    let n_context = n_context(context);
    let data = json!([{
        "id": model.name, "object": "model", "created": 0, "owned_by": "pg-camera", "aliases": ["pg-camera"],
        "max_model_len": n_context,
        "meta": { "n_ctx": n_context, "n_ctx_train": n_context, "quant": model.quant },
        "architecture": { "input_modalities": ["text", "image"], "output_modalities": ["text"] },
        "status": { "value": "loaded", "args": ["--ctx-size", n_context.to_string(), "--mmproj", model.name] },
    }]);
    json(StatusCode::OK, &json!({ "object": "list", "data": data }))
}

/// Properties as llama-server tells them.
pub(super) fn props(context: &Context) -> Response {
    let model = context.app.engine.info();
    let n_context = n_context(context);
    json(
        StatusCode::OK,
        &json!({
            "default_generation_settings": { "n_ctx": n_context, "params": { "temperature": 0.0 } },
            "total_slots": 1,
            "model_alias": model.name,
            "modalities": { "vision": true, "audio": false },
            "media_marker": "<__media__>",
            "build_info": concat!("pg-camera ", env!("CARGO_PKG_VERSION")),
        }),
    )
}
