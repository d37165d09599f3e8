//! The heap: a static array from which pieces are taken one after the other. Only the last piece can be given back or
//! grown, which is what a growing `Vec` at set-up wants; the program allocates at set-up and for the screen, then ends.

#![allow(unsafe_code)]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Size of the heap: vocabulary, plan and texts of the demo model take less than half of it.
pub(crate) const BYTES: usize = 512 << 10;

#[global_allocator]
static HEAP: Heap =
    Heap { memory: UnsafeCell::new([0; BYTES]), next: AtomicUsize::new(0), taken: AtomicUsize::new(0) };

#[repr(C, align(64))]
struct Heap {
    memory: UnsafeCell<[u8; BYTES]>,
    next: AtomicUsize,
    taken: AtomicUsize,
}

// SAFETY: one core, interrupts masked (`boot.s`): no two calls overlap.
unsafe impl Sync for Heap {}

/// Bytes taken and not given back.
pub(crate) fn used() -> usize {
    HEAP.next.load(Relaxed)
}

/// How often memory was asked for, growing included.
pub(crate) fn taken() -> usize {
    HEAP.taken.load(Relaxed)
}

impl Heap {
    /// Where a piece begins, if it is the last one.
    fn last(&self, at: *mut u8, bytes: usize) -> Option<usize> {
        let start = at as usize - self.memory.get() as usize;
        (start + bytes == self.next.load(Relaxed)).then_some(start)
    }

    /// Lets the heap's used part end at `end`; whether it has so many bytes.
    fn end_at(&self, end: Option<usize>) -> bool {
        let end = end.filter(|&end| end <= BYTES);
        end.inspect(|&end| self.next.store(end, Relaxed)).is_some()
    }
}

// SAFETY: pieces do not overlap: each begins at or after `next`, which then moves past it, and comes back only to the
// start of a piece that is given back.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.taken.fetch_add(1, Relaxed);
        let base = self.memory.get() as usize;
        let start = (base + self.next.load(Relaxed)).next_multiple_of(layout.align()) - base;
        if self.end_at(start.checked_add(layout.size())) {
            self.memory.get().cast::<u8>().wrapping_add(start)
        } else {
            ptr::null_mut()
        }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if let Some(start) = self.last(at, layout.size()) {
            self.next.store(start, Relaxed);
        }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if let Some(start) = self.last(at, layout.size()) {
            self.taken.fetch_add(1, Relaxed);
            return if self.end_at(start.checked_add(new_size)) { at } else { ptr::null_mut() };
        }
        if new_size <= layout.size() {
            return at;
        }
        // SAFETY: `new_size` is not zero, as the caller promises, and the alignment is one of a layout.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(new_size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both pieces have so many bytes, and the new one lies behind the old one.
            unsafe { ptr::copy_nonoverlapping(at, new, layout.size()) };
        }
        new
    }
}
