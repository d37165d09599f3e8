//! REST: what happened, as a list, and as it happens.

use super::body::{json, typed};
use super::stream::{self, Gone, KEEP_ALIVE};
use super::{Context, Failure, Request, Response, query};
use crate::event::Event;
use crate::publish;
use hyper::{StatusCode, Uri};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::watch;

/// Events of one answer.
const MOST: usize = 1000;
/// Events that a stream fetches at a time.
const BATCH: usize = 64;

#[derive(Debug, Default)]
struct Which {
    /// Only what came after this one; the newest if left out.
    since: Option<u64>,
    limit: Option<usize>,
    camera: Option<String>,
    kind: Option<String>,
}

impl Which {
    fn read(uri: &Uri) -> Result<Self, Failure> {
        let mut which = Which::default();
        for (key, value) in query::pairs(uri)? {
            match key.as_str() {
                "since" => which.since = Some(query::number(&key, &value)?),
                "limit" => which.limit = Some(query::number(&key, &value)? as usize),
                "camera" => which.camera = Some(value),
                "kind" => which.kind = Some(value),
                _ => return Err(query::unknown(&key, "since, limit, camera, kind")),
            }
        }
        Ok(which)
    }
}

pub(super) fn list(context: &Context, uri: &Uri) -> Result<Response, Failure> {
    let which = Which::read(uri)?;
    let limit = which.limit.unwrap_or(100);
    if !(1..=MOST).contains(&limit) {
        return Err(Failure::bad("limit", format!("limit: expected 1 to {MOST}")));
    }
    let is_wanted = |event: &&Arc<Event>| {
        which.camera.as_ref().is_none_or(|name| **name == *event.camera)
            && which.kind.as_ref().is_none_or(|kind| kind == event.kind.name())
    };
    let batch = context.app.log.after(which.since.unwrap_or(0), usize::MAX);
    let wanted: Vec<&Arc<Event>> = batch.events.iter().filter(is_wanted).collect();
    let (events, lost) = match which.since {
        Some(_) => (&wanted[..wanted.len().min(limit)], batch.lost),
        None => (&wanted[wanted.len().saturating_sub(limit)..], 0),
    };
    // Passed on as `since`, it leaves out nothing: what is not wanted may come before it.
    let is_all = which.since.is_none() || events.len() == wanted.len();
    let newest = batch.events.last().map_or(which.since.unwrap_or(0), |e| e.seq);
    let next = if is_all { newest } else { events.last().map_or(newest, |e| e.seq) };
    let events: Vec<&Event> = events.iter().map(|e| &***e).collect();
    Ok(json(StatusCode::OK, &json!({ "events": events, "lost": lost, "next": next })))
}

fn find(context: &Context, seq: &str) -> Result<Arc<Event>, Failure> {
    let missing = || Failure::not_found(format!("event {seq}, or not any more"));
    let number: u64 = seq.parse().map_err(|_| missing())?;
    let before = number.checked_sub(1).ok_or_else(missing)?;
    context.app.log.after(before, 1).events.into_iter().find(|e| e.seq == number).ok_or_else(missing)
}

pub(super) fn show(context: &Context, seq: &str) -> Result<Response, Failure> {
    Ok(json(StatusCode::OK, &*find(context, seq)?))
}

pub(super) fn picture(context: &Context, seq: &str) -> Result<Response, Failure> {
    let event = find(context, seq)?;
    let picture = event.picture.as_ref().filter(|p| !p.is_empty());
    let picture =
        picture.ok_or_else(|| Failure::not_found(format!("picture of event {seq}, or not any more")))?;
    Ok(typed(StatusCode::OK, "image/jpeg", picture.to_vec()))
}

/// Events as they happen, and answers as they are written. A reader that comes back says which it saw last, and hears
/// first what it missed; ids are different in every life of the program, so that none is taken for one of an earlier life.
pub(super) fn follow(context: &Arc<Context>, request: &Request) -> Result<Response, Failure> {
    let mut since = None;
    for (key, value) in query::pairs(request.uri())? {
        match key.as_str() {
            "since" => since = Some(query::number(&key, &value)?),
            _ => return Err(query::unknown(&key, "since")),
        }
    }
    let last = request.headers().get("last-event-id").and_then(|v| v.to_str().ok());
    let newest = context.app.log.newest();
    let seen = last.map(seen).or(since).unwrap_or(newest);
    let (sender, response) = stream::events();
    let context = context.clone();
    // Ends when nobody reads any more, or the program ends.
    tokio::spawn(async move { tell(&context, seen, &sender).await });
    Ok(response)
}

/// The event that an id names; 0, so that everything is told, if it is of another life.
fn seen(id: &str) -> u64 {
    let number = id.rsplit_once('-').and_then(|(_, number)| number.parse().ok());
    number.filter(|n| publish::id(*n) == id).unwrap_or(0)
}

async fn tell(context: &Context, mut seen: u64, sender: &stream::Sender) -> Result<(), Gone> {
    let live = &context.app.engine.shared().live;
    let (mut newest, mut writing) = (context.app.log.subscribe(), live.subscribe());
    let mut stopping = context.app.stopping();
    sender.send("retry: 2000\n\n").await?;
    loop {
        let batch = context.app.log.after(seen, BATCH);
        if batch.lost > 0 {
            sender.send(stream::event(None, Some("lost"), &json!({ "events": batch.lost }))).await?;
        }
        for event in &batch.events {
            seen = event.seq;
            sender.send(stream::event(Some(&publish::id(seen)), None, &**event)).await?;
        }
        if batch.events.len() == BATCH {
            continue;
        }
        tokio::select! {
            _ = newest.changed() => {}
            _ = writing.changed() => {
                let Some(now) = live.look() else { continue };
                let part = json!({ "camera": &*now.camera, "prompt": &*now.question, "text": now.text });
                sender.send(stream::event(None, Some("partial"), &part)).await?;
            }
            () = tokio::time::sleep(KEEP_ALIVE) => sender.keep_alive().await?,
            () = sender.gone() => return Err(Gone),
            () = ending(&mut stopping) => return Ok(()),
        }
    }
}

/// Returns when the program ends.
async fn ending(stopping: &mut watch::Receiver<bool>) {
    // Nobody being left to say so means the same.
    let _ = stopping.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_another_life_count_for_nothing() {
        assert_eq!(seen(&publish::id(17)), 17);
        for id in ["17", "1abc-17", "", "x-y", "-17"] {
            assert_eq!(seen(id), 0, "{id}");
        }
    }
}
