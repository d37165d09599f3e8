//! A camera of the configuration: where its pictures come from, which are looked at, and what is asked.

use crate::camera::motion;
use crate::camera::schedule;
use crate::camera::zone::{Polygon, Zone};
use crate::engine::{bucket, dedupe};
use pg_targets::camera::{Location, Options};
use serde::Deserialize;
use std::time::Duration;

/// When a camera's pictures are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum Trigger {
    /// While something moves.
    #[default]
    Motion,
    /// All the time.
    Always,
    /// Only when asked to.
    Request,
}

/// A camera.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Camera {
    /// Letters, digits, `_` and `-`; part of topics and addresses.
    pub(crate) name: String,
    /// Where the pictures come from, such as `/dev/video0` or `rtsp://…`.
    pub(crate) source: String,
    #[serde(default = "on")]
    pub(crate) enabled: bool,
    #[serde(default)]
    pub(crate) trigger: Trigger,
    /// Most pictures a second that are taken from the source.
    #[serde(default = "five")]
    pub(crate) max_fps: f32,
    /// Seconds between two looks, at least.
    #[serde(default)]
    pub(crate) min_interval: f64,
    /// Seconds after which a look is taken even if nothing moves or changes; 0 for never.
    #[serde(default)]
    pub(crate) max_interval: f64,
    /// Looks a minute, with a few saved up for when much happens.
    #[serde(default)]
    pub(crate) rate: bucket::Settings,
    /// Seconds after which a picture is too old to be looked at.
    #[serde(default = "five_seconds")]
    pub(crate) max_age: f64,
    /// Seconds of silence after which a live source (camera, stream, server) is opened again.
    #[serde(default = "twenty_seconds")]
    pub(crate) stall: f64,
    /// Hours and days at which it is used.
    #[serde(default)]
    pub(crate) schedule: schedule::Settings,
    /// Wait for each picture to be looked at instead of dropping it: for files and pipes, which can wait.
    #[serde(default)]
    pub(crate) wait: bool,
    #[serde(default)]
    pub(crate) motion: motion::Settings,
    #[serde(default)]
    pub(crate) dedupe: dedupe::Settings,
    /// What to ask, in this order.
    #[serde(default = "a_caption", rename = "prompt")]
    pub(crate) prompts: Vec<Prompt>,
    #[serde(default, rename = "zone")]
    pub(crate) zones: Vec<Zone>,
    /// Parts of the picture that are black before the model or anybody sees it.
    #[serde(default, rename = "privacy_mask")]
    pub(crate) privacy_masks: Vec<Mask>,
    /// Parts of the picture in which nothing that moves counts.
    #[serde(default, rename = "motion_mask")]
    pub(crate) motion_masks: Vec<Mask>,
}

/// A part of the picture.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Mask {
    /// Its border: three or more `[x, y]` in fractions of the picture.
    pub(crate) points: Polygon,
}

/// Prompts of one camera, at most.
pub(crate) const MAX_PROMPTS: usize = 8;
/// Bytes of a prompt, at most.
pub(crate) const MAX_PROMPT: usize = 1000;

/// A question to ask about every picture.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Prompt {
    /// As the model reads it, such as `detect person ; car` or `caption en`.
    pub(crate) text: String,
    /// Objects with a lower score are left out.
    #[serde(default)]
    pub(crate) min_score: f32,
}

fn on() -> bool {
    true
}

fn five() -> f32 {
    5.0
}

fn five_seconds() -> f64 {
    5.0
}

fn twenty_seconds() -> f64 {
    20.0
}

fn a_caption() -> Vec<Prompt> {
    vec![Prompt { text: "caption en".into(), min_score: 0.0 }]
}

impl Camera {
    /// Its source without passwords.
    pub(crate) fn source_shown(&self) -> String {
        self.source.parse::<Location>().map_or_else(|_| "…".into(), |location| location.to_string())
    }

    /// How its source is opened.
    pub(crate) fn options(&self) -> Options {
        let stall = Duration::from_secs_f64(self.stall);
        Options { max_fps: Some(self.max_fps), stall, ..Options::default() }
    }
}
