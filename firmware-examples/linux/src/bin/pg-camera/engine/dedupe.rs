//! Whether a scene is the one that was reported last, so that no second caption need be made of it.
//!
//! Two pictures show the same scene if the means of their image embeddings point the same way and the same labels were found
//! in them, each as often. What is compared with is what was *reported*, not what was seen last: otherwise a scene that
//! changes slowly would never be reported again. Nothing allocates after `new`.

use schemars::JsonSchema;
use serde::Deserialize;
use std::time::{Duration, Instant};

/// Bytes and number of labels that are remembered; a scene with more is never the same as another.
const LABEL_BYTES: usize = 8192;
const MOST_LABELS: usize = 256;

/// When a scene counts as unchanged.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
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

/// The scene that was reported last.
#[derive(Debug)]
pub(crate) struct Dedupe {
    settings: Settings,
    /// Numbers of an embedding.
    n: usize,
    /// `[n]`; empty as long as nothing was reported.
    embedding: Vec<f32>,
    /// The labels behind each other, where each ends, and whether all found room.
    text: String,
    ends: Vec<usize>,
    labels_kept: bool,
    reported: Option<Instant>,
}

impl Dedupe {
    /// For embeddings of `n` numbers, with settings that were validated.
    pub(crate) fn new(settings: Settings, n: usize) -> Self {
        Dedupe {
            settings,
            n,
            embedding: Vec::with_capacity(n),
            text: String::with_capacity(LABEL_BYTES),
            ends: Vec::with_capacity(MOST_LABELS),
            labels_kept: true,
            reported: None,
        }
    }

    /// Compares a scene with the one that was reported last. An embedding that is no direction, or of another length, is new.
    pub(crate) fn compare<L: AsRef<str>>(&self, embedding: &[f32], labels: &[L], now: Instant) -> Verdict {
        let Some(reported) = self.reported else { return Verdict::New };
        let alike = cosine(&self.embedding, embedding)
            .is_some_and(|cosine| cosine >= f64::from(self.settings.similarity));
        if !alike || !self.same_labels(labels) {
            return Verdict::New;
        }
        let age = now.saturating_duration_since(reported);
        match self.settings.max_interval_seconds {
            Some(most) if age >= Duration::from_secs(most) => Verdict::Due,
            _ => Verdict::Unchanged,
        }
    }

    /// Remembers a scene that was reported.
    pub(crate) fn remember<L: AsRef<str>>(&mut self, embedding: &[f32], labels: &[L], now: Instant) {
        self.forget();
        if embedding.len() != self.n {
            return;
        }
        self.embedding.extend_from_slice(embedding);
        self.reported = Some(now);
        let bytes = labels.iter().map(|l| l.as_ref().len()).fold(0, usize::saturating_add);
        self.labels_kept = labels.len() <= MOST_LABELS && bytes <= LABEL_BYTES;
        if self.labels_kept {
            for label in labels {
                self.text.push_str(label.as_ref());
                self.ends.push(self.text.len());
            }
        }
    }

    /// Forgets it, so that the next one is new: after the camera or the prompt changed.
    pub(crate) fn forget(&mut self) {
        self.embedding.clear();
        self.text.clear();
        self.ends.clear();
        self.reported = None;
    }

    fn kept(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text[start..*end])
    }

    /// Whether these are the labels that were remembered, each as often, in any order.
    fn same_labels<L: AsRef<str>>(&self, labels: &[L]) -> bool {
        let often = |label: &str| labels.iter().filter(|l| l.as_ref() == label).count();
        self.labels_kept
            && labels.len() == self.ends.len()
            && self.kept().all(|label| self.kept().filter(|l| *l == label).count() == often(label))
    }
}

/// The mean of embeddings `[tokens, n]`, into `[n]`; false, and zeros, if `tokens` is no whole number or zero.
pub(crate) fn mean(embeddings: &[f32], into: &mut [f32]) -> bool {
    let n = into.len();
    into.fill(0.0);
    if n == 0 || embeddings.is_empty() || !embeddings.len().is_multiple_of(n) {
        return false;
    }
    for token in embeddings.chunks_exact(n) {
        into.iter_mut().zip(token).for_each(|(sum, value)| *sum += value);
    }
    let tokens = (embeddings.len() / n) as f32;
    into.iter_mut().for_each(|sum| *sum /= tokens);
    true
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

    const NONE: &[&str] = &[];

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
        assert_eq!(dedupe.compare(&at(0.0, 1.0), NONE, after(0)), Verdict::New, "the first");
        dedupe.remember(&at(0.0, 1.0), NONE, after(0));
        // The cosine of 14.07 degrees is 0.97.
        assert_eq!(dedupe.compare(&at(14.0, 30.0), NONE, after(1)), Verdict::Unchanged);
        assert_eq!(dedupe.compare(&at(14.1, 30.0), NONE, after(1)), Verdict::New);
        assert_eq!(dedupe.compare(&at(180.0, 1.0), NONE, after(1)), Verdict::New);
    }

    #[test]
    fn slow_changes_are_reported_because_the_reported_scene_counts() {
        let mut dedupe = dedupe();
        dedupe.remember(&at(0.0, 1.0), NONE, after(0));
        let mut reports = 0;
        for degree in 1..=90_u8 {
            let scene = at(f32::from(degree), 1.0);
            if dedupe.compare(&scene, NONE, after(u64::from(degree))) == Verdict::New {
                dedupe.remember(&scene, NONE, after(u64::from(degree)));
                reports += 1;
            }
        }
        assert_eq!(reports, 6, "every 15 degrees");
    }

    #[test]
    fn labels_count_with_how_often_they_are_there() {
        let mut dedupe = dedupe();
        let scene = at(5.0, 1.0);
        dedupe.remember(&scene, &["car", "person", "car"], after(0));
        for (labels, expected) in [
            (&["car", "car", "person"][..], Verdict::Unchanged),
            (&["person", "person", "car"], Verdict::New),
            (&["car", "person"], Verdict::New),
            (&["car", "car", "person", "person"], Verdict::New),
            (&["car", "car", "persons"], Verdict::New),
            (&["carperson", "car", ""], Verdict::New),
            (&[], Verdict::New),
        ] {
            assert_eq!(dedupe.compare(&scene, labels, after(1)), expected, "{labels:?}");
        }
    }

    #[test]
    fn the_longest_interval_forces_a_report() {
        let mut dedupe = dedupe();
        let scene = at(5.0, 1.0);
        dedupe.remember(&scene, NONE, after(100));
        assert_eq!(dedupe.compare(&scene, NONE, after(699)), Verdict::Unchanged);
        assert_eq!(dedupe.compare(&scene, NONE, after(700)), Verdict::Due);
        assert_eq!(dedupe.compare(&scene, NONE, after(0)), Verdict::Unchanged, "a time before");
        let mut never = Dedupe::new(Settings { max_interval_seconds: None, ..Settings::default() }, 3);
        never.remember(&scene, NONE, after(0));
        assert_eq!(never.compare(&scene, NONE, after(1_000_000)), Verdict::Unchanged);
        never.forget();
        assert_eq!(never.compare(&scene, NONE, after(1_000_000)), Verdict::New);
    }

    #[test]
    fn what_is_no_embedding_is_new() {
        let mut dedupe = dedupe();
        for bad in
            [&[0.0; 3][..], &[f32::NAN, 0.0, 1.0], &[f32::INFINITY, 0.0, 1.0], &[1.0; 2], &[1.0; 4], &[]]
        {
            dedupe.remember(&[1.0; 3], NONE, after(0));
            assert_eq!(dedupe.compare(bad, NONE, after(0)), Verdict::New, "{bad:?}");
            dedupe.remember(bad, NONE, after(0));
            assert_eq!(dedupe.compare(&[1.0; 3], NONE, after(0)), Verdict::New, "{bad:?}");
            assert_eq!(dedupe.compare(bad, NONE, after(0)), Verdict::New, "{bad:?}");
        }
    }

    #[test]
    fn memory_stays_where_it_was_taken() {
        let mut dedupe = dedupe();
        let pointers = |d: &Dedupe| (d.embedding.as_ptr(), d.text.as_ptr(), d.ends.as_ptr());
        let before = pointers(&dedupe);
        let (many, long) = (vec!["x"; MOST_LABELS + 1], ["y".repeat(LABEL_BYTES + 1)]);
        let scene = at(5.0, 1.0);
        dedupe.remember(&scene, &many, after(0));
        assert_eq!(dedupe.compare(&scene, &many, after(0)), Verdict::New, "too many to remember");
        dedupe.remember(&scene, &long, after(0));
        assert_eq!(dedupe.compare(&scene, &long, after(0)), Verdict::New);
        dedupe.remember(&scene, &many[1..], after(0));
        assert_eq!(dedupe.compare(&scene, &many[1..], after(0)), Verdict::Unchanged);
        dedupe.remember(&[1.0; 1000], NONE, after(0));
        assert_eq!(pointers(&dedupe), before);
    }

    #[test]
    fn means_of_tokens() {
        let mut found = [9.0; 2];
        assert!(mean(&[1.0, 2.0, 3.0, 6.0], &mut found));
        assert_eq!(found, [2.0, 4.0]);
        assert!(!mean(&[1.0, 2.0, 3.0], &mut found) && found == [0.0; 2]);
        assert!(!mean(&[], &mut found) && !mean(&[1.0], &mut []));
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
