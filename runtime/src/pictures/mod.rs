//! Picture files in, annotated picture files out: what every program around the runtime needs.
//!
//! Behind the feature `pictures`, because decoders are large and read untrusted bytes: a firmware that takes plain
//! frames from a camera leaves them out. The runtime itself takes pixels ([`crate::Frame`]).
//!
//! Not here: cameras and displays.

mod annotate;
mod file;

pub use annotate::{Label, draw, paint};
pub use file::{Picture, decode_jpeg, load};
