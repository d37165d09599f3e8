//! The team on systems with threads.

use super::MAX_THREADS;
use crate::error::SetupError;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};

/// Looks at a flag this many times before sleeping: some tens of microseconds, longer than the gap between two pieces
/// of work of one layer. No longer, because on a busy machine the thread waited for may be waiting for this very core.
const SPINS: u32 = 2_000;

/// Threads that work on one job at a time.
#[derive(Debug)]
pub struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// What `epoch` grows by from job to job: more than a team has members.
const JOB: usize = MAX_THREADS + 1;

type Job<'a> = &'a (dyn Fn(usize) + Sync);

#[derive(Debug)]
struct Shared {
    /// Number of the current job times [`JOB`], and its members; changing it starts the workers among them.
    epoch: AtomicUsize,
    /// Workers that have not finished the current job.
    busy: AtomicUsize,
    panicked: AtomicBool,
    stop: AtomicBool,
    work: UnsafeCell<Option<Work>>,
}

struct Work {
    job: *const (dyn Fn(usize) + Sync),
    caller: Thread,
}

impl core::fmt::Debug for Work {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Work")
    }
}

// SAFETY: `work` is written only by `Team::run` while no worker is busy, and read by workers only between the
// epoch's release store and their own release decrement of `busy`, which `run` awaits before it returns.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `work` is never followed outside that window.
unsafe impl Send for Shared {}

impl Team {
    /// `n` members: the calling thread and `n - 1` more.
    ///
    /// # Errors
    /// [`SetupError::ThreadStart`] if the system refuses a thread.
    ///
    /// # Panics
    /// If `n` is 0 or more than [`MAX_THREADS`].
    pub fn new(n: usize) -> Result<Self, SetupError> {
        assert!((1..=MAX_THREADS).contains(&n), "{n} threads");
        let shared = Arc::new(Shared {
            epoch: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            work: UnsafeCell::new(None),
        });
        // Dropped on an error, which stops the members that were started.
        let mut team = Team { shared, workers: Vec::with_capacity(n - 1) };
        for member in 1..n {
            let shared = team.shared.clone();
            let worker = thread::Builder::new()
                .name(alloc::format!("pg-worker-{member}"))
                .spawn(move || shared.serve(member))
                .map_err(|e| SetupError::ThreadStart { member, reason: e.to_string() })?;
            team.workers.push(worker);
        }
        Ok(team)
    }

    /// Number of members.
    pub fn size(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `job(i, &mut parts[i])` for every part, each on another member, and returns when all are done.
    ///
    /// # Panics
    /// If there are more parts than members, or a member panicked.
    pub fn each<P: Send>(&mut self, parts: &mut [P], job: impl Fn(usize, &mut P) + Sync) {
        struct Parts<P>(*mut P);
        // SAFETY: every member gets another element, and `P` may move between threads.
        unsafe impl<P: Send> Sync for Parts<P> {}
        impl<P> Parts<P> {
            fn at(&self, i: usize) -> *mut P {
                self.0.wrapping_add(i)
            }
        }

        assert!(parts.len() <= self.size(), "{} parts for {} members", parts.len(), self.size());
        match parts {
            [] => return,
            [part] => return job(0, part),
            _ => {}
        }
        let n = parts.len();
        let first = Parts(parts.as_mut_ptr());
        self.run(n, &|member| {
            // SAFETY: `run` calls this for the members below `n`, the length of `parts`, each with its own number, and
            // `parts` is borrowed until it returns, which is after they are done.
            job(member, unsafe { &mut *first.at(member) });
        });
    }

    /// Runs `job` with the numbers below `members`; the other members sleep on.
    fn run(&mut self, members: usize, job: Job<'_>) {
        let workers = &self.workers[..members - 1];
        if !workers.is_empty() {
            let job: *const (dyn Fn(usize) + Sync) = job;
            // SAFETY: only the lifetime is erased; no worker follows the pointer after this function returns,
            // because it waits for all of them below. No worker is busy now, so nobody reads `work`.
            #[allow(clippy::disallowed_methods)]
            unsafe {
                let job =
                    core::mem::transmute::<*const (dyn Fn(usize) + Sync), *const (dyn Fn(usize) + Sync)>(job);
                *self.shared.work.get() = Some(Work { job, caller: thread::current() });
            }
            self.shared.busy.store(workers.len(), Ordering::Relaxed);
            self.shared.next_epoch(members);
            for w in workers {
                w.thread().unpark();
            }
        }
        // Not even a panic of this thread's share may let `job` go out of scope before the others are done.
        let wait = Wait(&self.shared);
        job(0);
        drop(wait);
        assert!(!self.shared.panicked.load(Ordering::Relaxed), "a worker thread panicked");
    }
}

struct Wait<'a>(&'a Shared);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        await_condition(|| self.0.busy.load(Ordering::Acquire) == 0);
    }
}

impl Shared {
    /// Starts a job with so many members.
    fn next_epoch(&self, members: usize) {
        // Only the thread that holds the team changes it.
        let job = self.epoch.load(Ordering::Relaxed) / JOB + 1;
        self.epoch.store(job % (usize::MAX / JOB) * JOB + members, Ordering::Release);
    }

    fn serve(&self, member: usize) {
        let mut seen = 0;
        loop {
            await_condition(|| self.epoch.load(Ordering::Acquire) != seen);
            seen = self.epoch.load(Ordering::Acquire);
            if seen % JOB <= member {
                // Not a member of this job, which may be over by now.
                continue;
            }
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            // SAFETY: this worker is a member of the job that the epoch names, so `Team::run` has set `work` and waits for
            // its decrement before there is another.
            let (job, caller) = unsafe {
                let work = (*self.work.get()).as_ref().expect("set before the epoch changes");
                (&*work.job, work.caller.clone())
            };
            let run = core::panic::AssertUnwindSafe(|| job(member));
            if std::panic::catch_unwind(run).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            if self.busy.fetch_sub(1, Ordering::Release) == 1 {
                caller.unpark();
            }
        }
    }
}

/// Returns when `done` says so: spins for a while, then sleeps until somebody calls `unpark`.
fn await_condition(done: impl Fn() -> bool) {
    for _ in 0..SPINS {
        if done() {
            return;
        }
        core::hint::spin_loop();
    }
    while !done() {
        thread::park();
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.next_epoch(self.size());
        for w in self.workers.drain(..) {
            w.thread().unpark();
            let _ = w.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_worked_on_once_by_a_member_of_its_own() {
        for n in 1..5 {
            let mut team = Team::new(n).unwrap();
            let mut parts = alloc::vec![0usize; n];
            for round in 1..200 {
                team.each(&mut parts, |i, p| *p += i + 1);
                // Fewer parts than members: the others must not miss what comes after.
                team.each(&mut parts[..n / 2 + 1], |i, p| *p += i + 1);
                if round % 50 == 0 {
                    thread::sleep(std::time::Duration::from_millis(5));
                }
            }
            let twice = |i: usize| if i <= n / 2 + 1 { 2 } else { 1 };
            assert_eq!(parts, (1..=n).map(|i| i * 199 * twice(i)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_panicking_member_is_reported_and_the_others_finish() {
        let mut team = Team::new(3).unwrap();
        let mut parts = [0, 0, 0];
        let caught = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
            team.each(&mut parts, |i, p| {
                assert!(i != 1, "on purpose");
                *p = 1;
            });
        }));
        assert!(caught.is_err());
        assert_eq!(parts, [1, 0, 1]);
    }
}
