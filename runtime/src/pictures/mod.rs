//! Picture files in, annotated picture files out: what every program around the runtime needs.
//!
//! Behind the feature `pictures`, because decoders are large and read untrusted bytes: a firmware that takes frames
//! from a camera leaves them out. The runtime itself takes pixels ([`crate::Frame`]).
//!
//! Not here: cameras and displays.

mod annotate;
mod file;

pub use annotate::{Label, draw};
pub use file::{Picture, load};
