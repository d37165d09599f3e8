//! What is around the runtime on a device: boards as data, the machine found, cameras, displays.
//!
//! Nothing here knows tokens, weights or protocols, and nothing in the runtime knows this crate.

pub mod boards;
pub mod camera;
pub mod display;
pub mod http_client;
#[cfg(target_os = "linux")]
mod ioctl;
pub mod machine;
mod query;
