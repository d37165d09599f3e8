//! The block behind all regions, and its division.

#![allow(unsafe_code)]

use super::{Plan, PlannedRegion, REGION_ALIGNMENT};
use crate::error::SetupError;
use alloc::alloc::{alloc_zeroed, dealloc};
use alloc::sync::Arc;
use core::alloc::Layout;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use half::f16;

/// Types whose every bit pattern, zero included, is a value.
pub trait Element: Copy + Send + Sync + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}
macro_rules! elements {
    ($($t:ty),*) => {$(
        impl sealed::Sealed for $t {}
        impl Element for $t {}
    )*};
}
elements!(u8, i8, u32, i32, f32, f16);

/// Zeroed memory, aligned for every region.
pub struct Block {
    first: NonNull<u8>,
    bytes: usize,
    /// Whether `drop` gives it back to the allocator.
    owned: bool,
}

// SAFETY: the block is plain memory; regions cut from it are disjoint.
unsafe impl Send for Block {}
// SAFETY: as above; `Block` itself never reads or writes it.
unsafe impl Sync for Block {}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} bytes)", self.bytes)
    }
}

impl Block {
    /// Takes `bytes` from the allocator.
    ///
    /// # Errors
    /// [`SetupError::OutOfMemory`] if it has not that many.
    pub fn allocate(bytes: usize) -> Result<Self, SetupError> {
        let layout = Layout::from_size_align(bytes.max(1), REGION_ALIGNMENT).ok();
        // SAFETY: the layout's size is not zero.
        let first = layout.and_then(|layout| NonNull::new(unsafe { alloc_zeroed(layout) }));
        match first {
            Some(first) => Ok(Block { first, bytes, owned: true }),
            None => Err(SetupError::OutOfMemory { needed: bytes }),
        }
    }

    /// Uses the caller's memory, which is set to zero.
    pub fn borrow(memory: &'static mut [u8]) -> Self {
        memory.fill(0);
        let skip = memory.as_ptr().align_offset(REGION_ALIGNMENT).min(memory.len());
        let memory = &mut memory[skip..];
        Block { first: NonNull::from(&mut *memory).cast(), bytes: memory.len(), owned: false }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.owned {
            // SAFETY: `allocate` got it with this very layout, which was valid then; and no region is left, because
            // each keeps the block alive.
            unsafe {
                let layout = Layout::from_size_align_unchecked(self.bytes.max(1), REGION_ALIGNMENT);
                dealloc(self.first.as_ptr(), layout);
            }
        }
    }
}

/// A slice of a block's memory, owned by whoever holds it.
pub struct Region<T> {
    first: NonNull<T>,
    len: usize,
    /// Keeps the memory; `None` for an empty region.
    _block: Option<Arc<Block>>,
    owns: PhantomData<T>,
}

// SAFETY: a region is an exclusive slice (see `Carver::region`) of elements that may move between threads.
unsafe impl<T: Element> Send for Region<T> {}
// SAFETY: shared access reads only.
unsafe impl<T: Element> Sync for Region<T> {}

impl<T: Element> Deref for Region<T> {
    type Target = [T];
    #[allow(clippy::disallowed_methods)]
    fn deref(&self) -> &[T] {
        // SAFETY: `Carver::region` cut `len` aligned, zeroed elements out of a block that `_block` keeps alive.
        unsafe { core::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T: Element> DerefMut for Region<T> {
    #[allow(clippy::disallowed_methods)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`, and no other region overlaps this one.
        unsafe { core::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

impl<T> fmt::Debug for Region<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({})", self.len)
    }
}

/// Divides a block, or measures how large it has to be.
#[derive(Debug)]
pub struct Carver {
    block: Option<Arc<Block>>,
    next: usize,
    plan: Plan,
}

impl Carver {
    /// Hands out empty regions and only takes notes.
    pub fn measuring() -> Self {
        Carver { block: None, next: 0, plan: Plan::default() }
    }

    /// Hands out regions of `block`.
    ///
    /// # Errors
    /// [`SetupError::Memory`] if it is smaller than `plan`.
    pub fn cutting(block: Block, plan: &Plan) -> Result<Self, SetupError> {
        if block.bytes < plan.bytes() {
            return Err(SetupError::Memory { needed: plan.bytes(), found: block.bytes });
        }
        Ok(Carver { block: Some(Arc::new(block)), ..Self::measuring() })
    }

    /// The next `len` elements, all zero.
    ///
    /// # Panics
    /// If the block ends before they do: the measuring pass took another path.
    pub fn region<T: Element>(&mut self, name: &'static str, len: usize) -> Region<T> {
        let bytes = len * size_of::<T>();
        self.plan.regions.push(PlannedRegion { name, bytes });
        let Some(block) = &self.block else {
            return Region { first: NonNull::dangling(), len: 0, _block: None, owns: PhantomData };
        };
        assert!(self.next + bytes <= block.bytes, "region {name} lies outside the plan");
        // SAFETY: inside the block (checked above); `next` only grows, so no two regions overlap; it is a multiple
        // of the region alignment, as the block's start is, and that suffices for every element type.
        let first = unsafe { block.first.add(self.next).cast() };
        self.next += bytes.next_multiple_of(REGION_ALIGNMENT);
        Region { first, len, _block: Some(block.clone()), owns: PhantomData }
    }

    /// What was handed out.
    pub fn into_plan(self) -> Plan {
        self.plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carve(c: &mut Carver) -> (Region<u8>, Region<f32>, Region<f16>) {
        (c.region("a", 3), c.region("b", 5), c.region("c", 7))
    }

    #[test]
    fn regions_are_aligned_zero_disjoint_and_outlive_the_carver() {
        let mut c = Carver::measuring();
        carve(&mut c);
        let plan = c.into_plan();
        assert_eq!(plan.bytes(), 3 * REGION_ALIGNMENT);
        let mut c = Carver::cutting(Block::allocate(plan.bytes()).unwrap(), &plan).unwrap();
        let (mut a, mut b, z) = carve(&mut c);
        assert_eq!(c.into_plan(), plan);
        a.fill(255);
        b.fill(1.5);
        assert_eq!(*a, [255; 3]);
        assert_eq!(*b, [1.5; 5]);
        assert!(z.iter().all(|v| v.to_bits() == 0));
        assert_eq!(b.as_ptr() as usize % REGION_ALIGNMENT, 0);
    }

    #[test]
    fn more_memory_than_there_is_is_refused() {
        for bytes in [usize::MAX, isize::MAX as usize - REGION_ALIGNMENT] {
            assert!(matches!(Block::allocate(bytes), Err(SetupError::OutOfMemory { .. })));
        }
    }

    #[test]
    fn a_block_that_is_too_small_is_refused() {
        let mut c = Carver::measuring();
        carve(&mut c);
        let plan = c.into_plan();
        let memory = alloc::vec![1u8; plan.bytes() - 1].leak();
        assert!(matches!(Carver::cutting(Block::borrow(memory), &plan), Err(SetupError::Memory { .. })));
    }
}
