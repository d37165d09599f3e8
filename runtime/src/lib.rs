//! Runs quantized PaliGemma on small CPUs.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod error;
pub mod imaging;

pub use error::Error;
