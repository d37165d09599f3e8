//! Runs quantized PaliGemma on small CPUs.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod error;
pub mod format;
pub mod kernels;
pub mod memory;
pub mod model;
pub mod platform;
pub mod threads;

pub use error::Error;
