//! The session's working memory: one aligned block, cut into named regions before the first picture.
//!
//! [`Carver`] runs twice over the same code: once to measure, once to hand the regions out. So the plan that is
//! printed and the plan that is used cannot differ.
//!
//! Not here: what the regions are for; sizes come from the callers.

mod arena;
#[cfg(feature = "std")]
mod needs;

pub use arena::{Block, Carver, Element, Region};
#[cfg(feature = "std")]
pub use needs::{Needs, Verdict};

use alloc::vec::Vec;

/// Every region starts at a multiple of this many bytes (what tract's panels ask for).
pub const REGION_ALIGNMENT: usize = 256;

/// One region of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedRegion {
    /// What it is for, such as `vision.residual`.
    pub name: &'static str,
    /// Its size without padding.
    pub bytes: usize,
}

/// All regions, in the order in which they lie in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The regions.
    pub regions: Vec<PlannedRegion>,
}

impl Plan {
    /// Bytes of the whole block.
    pub fn bytes(&self) -> usize {
        self.regions.iter().map(|r| r.bytes.next_multiple_of(REGION_ALIGNMENT)).sum()
    }
}
