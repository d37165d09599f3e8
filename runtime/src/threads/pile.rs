//! Parts that members take one after another, whoever is free.

use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Parts of which each is taken once.
#[derive(Debug)]
pub struct Pile<'a, P> {
    first: *mut P,
    n: usize,
    taken: AtomicUsize,
    borrow: PhantomData<&'a mut [P]>,
}

// SAFETY: a shared pile gives out nothing but exclusive borrows of elements, each to one thread, and `P` may move
// between threads.
unsafe impl<P: Send> Sync for Pile<'_, P> {}

impl<'a, P> Pile<'a, P> {
    /// All of `parts`, the first one on top.
    pub fn new(parts: &'a mut [P]) -> Self {
        Pile { first: parts.as_mut_ptr(), n: parts.len(), taken: AtomicUsize::new(0), borrow: PhantomData }
    }

    /// The next part, unless all are taken.
    pub fn take(&self) -> Option<&'a mut P> {
        let i = self.taken.fetch_add(1, Ordering::Relaxed);
        // SAFETY: `new` borrowed `n` elements exclusively for as long as the result lives, and the counter gives every
        // number to one caller only: it would take 2^64 calls to come round.
        (i < self.n).then(|| unsafe { &mut *self.first.add(i) })
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::threads::Team;

    #[test]
    fn every_part_is_taken_once() {
        for n in [0, 1, 3, 1000] {
            let mut team = Team::new(3).unwrap();
            let mut parts = alloc::vec![0u32; n];
            let mut taken = [0; 3];
            let pile = Pile::new(&mut parts);
            team.each(&mut taken, |_, taken| {
                while let Some(part) = pile.take() {
                    *part += 1;
                    *taken += 1;
                }
            });
            assert_eq!(taken.iter().sum::<usize>(), n);
            assert!(parts.iter().all(|&p| p == 1));
        }
    }
}
