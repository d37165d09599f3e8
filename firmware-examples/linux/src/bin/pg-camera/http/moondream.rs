//! Moondream's interface: `caption`, `query`, `detect` and `point` about a picture in the request.
//!
//! Answered as its public client reads them. Settings for sampling are passed over: answers are always the most likely ones.

use super::ask::{self, Answer, Asked};
use super::body::json;
use super::stream::{self, Gone};
use super::{Context, Failure, Request, Response, cameras, images};
use crate::prompt;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Debug, Deserialize)]
struct Caption {
    image_url: String,
    #[serde(default)]
    length: Length,
    #[serde(default)]
    stream: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Length {
    Short,
    #[default]
    Normal,
    Long,
}

#[derive(Debug, Deserialize)]
struct Query {
    /// Moondream also answers without a picture; here there is nothing to say then.
    image_url: Option<String>,
    question: String,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    reasoning: bool,
    spatial_refs: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
struct Search {
    image_url: String,
    object: String,
    spatial_refs: Option<Vec<Value>>,
}

pub(super) async fn caption(context: &Arc<Context>, request: Request) -> Result<Response, Failure> {
    let request = ask::receive::<Caption>(context, request).await?;
    let language = &context.settings.prompts.language;
    // The checkpoints know two lengths.
    let prompt = match request.value.length {
        Length::Short => format!("caption {language}"),
        Length::Normal | Length::Long => format!("describe {language}"),
    };
    let asked = look(context, &request.value.image_url, &prompt).await?;
    drop(request.room);
    words(asked, "caption", request.value.stream).await
}

pub(super) async fn query(context: &Arc<Context>, request: Request) -> Result<Response, Failure> {
    let request = ask::receive::<Query>(context, request).await?;
    let value = &request.value;
    if value.reasoning {
        return Err(Failure::bad("reasoning", "reasoning: this model answers without; leave it out"));
    }
    refuse_references(value.spatial_refs.as_deref())?;
    let Some(image) = &value.image_url else {
        return Err(Failure::bad("image_url", "image_url: a picture is needed"));
    };
    let prompt = prompt::map(&value.question, &context.settings.prompts)
        .map_err(|e| Failure::bad("question", format!("question: {e}")))?;
    let asked = look(context, image, &prompt.text).await?;
    drop(request.room);
    words(asked, "answer", request.value.stream).await
}

pub(super) async fn detect(context: &Arc<Context>, request: Request) -> Result<Response, Failure> {
    let (asked, answer) = search(context, request).await?;
    let objects: Vec<Value> = answer
        .objects
        .iter()
        .map(|o| {
            let [x_min, y_min, x_max, y_max] = o.bbox;
            json!({ "x_min": x_min, "y_min": y_min, "x_max": x_max, "y_max": y_max, "score": o.score })
        })
        .collect();
    Ok(json(StatusCode::OK, &json!({ "request_id": id(&asked), "objects": objects })))
}

/// The middles of boxes.
pub(super) async fn point(context: &Arc<Context>, request: Request) -> Result<Response, Failure> {
    let (asked, answer) = search(context, request).await?;
    let points: Vec<Value> = answer
        .objects
        .iter()
        .map(|o| {
            let [x0, y0, x1, y1] = o.bbox;
            json!({ "x": f32::midpoint(x0, x1), "y": f32::midpoint(y0, y1) })
        })
        .collect();
    Ok(json(StatusCode::OK, &json!({ "request_id": id(&asked), "points": points, "count": points.len() })))
}

async fn search(context: &Arc<Context>, request: Request) -> Result<(Asked, Answer), Failure> {
    let request = ask::receive::<Search>(context, request).await?;
    refuse_references(request.value.spatial_refs.as_deref())?;
    let prompt = cameras::search(std::slice::from_ref(&request.value.object))?;
    let asked = look(context, &request.value.image_url, &prompt).await?;
    drop(request);
    let answer = asked.whole().await?;
    Ok((asked, answer))
}

fn refuse_references(references: Option<&[Value]>) -> Result<(), Failure> {
    match references {
        Some([_, ..]) => {
            Err(Failure::bad("spatial_refs", "spatial_refs: this model takes none; leave them out"))
        }
        _ => Ok(()),
    }
}

async fn look(context: &Arc<Context>, image: &str, prompt: &str) -> Result<Asked, Failure> {
    let picture = images::decode(context, image, "image_url").await?;
    ask::ask(context, picture, prompt, None)
}

fn id(asked: &Asked) -> String {
    format!("pg-{}", asked.number())
}

/// An answer in words, whole or in pieces.
async fn words(asked: Asked, key: &str, is_stream: bool) -> Result<Response, Failure> {
    if !is_stream {
        let answer = asked.whole().await?;
        let told = json!({
            "request_id": id(&asked), key: answer.text.trim(), "x_pg_camera": asked.about(&answer),
        });
        return Ok(json(StatusCode::OK, &told));
    }
    let (sender, response) = stream::events();
    // Ends with the answer, or when nobody reads it any more.
    tokio::spawn(async move { tell(&asked, &sender).await });
    Ok(response)
}

async fn tell(asked: &Asked, sender: &stream::Sender) -> Result<(), Gone> {
    let mut sent = String::new();
    loop {
        let answer = match asked.more_for(sender).await? {
            Ok(answer) => answer,
            Err(failure) => return sender.data(&failure.json()).await,
        };
        if let Some(more) = answer.text.strip_prefix(sent.as_str()).filter(|more| !more.is_empty()) {
            sender.data(&json!({ "chunk": more, "completed": false })).await?;
            sent = answer.text;
        }
        if answer.is_whole {
            let told = json!({ "chunk": "", "completed": true, "request_id": id(asked) });
            return sender.data(&told).await;
        }
    }
}
