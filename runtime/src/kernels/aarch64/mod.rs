//! Kernel tables for 64-bit ARM, one file per extension. All take their floats from `neon`, which every such processor
//! has; its integer products are in `neon_integer`, and in the files of the instructions that were made for them.

mod dotprod;
mod i8mm;
mod interleaved;
mod neon;
mod neon_integer;
mod peak;

use super::Kernels;

/// The tables that run on this machine, the best one last.
pub(super) fn detect() -> impl Iterator<Item = &'static Kernels> {
    [Some(&neon::KERNELS), dotprod::detect(), i8mm::detect()].into_iter().flatten()
}

/// Whether this CPU has an extension. Without the standard library, whether every CPU has that the program is for.
macro_rules! has {
    ($feature:tt) => {{
        #[cfg(feature = "std")]
        let has = std::arch::is_aarch64_feature_detected!($feature);
        #[cfg(not(feature = "std"))]
        let has = cfg!(target_feature = $feature);
        has
    }};
}
use has;
