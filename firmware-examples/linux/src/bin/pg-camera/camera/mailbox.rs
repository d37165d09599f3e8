//! The newest picture of a camera, until the model has time for it.

use pg_targets::camera::FrameBuffer;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One slot: a newer picture takes the place of an older one that nobody has fetched.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    slot: Mutex<Slot>,
    taken: Condvar,
}

#[derive(Debug, Default)]
struct Slot {
    frame: FrameBuffer,
    letter: Option<Letter>,
    /// Pictures that were replaced since the last that was fetched.
    dropped: u64,
}

/// What comes with a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Letter {
    /// What it belongs to.
    pub(crate) incident: u64,
    /// Its number among the source's pictures.
    pub(crate) seq: u64,
    /// Whether somebody asked for a look.
    pub(crate) is_forced: bool,
}

impl Mailbox {
    /// Puts a picture in, by changing buffers with the caller. Tells whether another was replaced.
    pub(crate) fn put(&self, frame: &mut FrameBuffer, letter: Letter) -> bool {
        let mut slot = self.slot();
        std::mem::swap(&mut slot.frame, frame);
        let replaced = slot.letter.replace(letter);
        if let Some(old) = replaced {
            slot.dropped += 1;
            // Whoever asked for a look gets one.
            if let Some(letter) = &mut slot.letter {
                letter.is_forced |= old.is_forced;
            }
        }
        replaced.is_some()
    }

    /// Fetches the picture, by changing buffers with the caller, and tells how many were replaced before it.
    pub(crate) fn take(&self, into: &mut FrameBuffer) -> Option<(Letter, u64)> {
        let mut slot = self.slot();
        let letter = slot.letter.take()?;
        std::mem::swap(&mut slot.frame, into);
        let dropped = std::mem::take(&mut slot.dropped);
        drop(slot);
        self.taken.notify_all();
        Some((letter, dropped))
    }

    pub(crate) fn is_full(&self) -> bool {
        self.slot().letter.is_some()
    }

    /// Whether the picture in it was asked for.
    pub(crate) fn is_forced(&self) -> bool {
        self.slot().letter.is_some_and(|letter| letter.is_forced)
    }

    /// Forgets the picture: the camera was switched off.
    pub(crate) fn clear(&self) {
        self.slot().letter = None;
        self.taken.notify_all();
    }

    /// Waits until it is empty, at most so long; tells whether it is.
    pub(crate) fn wait_empty(&self, limit: Duration) -> bool {
        let slot = self.slot();
        let waited = self.taken.wait_timeout_while(slot, limit, |slot| slot.letter.is_some());
        let slot = waited.unwrap_or_else(PoisonError::into_inner).0;
        slot.letter.is_none()
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(seq: u64) -> Letter {
        Letter { incident: 1, seq, is_forced: false }
    }

    #[test]
    fn the_newest_picture_wins_and_losses_are_counted() {
        let mailbox = Mailbox::default();
        let mut frame = FrameBuffer::default();
        assert!(mailbox.take(&mut frame).is_none() && !mailbox.is_full());
        assert!(!mailbox.put(&mut frame, letter(1)));
        assert!(mailbox.put(&mut frame, Letter { is_forced: true, ..letter(2) }));
        assert!(mailbox.put(&mut frame, letter(3)));
        // A look that was asked for is not lost with the picture.
        assert_eq!(mailbox.take(&mut frame), Some((Letter { is_forced: true, ..letter(3) }, 2)));
        assert!(mailbox.take(&mut frame).is_none());
        mailbox.put(&mut frame, letter(4));
        assert_eq!(mailbox.take(&mut frame), Some((letter(4), 0)));
    }

    #[test]
    fn buffers_go_round_and_none_is_made() {
        let mailbox = Mailbox::default();
        let (mut ours, mut theirs) = (FrameBuffer::default(), FrameBuffer::default());
        let mut seen = std::collections::BTreeSet::new();
        for seq in 0..30 {
            ours.reset(8, 4);
            seen.insert(ours.data().as_ptr() as usize);
            mailbox.put(&mut ours, letter(seq));
            mailbox.take(&mut theirs);
        }
        assert!(seen.len() <= 3, "{} buffers", seen.len());
    }

    #[test]
    fn a_source_can_wait_for_its_picture_to_be_fetched() {
        let mailbox = Mailbox::default();
        let mut frame = FrameBuffer::default();
        mailbox.put(&mut frame, letter(1));
        assert!(!mailbox.wait_empty(Duration::from_millis(1)));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| mailbox.wait_empty(Duration::from_secs(60)));
            let mut other = FrameBuffer::default();
            mailbox.take(&mut other);
            assert!(waiting.join().unwrap());
        });
    }
}
