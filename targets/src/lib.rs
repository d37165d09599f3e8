//! What is around the runtime on a device: boards as data, cameras, displays.
//!
//! Nothing here knows tokens, weights or protocols, and nothing in the runtime knows this crate.

pub mod camera;
pub mod display;
#[cfg(target_os = "linux")]
mod ioctl;
