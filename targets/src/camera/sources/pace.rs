//! When the next frame is due.

use std::time::{Duration, Instant};

/// At most so many frames a second, evenly.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Zero: always due.
    period: Duration,
    due: Instant,
}

impl Pace {
    pub(crate) fn new(fps: Option<f32>) -> Self {
        let period = fps.filter(|fps| *fps > 0.0).map(|fps| Duration::try_from_secs_f32(1.0 / fps));
        Pace { period: period.and_then(Result::ok).unwrap_or_default(), due: Instant::now() }
    }

    /// Waits until a frame is due; `false` if `until` comes first.
    pub(crate) fn wait(&self, until: Instant) -> bool {
        let left = self.due.min(until).saturating_duration_since(Instant::now());
        if !left.is_zero() {
            std::thread::sleep(left);
        }
        self.due <= until
    }

    /// A frame has been given.
    pub(crate) fn given(&mut self) {
        // From when it was due, so that lateness does not add up; from this moment if a whole period was missed.
        let now = Instant::now();
        self.due = (self.due + self.period).max(now.checked_sub(self.period).unwrap_or(now));
    }
}

/// The lower of two speeds, where there are any.
pub(crate) fn slower(a: Option<f32>, b: Option<f32>) -> Option<f32> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_due_one_period_apart() {
        let mut pace = Pace::new(Some(0.01));
        assert!(pace.wait(Instant::now()));
        pace.given();
        assert!(!pace.wait(Instant::now()));
        let mut unlimited = Pace::new(None);
        unlimited.given();
        assert!(unlimited.wait(Instant::now() + Duration::from_secs(1)));
        assert_eq!((slower(None, Some(2.0)), slower(Some(1.0), Some(2.0))), (Some(2.0), Some(1.0)));
    }
}
