//! `once`: one answer about one picture, as an event.

use crate::args::Once;
use crate::config::{Runtime, Weights};
use crate::engine::Question;
use crate::event::{Event, FrameInfo, Kind, Object, Timing, timestamp};
use crate::{Failure, Outcome, models, publish};
use pg_runtime::platform::knobs;
use pg_runtime::{Session, pictures};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

pub(crate) fn run(request: &Once, as_json: bool) -> Result<Outcome, Failure> {
    let path = request.model.clone().or_else(|| knobs::path(knobs::MODEL));
    let path = path.unwrap_or_else(|| PathBuf::from(models::DEMO));
    let picture = pictures::load(&request.image).map_err(|e| e.to_string())?;
    let (model, info) = models::open(&path, Weights::Mapped)?;
    let longest = picture.width().max(picture.height()) as usize;
    let runtime = Runtime { max_side: longest.max(16), ..Runtime::default() };
    let options = models::options(&runtime).session();
    let question = Question::new(model, &request.prompt, 0.0, options.max_prompt_tokens)?;
    let mut session = Session::new(model, options).map_err(|e| e.to_string())?;
    let answer = session.run(&picture.frame(), &question.prompt).map_err(|e| e.to_string())?;

    let kind = Kind::of_prompt(&request.prompt);
    let name: Arc<str> = request.image.to_string_lossy().into();
    let mut event = Event::new(kind, &name, publish::id(0), timestamp(SystemTime::now()));
    event.prompt = Some(question.text.clone());
    event.raw = Some(answer.text().to_string());
    let (w, h) = (picture.width(), picture.height());
    if kind == Kind::Detect {
        let object = |o: &pg_runtime::Object| Object {
            label: answer.label(o).to_string(),
            score: o.score,
            bbox: o.bbox.normalized(),
            box_px: o.bbox.pixels(w, h),
            zones: Vec::new(),
        };
        event.objects = answer.objects().iter().map(object).collect();
    } else {
        event.caption = Some(answer.text().trim().to_string());
    }
    event.model = Some(Arc::new(info));
    event.frame = Some(FrameInfo { w: w as usize, h: h as usize, seq: 0, dropped: 0 });
    event.timing = Some(Timing::of(answer.timing(), answer.tokens().len()));
    let mut out = io::stdout().lock();
    if as_json {
        writeln!(out, "{}", serde_json::to_string(&event).map_err(|e| format!("the answer: {e}"))?)?;
    } else if kind == Kind::Detect {
        for o in &event.objects {
            let [x0, y0, x1, y1] = o.box_px;
            writeln!(out, "{:<20} {:.2}  ({x0}, {y0}) to ({x1}, {y1})", o.label, o.score)?;
        }
        if event.objects.is_empty() {
            writeln!(out, "nothing found")?;
        }
    } else {
        writeln!(out, "{}", event.caption.as_deref().unwrap_or_default())?;
    }
    Ok(Outcome::Done)
}
