//! What the machine offers: CPU features, memory maps, a clock, and the environment variables that steer us.
//!
//! Nothing here knows about models.

pub mod clock;
#[cfg(feature = "std")]
pub mod files;
#[cfg(feature = "std")]
pub mod knobs;
#[cfg(feature = "std")]
pub mod mmap;
