//! An answer as JSON for programs, or as text for people.

use pg_runtime::Answer;
use pg_runtime::pictures::Picture;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// One answer and what it is about.
pub(crate) struct Report<'a> {
    pub(crate) task: &'static str,
    pub(crate) prompt: &'a str,
    pub(crate) image: &'a Path,
    pub(crate) picture: &'a Picture,
    pub(crate) answer: &'a Answer<'a>,
    /// Whether the model's weights are random.
    pub(crate) is_synthetic: bool,
}

/// What people are told about a model of random weights.
pub(crate) const SYNTHETIC: &str = "synthetic model: random weights, only the time it takes means anything";

/// Version of the JSON form.
const VERSION: u32 = 1;

pub(crate) fn json(r: &Report<'_>) -> Value {
    let (width, height) = (r.picture.width(), r.picture.height());
    let objects: Vec<Value> = r
        .answer
        .objects()
        .iter()
        .map(|o| {
            let b = o.bbox;
            let normalized = [b.x0, b.y0, b.x1, b.y1].map(|v| f64::from(v) / 1023.0);
            json!({
                "label": r.answer.label(o),
                "box": normalized,
                "box_px": b.pixels(width, height),
                "score": rounded(o.score.into(), 1e6),
            })
        })
        .collect();
    let dropped: Vec<Value> = r
        .answer
        .dropped()
        .iter()
        .map(|d| json!({ "text": &r.answer.text()[d.text.clone()], "reason": d.reason.to_string() }))
        .collect();
    let t = r.answer.timing();
    let ms = |v: f64| rounded(v, 1e3);
    let mut report = json!({
        "v": VERSION,
        "image": r.image.to_string_lossy(),
        "width": width,
        "height": height,
        "task": r.task,
        "prompt": r.prompt,
        "text": r.answer.text(),
        "tokens": r.answer.tokens(),
        "objects": objects,
        "dropped": dropped,
        "timing_ms": {
            "image": ms(t.image),
            "vision": ms(t.vision),
            "prefill": ms(t.prefill),
            "decode": ms(t.decode),
            "total": ms(t.total()),
        },
    });
    if r.is_synthetic {
        report["synthetic"] = true.into();
    }
    report
}

/// Lines for a terminal; `several` says which picture each belongs to.
pub(crate) fn text(r: &Report<'_>, several: bool) -> String {
    let mut out = String::new();
    let name = if several { format!("{}: ", r.image.display()) } else { String::new() };
    if r.task == "detect" || !r.answer.objects().is_empty() {
        for o in r.answer.objects() {
            let [x0, y0, x1, y1] = o.bbox.pixels(r.picture.width(), r.picture.height());
            let label = r.answer.label(o);
            let _ = writeln!(out, "{name}{label:<20} {:.2}  ({x0}, {y0}) to ({x1}, {y1})", o.score);
        }
        if r.answer.objects().is_empty() {
            let _ = writeln!(out, "{name}nothing found");
        }
    } else {
        let _ = writeln!(out, "{name}{}", r.answer.text());
    }
    for d in r.answer.dropped() {
        let _ = writeln!(out, "{name}dropped \"{}\": {}", &r.answer.text()[d.text.clone()], d.reason);
    }
    if r.is_synthetic {
        let _ = writeln!(out, "{name}{SYNTHETIC}");
    }
    out
}

pub(crate) fn rounded(v: f64, steps: f64) -> f64 {
    (v * steps).round() / steps
}
