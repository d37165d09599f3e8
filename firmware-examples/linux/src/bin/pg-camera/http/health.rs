//! Whether the program is well, for those who restart, balance or watch it. Answered without a token; says nothing else.

use super::body::json;
use super::{Context, Failure, Response};
use crate::app::App;
use crate::camera::Status;
use crate::event::ModelInfo;
use hyper::StatusCode;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The main loop goes round twice a second.
const HEARTBEAT: u64 = 10;

/// Whether the model answers.
pub(super) fn is_loaded(app: &App) -> bool {
    app.health.is_loaded.load(Ordering::Relaxed)
}

/// Whether questions are answered, in llama-server's words.
pub(super) fn health(context: &Context) -> Result<Response, Failure> {
    if is_loaded(&context.app) { Ok(ok()) } else { Err(later("loading model")) }
}

/// Whether the main loop goes round.
pub(super) fn alive(context: &Context) -> Result<Response, Failure> {
    let app = &context.app;
    let silent = app.started.elapsed().as_secs().saturating_sub(app.health.beat.load(Ordering::Relaxed));
    // It begins to go round once the model is there.
    if silent > HEARTBEAT && is_loaded(app) { Err(later("the main loop is stuck")) } else { Ok(ok()) }
}

/// Whether a camera delivers, if there is one that should.
pub(super) fn ready(context: &Context) -> Result<Response, Failure> {
    if !is_loaded(&context.app) {
        return Err(later("loading model"));
    }
    let cameras = context.app.roster.cameras();
    let up = cameras.iter().filter(|c| *c.status().borrow() == Status::Online).count();
    if up == 0 && !cameras.is_empty() { Err(later("no camera delivers")) } else { Ok(ok()) }
}

fn ok() -> Response {
    json(StatusCode::OK, &json!({ "status": "ok" }))
}

fn later(why: &str) -> Failure {
    Failure::later(why, Duration::from_secs(2))
}

/// What runs here, and how much of it there is to do.
pub(super) fn system(context: &Context, may_change: bool) -> Response {
    let app = &context.app;
    let engine = &app.engine;
    let model: &ModelInfo = engine.info();
    let h = &app.health;
    let temperature = h.temperature.load(Ordering::Relaxed);
    let options = engine.options();
    let up_seconds = app.started.elapsed().as_secs();
    json(
        StatusCode::OK,
        &json!({
            "version": env!("CARGO_PKG_VERSION"),
            "model": model,
            "loaded": is_loaded(app),
            "up_seconds": up_seconds,
            "may_change": may_change,
            "has_tokens": context.access.has_tokens(),
            "queue": {
                "waiting": engine.queue_depth(), "room": options.max_queue,
                "typical_seconds": engine.typical().as_secs_f64(),
            },
            "limits": {
                "prompt_tokens": options.max_prompt_tokens, "new_tokens": options.max_new_tokens,
                "picture_side": options.max_side, "body_bytes": super::MAX_BODY,
            },
            "heat": {
                "level": h.heat_level.load(Ordering::Relaxed),
                "celsius": (temperature != i64::MIN).then(|| temperature as f64 / 1000.0),
                "threads": engine.shared().threads.load(Ordering::Relaxed),
            },
            "mqtt_connected": h.mqtt_connected.load(Ordering::Relaxed),
            "events_lost": h.events_lost.load(Ordering::Relaxed),
        }),
    )
}
