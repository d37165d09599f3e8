//! Steps that both transformers are made of: kernels spread over the team.
//!
//! Not here: the order of steps, tensor names, what is kept between tokens.

pub mod attention;
pub mod hidden;
pub mod linear;
pub mod rope;

pub use attention::{Heads, Products, attention};
pub use hidden::{Hidden, HiddenWeights, Kinds};
pub use linear::{Activations, Input, Matrix, linear, linear_add};
pub use rope::Rope;

use crate::error::SetupError;
use crate::kernels::{FloatWork, Kernels, Panel};
use crate::memory::{Carver, Region};
use crate::threads::partition::{piece, take};
use crate::threads::{MAX_THREADS, Pile, Team};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};
use hidden::HiddenTiles;

/// Everything that computes: a kernel table, a team, and each member's private scratch memory.
#[derive(Debug)]
pub struct Exec {
    kernels: &'static Kernels,
    team: Team,
    workers: Vec<Worker>,
    /// Members that may be woken, at least one.
    in_use: usize,
    /// Jobs begun.
    steps: Arc<AtomicUsize>,
}

/// One member's private scratch memory.
#[derive(Debug)]
pub struct Worker {
    /// Room that the attention kernel asked for.
    attention: Region<f32>,
    hidden: HiddenTiles,
    tools: Tools,
}

/// What one member needs for a matrix product of any kind.
#[derive(Debug)]
struct Tools {
    panel_values: Region<u8>,
    panel_scales: Region<f32>,
    panel_sums: Region<f32>,
    /// Tools and packed operands of float products.
    float: FloatWork,
    /// Room that `float` asked for.
    float_buffer: Region<f32>,
}

/// Multiplications that make it worth to wake another member: some microseconds of work.
const MEMBER_WORK: usize = 100_000;
/// Most pieces that a job is cut into: with few members, more rounds than any job has.
const MAX_PIECES: usize = 2 * MAX_THREADS;
/// What one value of a norm, a GELU or a rotation costs, in multiplications of a matrix product.
const ROW_STEP_WORK: usize = 8;

/// How much scratch memory each member needs.
#[derive(Debug, Clone, Copy)]
pub struct WorkerSizes {
    /// Most rows of activations at a time.
    pub n_rows: usize,
    /// Most keys that one query meets.
    pub n_keys: usize,
    /// Widths of the heads: of vision, of the decoder.
    pub d_heads: [usize; 2],
    /// Longest row of a float matrix; 0 if all are quantized.
    pub k_float: usize,
}

impl Worker {
    /// Takes one member's memory from `carver`.
    pub fn carve(carver: &mut Carver, kernels: &'static Kernels, sizes: WorkerSizes) -> Self {
        let float_len = if sizes.k_float > 0 { kernels.float_buffer_len(sizes.k_float) } else { 0 };
        // Narrower heads may get larger tiles.
        let attention = sizes.d_heads.map(|d| kernels.attend_room(d, sizes.n_keys)).into_iter().max();
        let attention = attention.unwrap_or(0);
        Worker {
            attention: carver.region("worker.attention", attention),
            hidden: HiddenTiles::carve(carver, sizes.n_rows),
            tools: Tools {
                panel_values: carver.region("worker.panel.values", Panel::VALUES),
                panel_scales: carver.region("worker.panel.scales", Panel::SCALES),
                panel_sums: carver.region("worker.panel.sums", Panel::SUMS),
                float: kernels.float_work(),
                float_buffer: carver.region("worker.float_panels", float_len),
            },
        }
    }
}

impl Tools {
    fn panel(&mut self) -> Panel<'_> {
        Panel::new(&mut self.panel_values, &mut self.panel_scales, &mut self.panel_sums)
    }
}

impl Exec {
    /// A team with one member per worker.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn new(kernels: &'static Kernels, workers: Vec<Worker>) -> Result<Self, SetupError> {
        let (team, in_use) = (Team::new(workers.len())?, workers.len());
        let mut exec = Exec { kernels, team, workers, in_use, steps: Arc::default() };
        // Every member, whether or not the first pictures will need it.
        exec.team
            .each(&mut exec.workers, |_, w| kernels.warm_up(&mut w.tools.float, &mut w.tools.float_buffer));
        Ok(exec)
    }

    /// The kernel table in use.
    pub fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.team.size()
    }

    /// Leaves work to the first `n` members only, at least one.
    pub fn use_members(&mut self, n: usize) {
        self.in_use = n.clamp(1, self.workers.len());
    }

    /// Counts the jobs begun; wraps around.
    pub fn steps(&self) -> Arc<AtomicUsize> {
        self.steps.clone()
    }

    /// Shares `n` items among the members in multiples of `unit`. `cut` is asked for each share's part, in order;
    /// `job` then works on the parts side by side. `work` is about how many multiplications there are in all: a small
    /// job is done by fewer members, because waking one costs more than it would do.
    pub fn share<P: Send>(
        &mut self,
        n: usize,
        unit: usize,
        work: usize,
        cut: impl FnMut(&Range<usize>) -> P,
        job: impl Fn(&'static Kernels, &mut Worker, Range<usize>, P) + Sync,
    ) {
        self.spread(n, unit, self.members(work), 1, cut, job);
    }

    /// As [`Exec::share`], for jobs that may be cut finer at little cost: members take their work in several pieces, the
    /// last of them small, so that one that was held up leaves more to the others. Measured with two members that read
    /// weights from memory: with equal shares one waited for the other a tenth of the time.
    pub fn balance<P: Send>(
        &mut self,
        n: usize,
        unit: usize,
        work: usize,
        cut: impl FnMut(&Range<usize>) -> P,
        job: impl Fn(&'static Kernels, &mut Worker, Range<usize>, P) + Sync,
    ) {
        let members = self.members(work);
        // Each round leaves a quarter, so that the last pieces are still worth some microseconds.
        let rounds = 1 + (work / members / MEMBER_WORK).max(1).ilog(4) as usize;
        self.spread(n, unit, members, rounds.min(MAX_PIECES / members), cut, job);
    }

    /// How many members are worth waking.
    fn members(&self, work: usize) -> usize {
        (work / MEMBER_WORK).clamp(1, self.in_use)
    }

    fn spread<P: Send>(
        &mut self,
        n: usize,
        unit: usize,
        members: usize,
        rounds: usize,
        mut cut: impl FnMut(&Range<usize>) -> P,
        job: impl Fn(&'static Kernels, &mut Worker, Range<usize>, P) + Sync,
    ) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        let kernels = self.kernels;
        let mut pieces: [Option<(Range<usize>, P)>; MAX_PIECES] = [const { None }; MAX_PIECES];
        let pieces = &mut pieces[..members * rounds];
        for (i, place) in pieces.iter_mut().enumerate() {
            let range = piece(n, members, rounds, unit, i);
            let part = cut(&range);
            *place = Some((range, part));
        }
        let pile = Pile::new(pieces);
        self.team.each(&mut self.workers[..members], |_, worker| {
            while let Some(piece) = pile.take() {
                if let Some((range, part)) = piece.take()
                    && !range.is_empty()
                {
                    job(kernels, worker, range, part);
                }
            }
        });
    }

    /// Runs `job(kernels, t, row)` for every row of `out`, which is `[n, width]`.
    pub fn rows(
        &mut self,
        out: &mut [f32],
        width: usize,
        job: impl Fn(&'static Kernels, usize, &mut [f32]) + Sync,
    ) {
        let mut rest = &mut *out;
        let n = rest.len() / width;
        self.share(
            n,
            1,
            n * width * ROW_STEP_WORK,
            |range| take(&mut rest, range.len() * width),
            |kernels, _, range, rows| {
                for (t, row) in range.zip(rows.chunks_exact_mut(width)) {
                    job(kernels, t, row);
                }
            },
        );
    }

    /// `x += y`, both `[n, width]`.
    pub fn add(&mut self, x: &mut [f32], y: &[f32], width: usize) {
        self.rows(x, width, |kernels, t, row| kernels.add(row, &y[t * width..][..width]));
    }
}
