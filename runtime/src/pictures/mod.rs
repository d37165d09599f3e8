//! Picture files in, boxes and labels on pictures out: what every program around the runtime needs.
//!
//! Behind features, because decoders are large and read untrusted bytes: `labels` is what draws, on anything and without
//! `std`; `pictures` adds files. A firmware that takes frames from a camera leaves that one out. The runtime itself takes
//! pixels ([`crate::Frame`]).
//!
//! Not here: cameras and displays.

#[cfg(feature = "pictures")]
mod annotate;
#[cfg(feature = "pictures")]
mod file;
#[cfg(feature = "pictures")]
mod jpeg;
mod labels;

#[cfg(feature = "pictures")]
pub use annotate::draw;
#[cfg(feature = "pictures")]
pub use file::{Caps, Picture, decode, decode_jpeg, decode_within, load};
#[cfg(feature = "pictures")]
pub use jpeg::{JpegHeaders, with_usual_codes};
pub use labels::{Label, paint};
