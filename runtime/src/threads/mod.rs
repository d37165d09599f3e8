//! A fixed team of threads, and how a piece of work is divided among them: into parts decided beforehand, which members
//! have assigned to them or take as they become free. What a part is never depends on timing, who works on it may.
//!
//! The calling thread is member 0. Between two pieces of work the others spin for a short while, then sleep;
//! nothing is allocated or locked after [`Team::new`].
//!
//! Not here: work stealing, queues that grow, anything that makes a result depend on timing.

#![allow(unsafe_code)]

pub mod partition;
mod pile;
#[cfg(feature = "std")]
mod team;

pub use pile::Pile;
#[cfg(feature = "std")]
pub use team::Team;

/// Most members that a team may have.
pub const MAX_THREADS: usize = 32;

/// A team of one, for machines without threads.
#[cfg(not(feature = "std"))]
#[derive(Debug)]
pub struct Team(());

#[cfg(not(feature = "std"))]
impl Team {
    /// A team of one, whatever is asked for.
    ///
    /// # Errors
    /// None; the signature is that of the team with threads.
    pub fn new(_n: usize) -> Result<Self, crate::error::SetupError> {
        Ok(Team(()))
    }

    /// Number of members.
    pub fn size(&self) -> usize {
        1
    }

    /// Runs `job(i, &mut parts[i])` for every part.
    pub fn each<P: Send>(&mut self, parts: &mut [P], job: impl Fn(usize, &mut P) + Sync) {
        for (i, part) in parts.iter_mut().enumerate() {
            job(i, part);
        }
    }
}
