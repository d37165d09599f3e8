//! Which camera is next, when one engine serves all of them.
//!
//! Time is cut into rounds. In a round each camera gets one turn at most, those with a deadline first, the earliest of them
//! before the others; when no camera that waits has a turn left, a new round begins. So a deadline decides the order, but no
//! camera can be kept waiting by it: from when it begins to wait, each other camera has two turns before it at most.

use std::time::Instant;

/// A camera that has something to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Waiting {
    /// By when it should run, if that matters.
    pub(crate) deadline: Option<Instant>,
}

/// The turns of a fixed number of cameras.
#[derive(Debug, Clone)]
pub(crate) struct Fair {
    /// Of each camera, whether it had its turn in this round.
    served: Vec<bool>,
    /// The camera after the last one that had a turn.
    first: usize,
}

impl Fair {
    /// For cameras 0 to before `n`.
    pub(crate) fn new(n: usize) -> Self {
        Fair { served: vec![false; n], first: 0 }
    }

    /// Gives the turn to one of the cameras that wait; `None` if none does. `waiting` has an entry for each camera.
    pub(crate) fn next(&mut self, waiting: &[Option<Waiting>]) -> Option<usize> {
        let camera = match self.choose(waiting) {
            Some(camera) => camera,
            None => {
                self.served.fill(false);
                self.choose(waiting)?
            }
        };
        self.served[camera] = true;
        self.first = (camera + 1) % self.served.len();
        Some(camera)
    }

    /// The best of those that wait and have a turn left in this round.
    fn choose(&self, waiting: &[Option<Waiting>]) -> Option<usize> {
        let n = self.served.len();
        let left = (0..n)
            .map(|i| (self.first + i) % n)
            .filter(|&camera| !self.served[camera])
            .filter_map(|camera| Some((camera, (*waiting.get(camera)?)?)));
        // Of equal ones the first is taken, which is the one whose turn is longest ago.
        left.min_by_key(|(_, w)| (w.deadline.is_none(), w.deadline)).map(|(camera, _)| camera)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: Option<Waiting> = Some(Waiting { deadline: None });

    #[test]
    fn in_turn_without_deadlines() {
        let mut fair = Fair::new(3);
        let turns: Vec<_> = (0..7).map(|_| fair.next(&[NOW; 3]).unwrap()).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(fair.next(&[NOW, None, NOW]), Some(2));
        assert_eq!(fair.next(&[None; 3]), None);
        assert_eq!(fair.next(&[None, NOW, None]), Some(1));
        assert_eq!(fair.next(&[None, NOW, None]), Some(1), "alone it need not wait");
        assert_eq!(Fair::new(0).next(&[]), None);
        assert_eq!(Fair::new(2).next(&[]), None);
    }

    #[test]
    fn deadlines_come_first_within_a_round() {
        let start = Instant::now();
        let by = |seconds| Some(Waiting { deadline: Some(start + Duration::from_secs(seconds)) });
        let mut fair = Fair::new(4);
        let waiting = [NOW, by(9), NOW, by(3)];
        let turns: Vec<_> = (0..8).map(|_| fair.next(&waiting).unwrap()).collect();
        assert_eq!(turns, [3, 1, 2, 0, 3, 1, 2, 0]);
    }

    /// Cameras that come, go and have deadlines at random: a turn goes only to one that waits, none waits while nobody has a
    /// turn, and each other one has at most two turns before it.
    #[test]
    fn no_camera_starves() {
        let start = Instant::now();
        let mut seed = 5_u64;
        let mut below = move |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % n
        };
        for n in 1..=9_usize {
            let mut fair = Fair::new(n);
            let mut waiting = vec![None; n];
            // Turns of others, of each camera, since it began to wait.
            let mut before = vec![vec![0; n]; n];
            for _ in 0..3000 {
                for (camera, slot) in waiting.iter_mut().enumerate() {
                    if slot.is_none() && below(3) == 0 {
                        let urgent = camera % 2 == 0 || below(4) == 0;
                        let deadline = urgent.then(|| start + Duration::from_millis(below(50)));
                        *slot = Some(Waiting { deadline });
                        before[camera].fill(0);
                    }
                }
                let Some(turn) = fair.next(&waiting) else {
                    assert!(waiting.iter().all(Option::is_none));
                    continue;
                };
                assert!(waiting[turn].is_some());
                // Some wait for the next frame, others have one already.
                waiting[turn] = (below(2) == 0).then_some(Waiting { deadline: Some(start) });
                before[turn].fill(0);
                for camera in (0..n).filter(|c| waiting[*c].is_some() && *c != turn) {
                    before[camera][turn] += 1;
                    assert!(before[camera][turn] <= 2, "{turn} again and again before {camera} of {n}");
                }
            }
        }
    }
}
