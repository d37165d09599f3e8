//! The motion gate: decides from a small grey picture of each frame whether something moves, so that a model need not look.
//!
//! `plane` makes the small picture. `areas` finds what is connected in it. Here is what is compared: each small picture with
//! a background, which follows the frames slowly. The settings have the names and the meaning that users of Frigate know,
//! so that values found there can be carried over. What is absent: frames, threads, and anything that says what moved.

mod areas;
mod plane;
#[cfg(test)]
mod tests;

use super::zone::Polygon;
use areas::Areas;
use pg_runtime::Frame;
use plane::Plane;
use serde::Deserialize;
use std::time::{Duration, Instant};

/// How fast the background follows while it is learned anew, for each frame.
const LEARNING_BLEND: f32 = 0.2;
/// Learning is over when no more than this share of the picture differs from the background…
const LEARNED_SHARE: f32 = 0.05;
/// … or after this time, because in a crowd it never does.
const LONGEST_LEARNING: Duration = Duration::from_secs(10);
/// Frames in a row with motion before the background follows them, so that it does not blur behind what passes.
const LASTING: u32 = 10;

/// How motion is told from noise.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Height in pixels, 1 to 100, of the grey picture in which motion is looked for. Frames are averaged down to it.
    pub(crate) frame_height: usize,
    /// How much a pixel must differ from the background, 1 to 255, to count as changed. Higher is less sensitive.
    pub(crate) threshold: u8,
    /// How many changed pixels of the small picture must touch each other to be motion. Higher ignores small things.
    pub(crate) contour_area: usize,
    /// How much of each frame goes into the background, above 0 to 1. Higher makes a new object part of the background sooner.
    pub(crate) frame_alpha: f32,
    /// How much of each frame's difference from the background goes into the difference that is compared with `threshold`,
    /// above 0 to 1. Higher lets what shows in one frame only, such as a raindrop, count as motion; lower misses what is fast.
    pub(crate) delta_alpha: f32,
    /// When more than this share of the picture changes at once, 0 to 1, the light did (lightning, a camera that switches to
    /// infrared): the background is taken anew, and no motion is reported.
    pub(crate) lightning_threshold: f32,
    /// When more than this share of the picture changes at once, 0 to 1, no motion is reported while the background is
    /// learned again (a camera that turns). Left out: only `lightning_threshold` counts.
    pub(crate) skip_motion_threshold: Option<f32>,
    /// Seconds without motion after which it has ended.
    pub(crate) off_delay_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            frame_height: 100,
            threshold: 30,
            contour_area: 10,
            frame_alpha: 0.01,
            delta_alpha: 0.2,
            lightning_threshold: 0.8,
            skip_motion_threshold: None,
            off_delay_seconds: 30,
        }
    }
}

impl Settings {
    /// Says in words what is wrong with them.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if !(1..=plane::MAX_HEIGHT).contains(&self.frame_height) {
            return Err(format!(
                "frame_height is {}: give 1 to {} pixels; the usual 100 sees a person at the other side of a street",
                self.frame_height,
                plane::MAX_HEIGHT
            ));
        }
        if self.threshold == 0 {
            return Err("threshold is 0, with which noise is motion: give 1 to 255, usually 20 to 40".into());
        }
        if self.contour_area == 0 {
            return Err("contour_area is 0: give at least 1 pixel, usually 10 to 50".into());
        }
        for (name, alpha) in [("frame_alpha", self.frame_alpha), ("delta_alpha", self.delta_alpha)] {
            if !(alpha > 0.0 && alpha <= 1.0) {
                return Err(format!("{name} is {alpha}: give a number above 0, at most 1"));
            }
        }
        let skip = self.skip_motion_threshold.unwrap_or(1.0);
        for (name, share) in
            [("lightning_threshold", self.lightning_threshold), ("skip_motion_threshold", skip)]
        {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("{name} is {share}: give a share of the picture, 0 to 1"));
            }
        }
        Ok(())
    }
}

/// What a frame means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Motion {
    /// Nothing moves.
    Still,
    /// Motion begins with this frame.
    Started,
    /// Motion that began is not over: something moves, or did less than the off delay ago.
    Moving,
    /// Motion is over; for the off delay nothing has moved.
    Ended,
    /// The whole picture changed, or the background is being learned: not a frame to run a model for. Motion that began
    /// is neither over nor prolonged.
    Recalibrated,
}

/// What was seen in a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Look {
    /// What the frame means.
    pub(crate) motion: Motion,
    /// Where something moves in this very frame: `[x0, y0, x1, y1]` in fractions of the picture around all of it.
    pub(crate) area: Option<[f32; 4]>,
    /// The share of the picture, masks left out, that differs from the background.
    pub(crate) changed: f32,
}

/// The gate of one camera. All memory is taken by `new`.
#[derive(Debug)]
pub(crate) struct Gate {
    settings: Settings,
    masks: Vec<Polygon>,
    plane: Plane,
    /// `[height, width]` of the plane, as the next two.
    background: Vec<f32>,
    /// The difference from the background over the last frames.
    delta: Vec<f32>,
    masked: Vec<bool>,
    areas: Areas,
    /// Since when the background is being learned.
    learning: Option<Instant>,
    /// Frames in a row with motion.
    lasting: u32,
    /// When something moved last, while motion is on.
    moved: Option<Instant>,
}

impl Gate {
    /// A gate with settings that were validated; nothing that happens inside `masks` is motion.
    pub(crate) fn new(settings: Settings, masks: Vec<Polygon>) -> Self {
        let n = plane::max_pixels(settings.frame_height);
        Gate {
            plane: Plane::new(settings.frame_height),
            settings,
            masks,
            background: Vec::with_capacity(n),
            delta: Vec::with_capacity(n),
            masked: Vec::with_capacity(n),
            areas: Areas::new(n),
            learning: None,
            lasting: 0,
            moved: None,
        }
    }

    /// Looks at the next frame, which was captured at `now`.
    pub(crate) fn look(&mut self, frame: &Frame<'_>, now: Instant) -> Look {
        let before = self.plane.size();
        self.plane.fill(frame);
        if self.plane.size() != before {
            self.start(now);
            return Look { motion: Motion::Recalibrated, area: None, changed: 0.0 };
        }
        let changed = self.compare();
        if changed > self.settings.lightning_threshold {
            self.take_background();
            self.learning = Some(now);
        } else if self.settings.skip_motion_threshold.is_some_and(|most| changed > most) {
            self.learning = Some(now);
        }
        if let Some(since) = self.learning {
            let over = now.saturating_duration_since(since) >= LONGEST_LEARNING;
            if changed > LEARNED_SHARE && !over {
                self.blend_background(LEARNING_BLEND);
                return Look { motion: Motion::Recalibrated, area: None, changed };
            }
            self.learning = None;
        }
        let area = self.moving_area();
        self.learn(area.is_some());
        Look { motion: self.advance(area.is_some(), now), area, changed }
    }

    /// Begins again with the frame in the plane: the first one, or the first one of another size.
    fn start(&mut self, now: Instant) {
        let (width, height) = self.plane.size();
        self.masked.clear();
        for i in 0..width * height {
            let (x, y) = (i % width, i / width);
            let centre = [(x as f32 + 0.5) / width as f32, (y as f32 + 0.5) / height as f32];
            self.masked.push(self.masks.iter().any(|m| m.contains(centre)));
        }
        self.background.resize(width * height, 0.0);
        self.delta.resize(width * height, 0.0);
        self.take_background();
        self.learning = Some(now);
    }

    /// Makes the frame the background.
    fn take_background(&mut self) {
        for (background, luma) in self.background.iter_mut().zip(self.plane.luma()) {
            *background = f32::from(*luma);
        }
        self.delta.fill(0.0);
        self.lasting = 0;
    }

    /// Updates the difference over the last frames, marks where it and this frame's exceed the threshold, and gives the share
    /// of the picture where this frame's does.
    fn compare(&mut self) -> f32 {
        let (threshold, alpha) = (f32::from(self.settings.threshold), self.settings.delta_alpha);
        let (mut changed, mut seen) = (0_usize, 0_usize);
        let marks = self.areas.start(self.plane.size());
        let pixels = self.plane.luma().iter().zip(&self.background).zip(&self.masked);
        for (((luma, background), masked), (delta, mark)) in
            pixels.zip(self.delta.iter_mut().zip(marks.iter_mut()))
        {
            let difference = (f32::from(*luma) - background).abs();
            *delta += alpha * (difference - *delta);
            let differs = !masked && difference > threshold;
            changed += usize::from(differs);
            seen += usize::from(!masked);
            *mark = differs && *delta > threshold;
        }
        changed as f32 / seen.max(1) as f32
    }

    /// Around everything that moves, in fractions of the picture.
    fn moving_area(&mut self) -> Option<[f32; 4]> {
        let (width, height) = self.plane.size();
        let [x0, y0, x1, y1] = self.areas.surround(self.settings.contour_area)?;
        let part = |at: usize, side: usize| at as f32 / side as f32;
        Some([part(x0, width), part(y0, height), part(x1, width), part(y1, height)])
    }

    /// Lets the background follow the frame, unless something passes in front of it.
    fn learn(&mut self, moves: bool) {
        self.lasting = if moves { self.lasting.saturating_add(1) } else { 0 };
        if !moves || self.lasting >= LASTING {
            self.blend_background(self.settings.frame_alpha);
        }
    }

    fn blend_background(&mut self, alpha: f32) {
        for (background, luma) in self.background.iter_mut().zip(self.plane.luma()) {
            *background += alpha * (f32::from(*luma) - *background);
        }
    }

    fn advance(&mut self, moves: bool, now: Instant) -> Motion {
        let delay = Duration::from_secs(self.settings.off_delay_seconds);
        match (self.moved, moves) {
            (None, false) => Motion::Still,
            (None, true) => {
                self.moved = Some(now);
                Motion::Started
            }
            (Some(_), true) => {
                self.moved = Some(now);
                Motion::Moving
            }
            (Some(last), false) if now.saturating_duration_since(last) < delay => Motion::Moving,
            (Some(_), false) => {
                self.moved = None;
                Motion::Ended
            }
        }
    }
}
