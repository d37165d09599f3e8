//! How long to wait before a server that was away is tried again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The first pause, doubled from try to try.
const FIRST: Duration = Duration::from_secs(1);
/// The longest; of a whole fleet, no two machines wait equally long.
const LONGEST: Duration = Duration::from_secs(60);
/// The pause if somebody has to change something first.
const LASTING: Duration = Duration::from_secs(120);
/// A connection that lasted for so long was not made in vain.
const SETTLED: Duration = Duration::from_secs(10);

/// Counts tries.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// A connection has ended that had lasted for so long.
    pub(crate) fn was_up(&mut self, lasted: Duration) {
        if lasted >= SETTLED {
            self.tries = 0;
        }
    }

    /// The next pause.
    pub(crate) fn next(&mut self, is_lasting: bool) -> Duration {
        let whole = if is_lasting { LASTING } else { LONGEST.min(FIRST * (1 << self.tries.min(6))) };
        self.tries = self.tries.saturating_add(1);
        // Keys of hash maps are random: enough for this.
        let random = RandomState::new().build_hasher().finish() % 1000;
        whole.mul_f64(0.5 + random as f64 / 2000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_minute_and_begin_anew_after_a_good_connection() {
        let mut backoff = Backoff::default();
        for whole in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let whole = Duration::from_secs(whole);
            let pause = backoff.next(false);
            assert!((whole / 2..=whole).contains(&pause), "{pause:?} of {whole:?}");
        }
        backoff.was_up(SETTLED / 2);
        assert!(backoff.next(false) >= LONGEST / 2);
        backoff.was_up(SETTLED);
        assert!(backoff.next(false) <= FIRST);
        assert!(backoff.next(true) >= LASTING / 2);
    }

    #[test]
    fn two_machines_do_not_come_back_at_the_same_moment() {
        let pauses: std::collections::BTreeSet<_> = (0..20).map(|_| Backoff::default().next(false)).collect();
        assert!(pauses.len() > 10, "{pauses:?}");
    }
}
