//! The newest events, for any number of readers, none of whom can hold up another or the cameras.
//!
//! Each reader keeps the number of the last event that it has seen. Who falls behind by more than the log holds loses its
//! own oldest events, and is told how many.

use crate::event::Event;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The newest events, in order.
#[derive(Debug)]
pub(crate) struct Log {
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
}

#[derive(Debug)]
struct Ring {
    events: VecDeque<Arc<Event>>,
    /// Events kept.
    room: usize,
    /// Number of the next event.
    next: u64,
}

/// What a reader has not seen yet.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) events: Vec<Arc<Event>>,
    /// Events that went before the reader came to them.
    pub(crate) lost: u64,
}

/// Events that keep their pictures. Those are large: older events go without.
const ROOM_PICTURES: usize = 32;

impl Log {
    /// Room for so many events.
    pub(crate) fn new(room: usize) -> Self {
        let ring = Ring { events: VecDeque::with_capacity(room), room, next: 1 };
        Log { ring: Mutex::new(ring), newest: watch::Sender::new(0) }
    }

    /// Adds an event and returns its number.
    pub(crate) fn push(&self, mut event: Event) -> u64 {
        let mut ring = self.ring();
        let seq = ring.next;
        event.seq = seq;
        ring.next += 1;
        if ring.events.len() == ring.room {
            ring.events.pop_front();
        }
        ring.events.push_back(Arc::new(event));
        let older = ring.events.len().checked_sub(ROOM_PICTURES + 1);
        if let Some(event) = older.and_then(|i| ring.events.get_mut(i))
            && event.picture.is_some()
        {
            let mut without = Event::clone(event);
            without.picture = None;
            *event = Arc::new(without);
        }
        drop(ring);
        self.newest.send_replace(seq);
        seq
    }

    /// At most `most` events after number `seen`.
    pub(crate) fn after(&self, seen: u64, most: usize) -> Batch {
        let ring = self.ring();
        let oldest = ring.next - ring.events.len() as u64;
        // A reader from before a restart may have seen more than there is.
        let from = if seen >= ring.next { oldest } else { (seen + 1).max(oldest) };
        let lost = from.saturating_sub(seen.saturating_add(1));
        let events = ring.events.range((from - oldest) as usize..).take(most).cloned().collect();
        Batch { events, lost }
    }

    /// The newest events' number, 0 before the first.
    pub(crate) fn newest(&self) -> u64 {
        *self.newest.borrow()
    }

    /// Wakes a reader at every event.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        // Nothing that holds the lock can panic half-way through a change.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;

    fn event() -> Event {
        let mut event = Event::new(Kind::Motion, &"door".into(), "1".into(), "now".into());
        event.picture = Some(Arc::new(vec![1]));
        event
    }

    fn numbers(batch: &Batch) -> Vec<u64> {
        batch.events.iter().map(|e| e.seq).collect()
    }

    #[test]
    fn readers_go_on_where_they_stopped() {
        let log = Log::new(4);
        assert!(log.after(0, 9).events.is_empty());
        for _ in 0..3 {
            log.push(event());
        }
        assert_eq!(numbers(&log.after(0, 9)), [1, 2, 3]);
        assert_eq!(numbers(&log.after(0, 2)), [1, 2]);
        assert_eq!(numbers(&log.after(2, 9)), [3]);
        assert!(log.after(3, 9).events.is_empty());
        assert_eq!(log.newest(), 3);
    }

    #[test]
    fn slow_readers_lose_their_oldest_and_know_how_many() {
        let log = Log::new(4);
        for _ in 0..10 {
            log.push(event());
        }
        let batch = log.after(2, 9);
        assert_eq!((numbers(&batch), batch.lost), (vec![7, 8, 9, 10], 4));
        // From another life of the program.
        let batch = log.after(500, 9);
        assert_eq!((numbers(&batch), batch.lost), (vec![7, 8, 9, 10], 0));
    }

    #[test]
    fn old_events_go_without_their_pictures() {
        let log = Log::new(100);
        for _ in 0..ROOM_PICTURES + 5 {
            log.push(event());
        }
        let with = log.after(0, 1000).events.iter().filter(|e| e.picture.is_some()).count();
        assert_eq!(with, ROOM_PICTURES);
    }
}
