//! What the machine offers: CPU features, memory maps, a clock, the environment variables that steer us, a line on a
//! terminal.
//!
//! Nothing here knows about models.

pub mod clock;
#[cfg(feature = "std")]
pub mod files;
#[cfg(feature = "std")]
pub mod knobs;
#[cfg(feature = "std")]
pub mod mmap;
#[cfg(feature = "std")]
pub mod status_line;
