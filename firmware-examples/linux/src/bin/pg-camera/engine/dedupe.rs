//! Whether a scene is the one that was reported last, so that no second caption need be made of it.
//!
//! Two pictures show the same scene if the means of their image embeddings point the same way and the same labels were found
//! in them, each as often. What is compared with is what was *reported*, not what was seen last: otherwise a scene that
//! changes slowly would never be reported again. Nothing allocates after `new`.

use serde::Deserialize;
use std::time::{Duration, Instant};

/// Bytes and number of labels that are remembered; a scene with more is never the same as another.
const LABEL_BYTES: usize = 8192;
const MOST_LABELS: usize = 256;

/// When a scene counts as unchanged.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// How alike two pictures must be to count as the same scene: the cosine of their mean embeddings, up to 1. Above 1 none
    /// are.
    pub(crate) similarity: f32,
    /// Seconds after which a scene is reported again although it is the same. Left out: never.
    pub(crate) max_interval_seconds: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { similarity: 0.97, max_interval_seconds: Some(600) }
    }
}

impl Settings {
    /// Says in words what is wrong with them.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if !(0.0..=2.0).contains(&self.similarity) {
            return Err(format!(
                "similarity is {}: give 0 to 1, usually 0.95 to 0.99, or 2 to report every scene",
                self.similarity
            ));
        }
        match self.max_interval_seconds {
            Some(0) => Err("max_interval_seconds is 0: give at least 1, or leave it out for never".into()),
            _ => Ok(()),
        }
    }
}

/// What a scene is beside the one that was reported last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Another one, or the first.
    New,
    /// The same, but it is time to report it again.
    Due,
    /// The same.
    Unchanged,
}

/// The labels of a scene, each as often as it was found. All memory is taken by `new`.
#[derive(Debug)]
pub(crate) struct Labels {
    /// Behind each other, and where each ends.
    text: String,
    ends: Vec<usize>,
    /// Whether all found room.
    are_all: bool,
}

impl Labels {
    pub(crate) fn new() -> Self {
        Labels {
            text: String::with_capacity(LABEL_BYTES),
            ends: Vec::with_capacity(MOST_LABELS),
            are_all: true,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.are_all = true;
    }

    pub(crate) fn add(&mut self, label: &str) {
        if self.ends.len() == MOST_LABELS || self.text.len() + label.len() > LABEL_BYTES {
            self.are_all = false;
            return;
        }
        self.text.push_str(label);
        self.ends.push(self.text.len());
    }

    fn copy_from(&mut self, other: &Labels) {
        self.clear();
        self.text.push_str(&other.text);
        self.ends.extend_from_slice(&other.ends);
        self.are_all = other.are_all;
    }

    fn each(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text[start..*end])
    }

    /// Whether both are the same, in any order; labels that found no room are like no others.
    fn are_like(&self, other: &Labels) -> bool {
        let often = |labels: &Labels, label: &str| labels.each().filter(|l| *l == label).count();
        self.are_all
            && other.are_all
            && self.ends.len() == other.ends.len()
            && self.each().all(|label| often(self, label) == often(other, label))
    }
}

/// The scene that was reported last.
#[derive(Debug)]
pub(crate) struct Dedupe {
    settings: Settings,
    /// Numbers of an embedding.
    n: usize,
    /// `[n]`; empty as long as nothing was reported.
    embedding: Vec<f32>,
    labels: Labels,
    reported: Option<Instant>,
}

impl Dedupe {
    /// For embeddings of `n` numbers, with settings that were validated.
    pub(crate) fn new(settings: Settings, n: usize) -> Self {
        Dedupe { settings, n, embedding: Vec::with_capacity(n), labels: Labels::new(), reported: None }
    }

    /// Compares a scene with the one that was reported last. An embedding that is no direction, or of another length, is new.
    pub(crate) fn compare(&self, embedding: &[f32], labels: &Labels, now: Instant) -> Verdict {
        let Some(reported) = self.reported else { return Verdict::New };
        let alike = cosine(&self.embedding, embedding)
            .is_some_and(|cosine| cosine >= f64::from(self.settings.similarity));
        if !alike || !self.labels.are_like(labels) {
            return Verdict::New;
        }
        let age = now.saturating_duration_since(reported);
        match self.settings.max_interval_seconds {
            Some(most) if age >= Duration::from_secs(most) => Verdict::Due,
            _ => Verdict::Unchanged,
        }
    }

    /// Remembers a scene that was reported.
    pub(crate) fn remember(&mut self, embedding: &[f32], labels: &Labels, now: Instant) {
        self.forget();
        if embedding.len() != self.n {
            return;
        }
        self.embedding.extend_from_slice(embedding);
        self.reported = Some(now);
        self.labels.copy_from(labels);
    }

    /// Forgets it, so that the next one is new: after the camera or the prompt changed.
    pub(crate) fn forget(&mut self) {
        self.embedding.clear();
        self.labels.clear();
        self.reported = None;
    }
}

/// The cosine of the angle between two vectors; `None` if their lengths differ or one has no direction.
fn cosine(a: &[f32], b: &[f32]) -> Option<f64> {
    if a.len() != b.len() {
        return None;
    }
    let (mut dot, mut aa, mut bb) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (f64::from(*x), f64::from(*y));
        dot += x * y;
        aa += x * x;
        bb += y * y;
    }
    let cosine = dot / (aa.sqrt() * bb.sqrt());
    cosine.is_finite().then_some(cosine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(of: &[&str]) -> Labels {
        let mut labels = Labels::new();
        of.iter().for_each(|label| labels.add(label));
        labels
    }

    fn after(seconds: u64) -> Instant {
        // One start for all calls.
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *START.get_or_init(Instant::now) + Duration::from_secs(seconds)
    }

    /// A direction at this angle from the first axis, in degrees.
    fn at(degrees: f32, length: f32) -> [f32; 3] {
        [length * degrees.to_radians().cos(), length * degrees.to_radians().sin(), 0.0]
    }

    fn dedupe() -> Dedupe {
        Dedupe::new(Settings::default(), 3)
    }

    #[test]
    fn directions_decide_not_lengths() {
        let mut dedupe = dedupe();
        assert_eq!(dedupe.compare(&at(0.0, 1.0), &labels(&[]), after(0)), Verdict::New, "the first");
        dedupe.remember(&at(0.0, 1.0), &labels(&[]), after(0));
        // The cosine of 14.07 degrees is 0.97.
        assert_eq!(dedupe.compare(&at(14.0, 30.0), &labels(&[]), after(1)), Verdict::Unchanged);
        assert_eq!(dedupe.compare(&at(14.1, 30.0), &labels(&[]), after(1)), Verdict::New);
        assert_eq!(dedupe.compare(&at(180.0, 1.0), &labels(&[]), after(1)), Verdict::New);
    }

    #[test]
    fn slow_changes_are_reported_because_the_reported_scene_counts() {
        let mut dedupe = dedupe();
        dedupe.remember(&at(0.0, 1.0), &labels(&[]), after(0));
        let mut reports = 0;
        for degree in 1..=90_u8 {
            let scene = at(f32::from(degree), 1.0);
            if dedupe.compare(&scene, &labels(&[]), after(u64::from(degree))) == Verdict::New {
                dedupe.remember(&scene, &labels(&[]), after(u64::from(degree)));
                reports += 1;
            }
        }
        assert_eq!(reports, 6, "every 15 degrees");
    }

    #[test]
    fn labels_count_with_how_often_they_are_there() {
        let mut dedupe = dedupe();
        let scene = at(5.0, 1.0);
        dedupe.remember(&scene, &labels(&["car", "person", "car"]), after(0));
        for (found, expected) in [
            (&["car", "car", "person"][..], Verdict::Unchanged),
            (&["person", "person", "car"], Verdict::New),
            (&["car", "person"], Verdict::New),
            (&["car", "car", "person", "person"], Verdict::New),
            (&["car", "car", "persons"], Verdict::New),
            (&["carperson", "car", ""], Verdict::New),
            (&[], Verdict::New),
        ] {
            assert_eq!(dedupe.compare(&scene, &labels(found), after(1)), expected, "{found:?}");
        }
    }

    #[test]
    fn the_longest_interval_forces_a_report() {
        let mut dedupe = dedupe();
        let scene = at(5.0, 1.0);
        dedupe.remember(&scene, &labels(&[]), after(100));
        assert_eq!(dedupe.compare(&scene, &labels(&[]), after(699)), Verdict::Unchanged);
        assert_eq!(dedupe.compare(&scene, &labels(&[]), after(700)), Verdict::Due);
        assert_eq!(dedupe.compare(&scene, &labels(&[]), after(0)), Verdict::Unchanged, "a time before");
        let mut never = Dedupe::new(Settings { max_interval_seconds: None, ..Settings::default() }, 3);
        never.remember(&scene, &labels(&[]), after(0));
        assert_eq!(never.compare(&scene, &labels(&[]), after(1_000_000)), Verdict::Unchanged);
        never.forget();
        assert_eq!(never.compare(&scene, &labels(&[]), after(1_000_000)), Verdict::New);
    }

    #[test]
    fn what_is_no_embedding_is_new() {
        let mut dedupe = dedupe();
        for bad in
            [&[0.0; 3][..], &[f32::NAN, 0.0, 1.0], &[f32::INFINITY, 0.0, 1.0], &[1.0; 2], &[1.0; 4], &[]]
        {
            dedupe.remember(&[1.0; 3], &labels(&[]), after(0));
            assert_eq!(dedupe.compare(bad, &labels(&[]), after(0)), Verdict::New, "{bad:?}");
            dedupe.remember(bad, &labels(&[]), after(0));
            assert_eq!(dedupe.compare(&[1.0; 3], &labels(&[]), after(0)), Verdict::New, "{bad:?}");
            assert_eq!(dedupe.compare(bad, &labels(&[]), after(0)), Verdict::New, "{bad:?}");
        }
    }

    #[test]
    fn memory_stays_where_it_was_taken() {
        let mut dedupe = dedupe();
        let pointers = |d: &Dedupe| (d.embedding.as_ptr(), d.labels.text.as_ptr(), d.labels.ends.as_ptr());
        let before = pointers(&dedupe);
        let (many, long) = (labels(&["x"; MOST_LABELS + 1]), labels(&[&"y".repeat(LABEL_BYTES + 1)]));
        let most = labels(&["x"; MOST_LABELS]);
        let scene = at(5.0, 1.0);
        dedupe.remember(&scene, &many, after(0));
        assert_eq!(dedupe.compare(&scene, &many, after(0)), Verdict::New, "too many to remember");
        dedupe.remember(&scene, &long, after(0));
        assert_eq!(dedupe.compare(&scene, &long, after(0)), Verdict::New);
        dedupe.remember(&scene, &most, after(0));
        assert_eq!(dedupe.compare(&scene, &most, after(0)), Verdict::Unchanged);
        dedupe.remember(&[1.0; 1000], &labels(&[]), after(0));
        assert_eq!(pointers(&dedupe), before);
    }

    #[test]
    fn settings_are_read_and_refused_in_words() {
        let read = |text: &str| serde_json::from_str::<Settings>(text).map_err(|e| e.to_string());
        assert_eq!(read("{}").unwrap(), Settings::default());
        assert!(read(r#"{"similar": 1}"#).unwrap_err().contains("unknown field `similar`"));
        for (text, expected) in [
            (r#"{"similarity": 97}"#, "similarity is 97: give 0 to 1"),
            (r#"{"max_interval_seconds": 0}"#, "max_interval_seconds is 0"),
        ] {
            let error = read(text).unwrap().validate().unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
