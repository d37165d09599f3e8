//! Displays: a view of a picture and what was found in it, on any target of `embedded-graphics`, and the framebuffers
//! of Linux as such targets.

#[cfg(target_os = "linux")]
pub mod framebuffer;
mod view;

pub use view::View;
