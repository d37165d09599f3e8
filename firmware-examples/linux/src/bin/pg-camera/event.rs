//! What happened, as every output tells it: version 1 of the JSON form.

use serde::{Serialize, Serializer};
use std::sync::{Arc, OnceLock};

/// Version of the JSON form.
pub(crate) const VERSION: u32 = 1;

/// Kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Something began or ended to move.
    Motion,
    /// Objects were looked for.
    Detect,
    /// The picture was described.
    Caption,
    /// A question was answered, or text read.
    Answer,
    /// The scene is as it was told last.
    Unchanged,
    /// Something went wrong.
    Error,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Kind; 6] =
        [Kind::Motion, Kind::Detect, Kind::Caption, Kind::Answer, Kind::Unchanged, Kind::Error];

    /// The kind of answer that a prompt asks for.
    pub(crate) fn of_prompt(text: &str) -> Self {
        match text.split_whitespace().next() {
            Some("detect" | "segment") => Kind::Detect,
            Some("caption" | "cap" | "describe") => Kind::Caption,
            _ => Kind::Answer,
        }
    }

    /// The word in the JSON form.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Motion => "motion",
            Kind::Detect => "detect",
            Kind::Caption => "caption",
            Kind::Answer => "answer",
            Kind::Unchanged => "unchanged",
            Kind::Error => "error",
        }
    }
}

/// An event. Once in the log it never changes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Event {
    pub(crate) v: u32,
    /// Its place in the log, from 1; grows by one from event to event while the program runs.
    pub(crate) seq: u64,
    /// What belongs together (a movement, the objects seen, the caption) has the same.
    pub(crate) id: String,
    pub(crate) camera: Arc<str>,
    /// When the picture was taken, in UTC.
    pub(crate) ts: String,
    pub(crate) kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt: Option<Arc<str>>,
    /// The description or answer in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) caption: Option<String>,
    /// Empty unless the kind is `detect`.
    pub(crate) objects: Vec<Object>,
    /// The model's words, location tokens included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) raw: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) motion: Option<Motion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<Arc<ModelInfo>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timing: Option<Timing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frame: Option<FrameInfo>,
    /// The picture as JPEG, privacy masks applied; not part of the JSON form.
    #[serde(skip)]
    pub(crate) picture: Option<Arc<Vec<u8>>>,
}

/// Something seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Object {
    pub(crate) label: String,
    /// Geometric mean of the probabilities of the four location tokens.
    pub(crate) score: f32,
    /// Left, top, right, bottom, from 0 to 1.
    #[serde(rename = "box")]
    pub(crate) bbox: [f32; 4],
    pub(crate) box_px: [u32; 4],
    /// Names of the zones that it stands in.
    pub(crate) zones: Vec<Arc<str>>,
}

/// Whether something moves, and where.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Motion {
    pub(crate) active: bool,
    #[serde(rename = "box")]
    pub(crate) area: Option<[f32; 4]>,
}

/// Which model answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ModelInfo {
    pub(crate) name: String,
    /// Of the file; absent until it has been computed.
    #[serde(skip_serializing_if = "is_unknown", serialize_with = "known")]
    pub(crate) sha256: OnceLock<String>,
    /// Format of most of its weights.
    pub(crate) quant: &'static str,
    /// Side of the picture that it sees, in pixels.
    pub(crate) res: usize,
    /// Its weights are random, its answers mean nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) synthetic: bool,
}

fn is_unknown(digest: &OnceLock<String>) -> bool {
    digest.get().is_none()
}

fn known<S: Serializer>(digest: &OnceLock<String>, to: S) -> Result<S::Ok, S::Error> {
    digest.get().serialize(to)
}

/// How long it took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(crate) struct Timing {
    /// From taking the picture to looking at it.
    pub(crate) age_ms: f64,
    pub(crate) resize_ms: f64,
    pub(crate) vision_ms: f64,
    pub(crate) prefill_ms: f64,
    pub(crate) decode_ms: f64,
    pub(crate) tokens: usize,
}

impl Timing {
    /// Of a run that gave so many tokens about a picture of no age.
    pub(crate) fn of(run: pg_runtime::Timing, tokens: usize) -> Self {
        Timing {
            age_ms: 0.0,
            resize_ms: run.image,
            vision_ms: run.vision,
            prefill_ms: run.prefill,
            decode_ms: run.decode,
            tokens,
        }
    }

    /// To the microsecond.
    pub(crate) fn rounded(self) -> Self {
        let rounded = |ms: f64| (ms * 1000.0).round() / 1000.0;
        Timing {
            age_ms: rounded(self.age_ms),
            resize_ms: rounded(self.resize_ms),
            vision_ms: rounded(self.vision_ms),
            prefill_ms: rounded(self.prefill_ms),
            decode_ms: rounded(self.decode_ms),
            tokens: self.tokens,
        }
    }
}

/// The picture that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct FrameInfo {
    pub(crate) w: usize,
    pub(crate) h: usize,
    /// Its number among the source's pictures.
    pub(crate) seq: u64,
    /// Pictures of the camera that were not looked at since the last that was.
    pub(crate) dropped: u64,
}

impl Event {
    /// An event with nothing in it yet.
    pub(crate) fn new(kind: Kind, camera: &Arc<str>, id: String, ts: String) -> Self {
        Event {
            v: VERSION,
            seq: 0,
            id,
            camera: camera.clone(),
            ts,
            kind,
            prompt: None,
            caption: None,
            objects: Vec::new(),
            raw: None,
            motion: None,
            error: None,
            model: None,
            timing: None,
            frame: None,
            picture: None,
        }
    }
}

/// A time as events give it.
pub(crate) fn timestamp(time: std::time::SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.3}")
}
