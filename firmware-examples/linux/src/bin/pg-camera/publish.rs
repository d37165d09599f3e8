//! From the inference thread's reports to events: labels, zones, pictures.

use crate::camera::{Camera, zone};
use crate::engine::{Engine, Outcome, Question, Report, Said};
use crate::event::{Event, FrameInfo, Kind, Object, Timing, timestamp};
use crate::log::Log;
use pg_runtime::pictures::Picture;
use pg_targets::camera::FrameBuffer;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// The name of what belongs together: different in every life of the program, whatever the clock shows. A board without one
/// that runs on starts at nearly the same time after every power cut, so four digits are random.
pub(crate) fn id(incident: u64) -> String {
    static LIFE: OnceLock<String> = OnceLock::new();
    let life = LIFE.get_or_init(|| {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis());
        let random = RandomState::new().build_hasher().finish() as u16;
        format!("{started:x}{random:04x}")
    });
    format!("{life}-{incident}")
}

/// Turns reports into events for as long as the program runs. `quality` is that of the pictures, 1 to 100.
pub(crate) async fn run(engine: Arc<Engine>, log: Arc<Log>, quality: u8) {
    let reports = &engine.shared().reports;
    // The last picture of each camera with its number: more answers about it may follow.
    let mut pictures: BTreeMap<Arc<str>, (u64, Arc<Vec<u8>>)> = BTreeMap::new();
    loop {
        let mut report = reports.receive().await;
        let (Some(camera), Some(questions)) = (report.camera.take(), report.questions.take()) else {
            reports.give_back(report);
            continue;
        };
        if let Some(frame) = report.frame.take() {
            // Encoding takes milliseconds.
            let encoded = tokio::task::spawn_blocking(move || {
                let picture = encode(&frame, quality);
                (frame, picture)
            });
            if let Ok((frame, picture)) = encoded.await {
                reports.give_frame_back(frame);
                pictures.insert(camera.name.clone(), (report.frame_seq, Arc::new(picture)));
            }
        }
        let picture =
            if report.is_last { pictures.remove(&camera.name) } else { pictures.get(&camera.name).cloned() };
        let picture = picture.filter(|(seq, _)| *seq == report.frame_seq).map(|(_, picture)| picture);
        let mut event = event(&report, &camera, &questions);
        event.model = Some(engine.info().clone());
        event.picture = picture;
        log.push(event);
        reports.give_back(report);
    }
}

/// A picture as JPEG.
pub(crate) fn encode(frame: &FrameBuffer, quality: u8) -> Vec<u8> {
    let mut jpeg = Vec::with_capacity(frame.data().len() / 8);
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, quality);
    let (width, height) = (frame.width() as u32, frame.height() as u32);
    match image::ImageEncoder::write_image(
        encoder,
        frame.data(),
        width,
        height,
        image::ExtendedColorType::Rgb8,
    ) {
        Ok(()) => jpeg,
        Err(e) => {
            ::log::error!("a picture of {width} x {height} pixels cannot be encoded: {e}");
            Vec::new()
        }
    }
}

/// The part of a picture between left, top, right and bottom, as JPEG; none if nothing of the picture is there.
pub(crate) fn cut(picture: &Picture, [x0, y0, x1, y1]: [u32; 4], quality: u8) -> Option<Vec<u8>> {
    let (x1, y1) = (x1.min(picture.width()), y1.min(picture.height()));
    if x0 >= x1 || y0 >= y1 {
        return None;
    }
    let frame = picture.frame();
    let n = frame.format().bytes();
    let (left, right) = (x0 as usize * n, x1 as usize * n);
    let mut part = FrameBuffer::default();
    part.reset((x1 - x0) as usize, (y1 - y0) as usize);
    let row_bytes = part.width() * 3;
    for (y, out) in (y0 as usize..).zip(part.data_mut().chunks_exact_mut(row_bytes)) {
        let row = &frame.row(y)[left..right];
        match n {
            3 => out.copy_from_slice(row),
            _ => out.chunks_exact_mut(3).zip(row.chunks_exact(n)).for_each(|(o, p)| o.fill(p[0])),
        }
    }
    Some(encode(&part, quality))
}

fn event(report: &Report, camera: &Camera, questions: &[Question]) -> Event {
    let (kind, question) = match report.outcome {
        Outcome::Answer(i) => {
            let question = questions.get(i);
            (question.map_or(Kind::Answer, |q| Kind::of_prompt(&q.text)), question)
        }
        Outcome::Unchanged => (Kind::Unchanged, None),
        Outcome::TooLarge => (Kind::Error, None),
    };
    let mut event = Event::new(kind, &camera.name, id(report.incident), timestamp(report.wall));
    if report.outcome == Outcome::TooLarge {
        let (w, h) = (report.width, report.height);
        event.error = Some(format!(
            "a picture of {w} x {h} pixels is larger than runtime.max_side: raise that, or ask the camera for less"
        ));
    }
    let said = &report.said;
    if let Some(question) = question {
        event.prompt = Some(question.text.clone());
        event.raw = Some(said.text.clone());
        if kind == Kind::Detect {
            event.objects =
                objects(said, question.min_score, [report.width, report.height], &camera.settings.zones);
        } else {
            event.caption = Some(said.text.trim().to_string());
        }
    }
    let timing = Timing::of(said.timing, said.n_tokens);
    event.timing = Some(Timing { age_ms: report.age_ms, ..timing }.rounded());
    event.frame =
        Some(FrameInfo { w: report.width, h: report.height, seq: report.frame_seq, dropped: report.dropped });
    event
}

/// The objects of an answer that are good enough, in pixels of a picture of this width and height.
pub(crate) fn objects(said: &Said, min_score: f32, size: [usize; 2], zones: &[zone::Zone]) -> Vec<Object> {
    let good = said.objects.iter().filter(|seen| seen.score >= min_score);
    good.map(|seen| {
        let bbox = seen.bbox.normalized();
        let label = said.label(seen);
        Object {
            label: label.to_string(),
            score: seen.score,
            bbox,
            box_px: seen.bbox.pixels(size[0] as u32, size[1] as u32),
            zones: zone::names(zones, label, seen.score, bbox).into_iter().map(Arc::from).collect(),
        }
    })
    .collect()
}
