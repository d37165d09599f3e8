//! Time for the statistics of a run. Without `std` there is none, and every duration reads zero.

/// A point in time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    #[cfg(feature = "std")]
    at: std::time::Instant,
}

impl Clock {
    /// Now.
    pub fn now() -> Self {
        Clock {
            #[cfg(feature = "std")]
            at: std::time::Instant::now(),
        }
    }

    /// Milliseconds since `self`, and `self` set to now.
    pub fn lap_ms(&mut self) -> f64 {
        let ms = self.elapsed_ms();
        *self = Clock::now();
        ms
    }

    /// Milliseconds since `self`.
    pub fn elapsed_ms(&self) -> f64 {
        #[cfg(feature = "std")]
        return self.at.elapsed().as_secs_f64() * 1e3;
        #[cfg(not(feature = "std"))]
        0.0
    }
}
