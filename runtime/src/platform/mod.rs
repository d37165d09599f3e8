//! What the machine offers: memory and maps, a clock, the environment variables that steer us, a line on a terminal.
//!
//! Nothing here knows about models.

pub mod clock;
#[cfg(feature = "std")]
pub mod files;
#[cfg(feature = "std")]
pub mod knobs;
#[cfg(feature = "std")]
pub mod machine;
#[cfg(feature = "std")]
pub mod mmap;
pub mod sizes;
#[cfg(feature = "std")]
pub mod status_line;
