//! How much the engine may do while the board is hot or its supply weak.
//!
//! `Reading` draws together what Linux says of temperatures, clocks and supply; `Governor` makes a level of it. A level goes
//! up quickly and one at a time, or straight to a pause far above the limit; it goes down slowly, when the board is clearly
//! cooler. A level that proves too low soon after going down is tried again later each time, so that a board between two
//! levels does not swing between them. What is absent: threads and cameras, which others set by the level.

mod reading;
#[cfg(test)]
mod tests;

pub(crate) use reading::Reading;

use serde::Deserialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Going down is put off up to this many times longer.
const MOST_PATIENCE: u32 = 16;

/// When a board is hot, and what is done then.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The temperature to stay below, in degrees Celsius. Left out: where the kernel begins to slow the board down, as it says
    /// itself; if it only says where it switches off, ten degrees below that, and at most 80.
    pub(crate) limit_celsius: Option<f64>,
    /// Names of thermal zones to look at, such as `["cpu-thermal"]`; empty for all that the kernel has.
    pub(crate) zones: Vec<String>,
    /// Degrees below the limit from which the board is hot.
    pub(crate) hot_margin: f64,
    /// Degrees below the limit from which it is cool again. More than `hot_margin`.
    pub(crate) cool_margin: f64,
    /// Degrees above the limit at which everything pauses at once.
    pub(crate) pause_margin: f64,
    /// Seconds between two steps to less work.
    pub(crate) up_seconds: u64,
    /// Seconds between two steps back to more work, at least.
    pub(crate) down_seconds: u64,
    /// A clock below this share of the fastest one during work, 0 to 1, means that a warm board is being slowed down.
    pub(crate) min_clock_share: f64,
    /// The share of the threads that work when fewer do, above 0 to 1.
    pub(crate) thread_share: f64,
    /// How many times longer pauses between runs are at the level of longer ones.
    pub(crate) interval_factor: u32,
    /// The folder that holds the kernel's `sys`; another one than `/` for tests.
    pub(crate) root: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            limit_celsius: None,
            zones: Vec::new(),
            hot_margin: 5.0,
            cool_margin: 15.0,
            pause_margin: 5.0,
            up_seconds: 20,
            down_seconds: 60,
            min_clock_share: 0.7,
            thread_share: 0.5,
            interval_factor: 3,
            root: PathBuf::from("/"),
        }
    }
}

impl Settings {
    /// Says in words what is wrong with them.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if self.limit_celsius.is_some_and(|l| !(20.0..=120.0).contains(&l)) {
            let limit = self.limit_celsius.unwrap_or_default();
            return Err(format!("limit_celsius is {limit}: give 20 to 120 degrees, or leave it out"));
        }
        let margins = [("hot_margin", self.hot_margin), ("cool_margin", self.cool_margin)];
        for (name, margin) in margins.into_iter().chain([("pause_margin", self.pause_margin)]) {
            if !(0.0..=60.0).contains(&margin) {
                return Err(format!("{name} is {margin}: give 0 to 60 degrees"));
            }
        }
        if self.cool_margin < self.hot_margin + 1.0 {
            return Err(format!(
                "cool_margin {} must be at least a degree more than hot_margin {}: without a gap the level would swing",
                self.cool_margin, self.hot_margin
            ));
        }
        for (name, seconds) in [("up_seconds", self.up_seconds), ("down_seconds", self.down_seconds)] {
            if !(1..=3600).contains(&seconds) {
                return Err(format!("{name} is {seconds}: give 1 to 3600 seconds"));
            }
        }
        for (name, share) in [("min_clock_share", self.min_clock_share), ("thread_share", self.thread_share)]
        {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("{name} is {share}: give a share, 0 to 1"));
            }
        }
        match (1..=1000).contains(&self.interval_factor) {
            true => Ok(()),
            false => Err(format!("interval_factor is {}: give 1 to 1000", self.interval_factor)),
        }
    }
}

/// How much is done. Each level does what the one before it does, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Everything.
    Cool,
    /// With fewer threads: less heat and less current for the same work.
    FewerThreads,
    /// With longer pauses between runs, too.
    LongerInterval,
    /// Nothing.
    Paused,
}

impl Level {
    /// All of them, from the first.
    pub(crate) const ALL: [Level; 4] =
        [Level::Cool, Level::FewerThreads, Level::LongerInterval, Level::Paused];

    /// Its name in messages and metrics.
    pub(crate) const fn name(self) -> &'static str {
        ["cool", "fewer-threads", "longer-interval", "paused"][self as usize]
    }

    /// How many of `all` threads work.
    pub(crate) fn threads(self, all: usize, settings: &Settings) -> usize {
        match self {
            Level::Cool => all,
            _ => ((all as f64 * settings.thread_share).round() as usize).clamp(1, all.max(1)),
        }
    }

    /// How much longer pauses between runs are; `None` if there are no runs.
    pub(crate) fn interval(self, normal: Duration, settings: &Settings) -> Option<Duration> {
        match self {
            Level::Cool | Level::FewerThreads => Some(normal),
            Level::LongerInterval => Some(normal.saturating_mul(settings.interval_factor)),
            Level::Paused => None,
        }
    }

    fn up(self) -> Self {
        Level::ALL[(self as usize + 1).min(Level::ALL.len() - 1)]
    }

    fn down(self) -> Self {
        Level::ALL[(self as usize).saturating_sub(1)]
    }
}

/// What a reading asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pressure {
    /// A pause at once.
    Pause,
    /// Less work.
    Less,
    /// Neither.
    Keep,
    /// More work.
    More,
}

/// Makes levels of readings.
#[derive(Debug)]
pub(crate) struct Governor {
    settings: Settings,
    level: Level,
    /// When the level went up or down last.
    changed: Option<Instant>,
    /// When it went down last.
    lowered: Option<Instant>,
    /// How many times longer than set it stays before it goes down.
    patience: u32,
    /// Readings in a row that ask for a pause: a single one may be an error of the sensor.
    pauses: u32,
    /// When the supply was low last.
    low: Option<Instant>,
}

impl Governor {
    /// Begins cool, with settings that were validated.
    pub(crate) fn new(settings: Settings) -> Self {
        Governor {
            settings,
            level: Level::Cool,
            changed: None,
            lowered: None,
            patience: 1,
            pauses: 0,
            low: None,
        }
    }

    /// The level at the last reading.
    pub(crate) fn level(&self) -> Level {
        self.level
    }

    /// Takes a reading, which should be one every few seconds, and gives the level from now on.
    pub(crate) fn step(&mut self, reading: &Reading, now: Instant) -> Level {
        let pressure = self.pressure(reading);
        self.pauses = if pressure == Pressure::Pause { self.pauses + 1 } else { 0 };
        self.low = if reading.low_voltage { Some(now) } else { self.low };
        let floor = self.floor(now);
        let since = |at: Option<Instant>| at.map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        let next = match pressure {
            Pressure::Pause if self.pauses >= 2 => Level::Paused,
            Pressure::Pause | Pressure::Less
                if since(self.changed) >= Duration::from_secs(self.settings.up_seconds) =>
            {
                self.level.up()
            }
            Pressure::More if since(self.changed) >= self.hold() => self.level.down(),
            _ => self.level,
        };
        let next = next.max(floor);
        if next > self.level && next > floor {
            // A lower level that does not last was tried too early.
            let lasted = since(self.lowered) >= self.trial();
            self.patience = if lasted { 1 } else { (self.patience * 2).min(MOST_PATIENCE) };
        } else if next < self.level {
            self.lowered = Some(now);
        }
        if next != self.level {
            self.changed = Some(now);
            self.level = next;
        }
        self.level
    }

    fn pressure(&self, reading: &Reading) -> Pressure {
        let Settings { hot_margin, cool_margin, pause_margin, .. } = self.settings;
        match reading.margin {
            Some(margin) if margin <= -pause_margin => Pressure::Pause,
            Some(margin) if margin < hot_margin => Pressure::Less,
            // A slow clock of a cool board has other reasons.
            Some(margin) if margin >= cool_margin => Pressure::More,
            _ if reading.slowed => Pressure::Less,
            Some(_) => Pressure::Keep,
            None => Pressure::More,
        }
    }

    /// The lowest level that a weak supply allows.
    fn floor(&self, now: Instant) -> Level {
        match self.low {
            Some(at)
                if now.saturating_duration_since(at) < Duration::from_secs(self.settings.down_seconds) =>
            {
                Level::FewerThreads
            }
            _ => Level::Cool,
        }
    }

    /// How long a level must last after going down to have been right.
    fn trial(&self) -> Duration {
        Duration::from_secs(self.settings.down_seconds) * MOST_PATIENCE
    }

    /// How long the level stays before it goes down.
    fn hold(&self) -> Duration {
        Duration::from_secs(self.settings.down_seconds) * self.patience
    }
}
