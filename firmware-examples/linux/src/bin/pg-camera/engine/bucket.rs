//! A token bucket: how often a camera's frames may be looked at.
//!
//! Credit is counted in integers that neither lose nor gain by rounding, so that over a day exactly as many runs are allowed
//! as were set, whenever they are asked for.

use serde::Deserialize;
use std::time::{Duration, Instant};

/// Nanoseconds a minute.
const MINUTE: u64 = 60_000_000_000;
/// Runs a minute are counted in thousandths.
const PARTS: f64 = 1000.0;
/// What a run costs: nanoseconds a minute, times thousandths.
const COST: u64 = MINUTE * 1000;
/// No rate is higher, and no burst longer.
const MOST: u32 = 6000;

/// How often something may run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Runs a minute at most, in the long run; 0.2 is one in five minutes.
    pub(crate) max_per_minute: f64,
    /// Runs that may follow each other at once after a quiet time.
    pub(crate) burst: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { max_per_minute: 6.0, burst: 2 }
    }
}

impl Settings {
    /// Says in words what is wrong with them.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if !(0.001..=f64::from(MOST)).contains(&self.max_per_minute) {
            return Err(format!(
                "max_per_minute is {}: give 0.001 to {MOST}; to stop a camera, disable it",
                self.max_per_minute
            ));
        }
        match (1..=MOST).contains(&self.burst) {
            true => Ok(()),
            false => Err(format!("burst is {}: give 1 to {MOST}; with 1 no run follows at once", self.burst)),
        }
    }
}

/// The bucket. It begins full.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    /// Thousandths of a run in a minute, which is what credit grows by each nanosecond.
    rate: u64,
    /// Credit of a full bucket.
    full: u64,
    credit: u64,
    /// When credit was counted.
    counted: Instant,
}

impl Bucket {
    /// A full bucket, with settings that were validated.
    pub(crate) fn new(settings: &Settings, now: Instant) -> Self {
        let rate = ((settings.max_per_minute * PARTS).round() as u64).max(1);
        // What the last nanosecond of a wait gives beyond a run is not cut off.
        let full = u64::from(settings.burst) * COST + (rate - 1);
        Bucket { rate, full, credit: full, counted: now }
    }

    /// Takes a run out, if there is one. A time before the last one is that one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.count(now);
        let enough = self.credit >= COST;
        if enough {
            self.credit -= COST;
        }
        enough
    }

    /// How long from `now` until there is a run to take; zero if there is one.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        self.count(now);
        Duration::from_nanos(COST.saturating_sub(self.credit).div_ceil(self.rate))
    }

    fn count(&mut self, now: Instant) {
        let Some(passed) = now.checked_duration_since(self.counted) else { return };
        let passed = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
        self.credit = self.credit.saturating_add(passed.saturating_mul(self.rate)).min(self.full);
        self.counted = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(max_per_minute: f64, burst: u32) -> (Bucket, Instant) {
        let settings = Settings { max_per_minute, burst };
        settings.validate().unwrap();
        let start = Instant::now();
        (Bucket::new(&settings, start), start)
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let (mut bucket, start) = bucket(6.0, 3);
        assert_eq!(
            [bucket.take(start), bucket.take(start), bucket.take(start), bucket.take(start)],
            [true, true, true, false]
        );
        assert_eq!(bucket.wait(start), Duration::from_secs(10));
        assert!(!bucket.take(start + Duration::from_nanos(9_999_999_999)));
        assert!(bucket.take(start + Duration::from_secs(10)));
        assert_eq!(bucket.wait(start + Duration::from_secs(11)), Duration::from_secs(9));
        // A quiet hour fills it, and no more.
        let later = start + Duration::from_secs(3600);
        assert_eq!(bucket.wait(later), Duration::ZERO);
        assert_eq!((0..10).filter(|_| bucket.take(later)).count(), 3);
    }

    /// Asked at odd times for a day, a rate that is no whole number of nanoseconds gives exactly what it should.
    #[test]
    fn nothing_is_lost_by_rounding() {
        for (rate, expected) in [(7.0, 7 * 1440), (0.2, 288), (59.999, 86_398), (0.7, 1008)] {
            let (mut bucket, start) = bucket(rate, 1);
            assert!(bucket.take(start));
            let (mut at, mut taken, mut seed) = (Duration::ZERO, 0, 1_u64);
            while at < Duration::from_secs(86_400) {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let wait = bucket.wait(start + at);
                // Less than it takes, so that no credit overflows the bucket, then exactly what it takes.
                at += wait.mul_f64((seed >> 40) as f64 / (1 << 24) as f64).min(wait);
                at += bucket.wait(start + at);
                taken += u32::from(at <= Duration::from_secs(86_400) && bucket.take(start + at));
            }
            assert_eq!(taken, expected, "{rate}");
        }
    }

    #[test]
    fn the_wait_is_exact() {
        for rate in [0.001, 0.3, 1.0, 7.0, 59.0, 6000.0] {
            let (mut bucket, start) = bucket(rate, 1);
            assert!(bucket.take(start));
            let wait = bucket.wait(start);
            let mut early = bucket.clone();
            assert!(!early.take(start + wait - Duration::from_nanos(1)), "{rate}");
            assert!(bucket.take(start + wait), "{rate}");
        }
    }

    #[test]
    fn times_that_go_back_or_far_ahead() {
        let (mut bucket, start) = bucket(60.0, 1);
        let later = start + Duration::from_secs(100);
        assert!(bucket.take(later));
        assert!(!bucket.take(start) && !bucket.take(later));
        assert!(bucket.take(later + Duration::from_secs(1)));
        let far = later + Duration::from_secs(100 * 366 * 86_400);
        assert!(bucket.take(far) && !bucket.take(far));
    }

    #[test]
    fn settings_are_read_and_refused_in_words() {
        let read = |text: &str| serde_json::from_str::<Settings>(text).map_err(|e| e.to_string());
        assert_eq!(read("{}").unwrap(), Settings::default());
        assert!(read(r#"{"brust": 1}"#).unwrap_err().contains("unknown field `brust`"));
        for (text, expected) in [
            (r#"{"max_per_minute": 0}"#, "max_per_minute is 0: give 0.001 to 6000"),
            (r#"{"max_per_minute": 1e9}"#, "max_per_minute is 1000000000"),
            (r#"{"burst": 0}"#, "burst is 0"),
        ] {
            let error = read(text).unwrap().validate().unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
