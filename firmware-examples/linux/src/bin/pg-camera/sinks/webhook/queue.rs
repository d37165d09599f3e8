//! Events that wait to be sent to a server: a bounded queue between the event loop and the thread that sends.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is to be sent.
#[derive(Debug)]
pub(super) struct Letter {
    /// The same at every try, so that a receiver can know it again.
    pub(super) key: String,
    /// The event in JSON.
    pub(super) json: String,
    /// The picture that goes along.
    pub(super) picture: Option<Arc<Vec<u8>>>,
    /// Only this part of it: left, top, right, bottom in pixels.
    pub(super) part: Option<[u32; 4]>,
}

/// What became of events.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: AtomicU64,
    /// Refused, or tried too often.
    pub(crate) failed: AtomicU64,
    /// Displaced by newer ones, or left at the end.
    pub(crate) lost: AtomicU64,
    pub(crate) pending: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    room: usize,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct State {
    letters: VecDeque<Arc<Letter>>,
    is_closed: bool,
}

impl Queue {
    pub(super) fn new(room: usize, counts: Arc<Counts>) -> Self {
        Queue { state: Mutex::default(), changed: Condvar::new(), room, counts }
    }

    /// Adds a letter; the oldest goes if there is no room.
    pub(super) fn push(&self, letter: Letter) {
        let mut state = self.state();
        if state.letters.len() == self.room {
            state.letters.pop_front();
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
        state.letters.push_back(Arc::new(letter));
        self.count(&state);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for the oldest letter, which stays; none once the queue is closed and empty.
    pub(super) fn oldest(&self) -> Option<Arc<Letter>> {
        let is_idle = |state: &mut State| state.letters.is_empty() && !state.is_closed;
        let state = self.changed.wait_while(self.state(), is_idle).unwrap_or_else(PoisonError::into_inner);
        state.letters.front().cloned()
    }

    /// Takes a letter out that is done with, unless it was displaced meanwhile; tells whether it was still there.
    pub(super) fn remove(&self, letter: &Arc<Letter>) -> bool {
        let mut state = self.state();
        let is_there = state.letters.front().is_some_and(|front| Arc::ptr_eq(front, letter));
        if is_there {
            state.letters.pop_front();
        }
        self.count(&state);
        is_there
    }

    /// Waits so long, or until the queue is closed; tells whether it is.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.state(), time, |state| !state.is_closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_closed
    }

    /// Nothing more comes.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    /// Gives up what is left, and tells how much that was.
    pub(super) fn give_up(&self) -> usize {
        let mut state = self.state();
        let n = state.letters.len();
        state.letters.clear();
        self.counts.lost.fetch_add(n as u64, Ordering::Relaxed);
        self.count(&state);
        n
    }

    fn count(&self, state: &State) {
        self.counts.pending.store(state.letters.len() as u64, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(key: &str) -> Letter {
        Letter { key: key.into(), json: "{}".into(), picture: None, part: None }
    }

    #[test]
    fn the_oldest_are_lost_first_even_while_they_are_being_sent() {
        let counts = Arc::new(Counts::default());
        let queue = Queue::new(2, counts.clone());
        queue.push(letter("a"));
        let a = queue.oldest().unwrap();
        queue.push(letter("b"));
        queue.push(letter("c"));
        assert_eq!(counts.lost.load(Ordering::Relaxed), 1);
        assert!(!queue.remove(&a), "displaced");
        let b = queue.oldest().unwrap();
        assert_eq!(b.key, "b");
        assert!(queue.remove(&b) && queue.oldest().unwrap().key == "c");
        assert_eq!(counts.pending.load(Ordering::Relaxed), 1);
        queue.close();
        // What is there at the end can still be had.
        assert_eq!(queue.oldest().unwrap().key, "c");
        assert_eq!((queue.give_up(), counts.lost.load(Ordering::Relaxed)), (1, 2));
        assert!(queue.oldest().is_none());
    }

    #[test]
    fn pauses_end_with_the_queue() {
        let queue = Queue::new(1, Arc::default());
        assert!(!queue.pause(Duration::from_millis(1)));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queue.pause(Duration::from_secs(3600)));
            queue.close();
            assert!(waiting.join().unwrap());
        });
    }
}
