//! Metrics in Prometheus' text form. Counters of the program are read when asked for; times come from the event log, which
//! a task of its own follows, and from answered requests.

use super::body::typed;
use super::{Context, Response};
use crate::app::App;
use crate::camera::Status;
use crate::event::{Event, Timing};
use hyper::StatusCode;
use pg_runtime::Session;
use pg_runtime::platform::machine;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Upper ends of the histograms' buckets, in seconds: from a board with an accelerator to one that takes minutes.
const BOUNDS: [f64; 12] = [0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0];
/// The stages of an answer.
const STAGES: [&str; 4] = ["resize", "vision", "prefill", "decode"];

/// What is counted here and nowhere else.
#[derive(Debug)]
pub(super) struct Metrics {
    times: Mutex<Times>,
    turned_away: AtomicU64,
    /// Bytes of the session's memory by what they are for.
    arena: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Times {
    stages: [Histogram; STAGES.len()],
    age: Histogram,
    tokens: u64,
    /// Answered requests by status.
    answered: BTreeMap<u16, u64>,
    /// The newest picture of each camera: its answers share one look.
    pictures: BTreeMap<Arc<str>, u64>,
}

#[derive(Debug, Default, Clone)]
struct Histogram {
    buckets: [u64; BOUNDS.len()],
    n: u64,
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, seconds: f64) {
        if let Some(i) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.buckets[i] += 1;
        }
        self.n += 1;
        self.sum += seconds;
    }
}

impl Metrics {
    pub(super) fn new(app: &App) -> Self {
        let mut arena = BTreeMap::new();
        let plan = Session::memory_plan(app.engine.model().header(), &app.engine.options().session());
        for region in plan.map(|plan| plan.regions).unwrap_or_default() {
            let pool = region.name.split('.').next().unwrap_or(region.name);
            *arena.entry(pool.to_string()).or_default() += region.bytes as u64;
        }
        Metrics { times: Mutex::default(), turned_away: AtomicU64::new(0), arena }
    }

    /// A connection more than allowed.
    pub(super) fn count_turned_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    /// An answered request.
    pub(super) fn count(&self, status: StatusCode) {
        *self.times().answered.entry(status.as_u16()).or_default() += 1;
    }

    /// The times of an answer to a request.
    pub(super) fn observe_request(&self, timing: &Timing) {
        self.times().observe(timing, true);
    }

    fn observe_event(&self, event: &Event) {
        let (Some(timing), Some(frame)) = (&event.timing, &event.frame) else { return };
        let mut times = self.times();
        let is_new = times.pictures.insert(event.camera.clone(), frame.seq) != Some(frame.seq);
        times.observe(timing, is_new);
        if is_new {
            times.age.observe(timing.age_ms / 1000.0);
        }
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        // Nothing that holds the lock can panic half-way through a change.
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Times {
    fn observe(&mut self, t: &Timing, is_new_picture: bool) {
        let ms = [t.resize_ms, t.vision_ms, t.prefill_ms, t.decode_ms];
        let first = if is_new_picture { 0 } else { 2 };
        for (histogram, ms) in self.stages.iter_mut().zip(ms).skip(first) {
            histogram.observe(ms / 1000.0);
        }
        self.tokens += t.tokens as u64;
    }
}

/// Follows the event log until the program ends.
pub(super) async fn watch(app: Arc<App>, metrics: Arc<Metrics>) {
    let (mut newest, mut stopping) = (app.log.subscribe(), app.stopping());
    let mut seen = 0;
    loop {
        let batch = app.log.after(seen, usize::MAX);
        app.health.events_lost.fetch_add(batch.lost, Ordering::Relaxed);
        for event in &batch.events {
            seen = event.seq;
            metrics.observe_event(event);
        }
        tokio::select! {
            _ = newest.changed() => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

pub(super) fn show(context: &Context) -> Response {
    let mut text = Text::default();
    cameras(&mut text, &context.app);
    times(&mut text, &context.metrics);
    program(&mut text, context);
    typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text.0)
}

fn cameras(text: &mut Text, app: &App) {
    let cameras = app.roster.cameras();
    text.family("frames_total", "counter", "Pictures by what became of them.");
    for camera in cameras.iter() {
        let c = &camera.counters;
        let results = [
            ("used", &c.used),
            ("dropped", &c.dropped),
            ("stale", &c.stale),
            ("gated", &c.gated),
            ("damaged", &c.damaged),
        ];
        for (result, n) in results {
            text.value(&[("camera", &camera.name), ("result", result)], n.load(Ordering::Relaxed));
        }
    }
    text.family("camera_up", "gauge", "Whether the camera delivers.");
    for camera in cameras.iter() {
        let is_up = *camera.status().borrow() == Status::Online;
        text.value(&[("camera", &camera.name)], u8::from(is_up));
    }
    text.family("camera_reopened_total", "counter", "Times that the source had to be opened again.");
    for camera in cameras.iter() {
        text.value(&[("camera", &camera.name)], camera.counters.reopened.load(Ordering::Relaxed));
    }
    text.family("camera_viewers", "gauge", "Those who watch live pictures.");
    for camera in cameras.iter() {
        text.value(&[("camera", &camera.name)], camera.preview.viewers());
    }
}

fn times(text: &mut Text, metrics: &Metrics) {
    // Copied, so that nothing waits while the text is written.
    let (stages, age, tokens, answered) = {
        let times = metrics.times();
        (times.stages.clone(), times.age.clone(), times.tokens, times.answered.clone())
    };
    text.family("inference_seconds", "histogram", "Time of an answer by stage.");
    for (stage, histogram) in STAGES.iter().zip(&stages) {
        text.histogram(&[("stage", stage)], histogram);
    }
    text.family("frame_age_seconds", "histogram", "From taking a picture to looking at it.");
    text.histogram(&[], &age);
    text.family("tokens_total", "counter", "Tokens of answers.");
    text.value(&[], tokens);
    text.family("http_requests_total", "counter", "Answered requests by status.");
    for (status, n) in answered {
        text.value(&[("code", &status.to_string())], n);
    }
    text.family("http_turned_away_total", "counter", "Connections refused because there were too many.");
    text.value(&[], metrics.turned_away.load(Ordering::Relaxed));
    text.family("arena_bytes", "gauge", "Memory that the model computes in, by part.");
    for (pool, bytes) in &metrics.arena {
        text.value(&[("pool", pool)], bytes);
    }
}

fn program(text: &mut Text, context: &Context) {
    let app = &context.app;
    let h = &app.health;
    let n = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let gauge = |text: &mut Text, name: &str, help: &str, value: &dyn fmt::Display| {
        text.family(name, "gauge", help);
        text.value(&[], value);
    };
    gauge(text, "queue_depth", "Requests that wait.", &app.engine.queue_depth());
    let is_connected = u8::from(h.mqtt_connected.load(Ordering::Relaxed));
    gauge(text, "mqtt_connected", "Whether there is a connection to the broker.", &is_connected);
    let status = machine::text(Path::new("/proc/self/status"));
    if let Some(bytes) = status.and_then(|status| machine::kilobytes(&status, "VmRSS")) {
        gauge(text, "rss_bytes", "Memory of the program, mapped files included.", &bytes);
    }
    let millidegrees = h.temperature.load(Ordering::Relaxed);
    if millidegrees != i64::MIN {
        let celsius = millidegrees as f64 / 1000.0;
        gauge(text, "temperature_celsius", "The hottest sensor.", &celsius);
    }
    gauge(text, "throttle_level", "How much is held back because of heat, 0 to 3.", &n(&h.heat_level));
    let up = app.started.elapsed().as_secs_f64();
    gauge(text, "up_seconds", "Since the program started.", &up);
    text.family("events_lost_total", "counter", "Events that slow outputs lost.");
    text.value(&[], n(&h.events_lost));
    text.family("reports_lost_total", "counter", "Answers lost before they became events.");
    text.value(&[], app.engine.shared().reports.lost());
    text.family("snapshots_failed_total", "counter", "Snapshots that could not be written.");
    text.value(&[], n(&h.snapshots_failed));
    webhooks(text, app);
    text.family("build_info", "gauge", "Version and model.");
    let model = app.engine.info();
    text.value(&[("version", env!("CARGO_PKG_VERSION")), ("model", &model.name), ("quant", model.quant)], 1);
}

fn webhooks(text: &mut Text, app: &App) {
    let Some(all) = app.health.webhooks.get().filter(|all| !all.is_empty()) else { return };
    let numbered = || all.iter().enumerate().map(|(i, counts)| ((i + 1).to_string(), counts));
    text.family("webhook_events_total", "counter", "Events for webhooks by what became of them.");
    for (n, counts) in numbered() {
        for (result, count) in [("sent", &counts.sent), ("failed", &counts.failed), ("lost", &counts.lost)] {
            text.value(&[("webhook", &n), ("result", result)], count.load(Ordering::Relaxed));
        }
    }
    text.family("webhook_pending", "gauge", "Events that wait to be sent.");
    for (n, counts) in numbered() {
        text.value(&[("webhook", &n)], counts.pending.load(Ordering::Relaxed));
    }
}

/// The text form; names get the program's prefix.
#[derive(Debug, Default)]
struct Text(String);

impl Text {
    /// Begins a family of values.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP pg_camera_{name} {help}"));
        self.line(format_args!("# TYPE pg_camera_{name} {kind}"));
    }

    /// A value of the family begun last.
    fn value(&mut self, labels: &[(&str, &str)], value: impl fmt::Display) {
        let name = self.name();
        self.sample(&name, labels, &value);
    }

    fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        let name = self.name();
        let mut n = 0;
        for (bound, here) in BOUNDS.iter().zip(&histogram.buckets) {
            n += here;
            let bound = bound.to_string();
            self.sample(&format!("{name}_bucket"), &[labels, &[("le", &bound)]].concat(), &n);
        }
        self.sample(&format!("{name}_bucket"), &[labels, &[("le", "+Inf")]].concat(), &histogram.n);
        self.sample(&format!("{name}_sum"), labels, &histogram.sum);
        self.sample(&format!("{name}_count"), labels, &histogram.n);
    }

    /// The name of the family begun last.
    fn name(&self) -> String {
        let begun = self.0.rsplit("# TYPE ").next().and_then(|rest| rest.split(' ').next());
        begun.unwrap_or_default().to_string()
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: &dyn fmt::Display) {
        let escaped = |v: &str| v.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> = labels.iter().map(|(key, v)| format!("{key}=\"{}\"", escaped(v))).collect();
        match labels.is_empty() {
            true => self.line(format_args!("{name} {value}")),
            false => self.line(format_args!("{name}{{{}}} {value}", labels.join(","))),
        }
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        let Ok(()) = self.0.write_fmt(line) else { return };
        self.0.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_add_up_and_labels_are_escaped() {
        let mut histogram = Histogram::default();
        [0.005, 0.02, 0.02, 7.0, 1000.0].iter().for_each(|s| histogram.observe(*s));
        let mut text = Text::default();
        text.family("x_seconds", "histogram", "Times.");
        text.histogram(&[("stage", "a\"\\\n")], &histogram);
        let lines: Vec<&str> = text.0.lines().collect();
        assert_eq!(lines[1], "# TYPE pg_camera_x_seconds histogram");
        assert_eq!(lines[2], r#"pg_camera_x_seconds_bucket{stage="a\"\\\n",le="0.01"} 1"#);
        assert!(lines[3].ends_with("le=\"0.03\"} 3"), "{}", lines[3]);
        assert!(lines[9].ends_with("le=\"10\"} 4"), "{}", lines[9]);
        assert!(lines[14].ends_with("le=\"+Inf\"} 5"), "{}", lines[14]);
        assert!(lines[16].ends_with("_count{stage=\"a\\\"\\\\\\n\"} 5"), "{}", lines[16]);
    }

    #[test]
    fn answers_about_one_picture_count_its_looking_once() {
        let timing = Timing { vision_ms: 1000.0, prefill_ms: 500.0, tokens: 3, ..Timing::default() };
        let mut times = Times::default();
        times.observe(&timing, true);
        times.observe(&timing, false);
        let n: Vec<u64> = times.stages.iter().map(|h| h.n).collect();
        assert_eq!((n, times.tokens), (vec![1, 1, 2, 2], 6));
    }
}
