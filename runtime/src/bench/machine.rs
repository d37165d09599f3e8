//! Peaks of the machine: integer multiplications on registers, and reading memory from one end to the other.

use crate::error::Error;
use crate::kernels::{Kernels, Operands, Peak};
use crate::platform::clock::Clock;
use crate::platform::machine;
use crate::platform::mmap::{self, Anonymous, Pages};
use crate::threads::Team;
use crate::threads::partition::share;
use alloc::vec;
use alloc::vec::Vec;
use std::io::Read;
use std::path::Path;
use zerocopy::FromBytes;

/// Bytes that are streamed: more than any cache holds.
const STREAM: u64 = 1 << 30;
/// The same for a quick look.
const QUICK_STREAM: u64 = 64 << 20;
/// Bytes of the model file that are read to see how long all of it would take.
const SAMPLE: u64 = 256 << 20;

/// What one round of a multiplication loop should take, in milliseconds.
const PEAK_MS: f64 = 60.0;
const QUICK_PEAK_MS: f64 = 4.0;
/// Rounds here for one of a stage: what a machine can do shows only while it does nothing else.
const ROUNDS: usize = 3;

/// What was measured, with all threads at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// 10^9 multiplications a second of full-range 8-bit operands: the best loop of the table in use.
    pub int8: Rate,
    /// The same for 4-bit weights with 8-bit activations.
    pub int4: Rate,
    /// 10^9 bytes a second out of the smallest pages.
    pub read_4k: f64,
    /// 10^9 bytes a second out of huge pages; as `read_4k` where the system gives none.
    pub read_huge: f64,
    /// Bytes that were streamed, for each kind of pages.
    pub stream_bytes: u64,
    /// Bytes of those meant to be in huge pages that were; `None` where the system does not say.
    pub huge_bytes: Option<u64>,
    /// Seconds that copying the model's file into huge pages would take, as it lies in the system's cache now.
    pub copy_seconds: f64,
}

/// A peak and the instruction that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// 10^9 a second.
    pub giga: f64,
    /// As the kernel table calls it.
    pub name: &'static str,
}

/// Measures on `threads` threads and keeps the best of three times `rounds`; one round is one quick look. `file` is the model's;
/// `progress` is told what is being measured.
///
/// # Errors
/// If a thread or memory cannot be had, or the file cannot be read.
pub fn measure(
    kernels: &'static Kernels,
    threads: usize,
    rounds: usize,
    file: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Machine, Error> {
    let mut team = Team::new(threads)?;
    let is_quick = rounds < 2;
    progress("measuring the machine: multiplications …");
    let ms = if is_quick { QUICK_PEAK_MS } else { PEAK_MS };
    let rounds = if is_quick { 1 } else { rounds * ROUNDS };
    let mut best = |wanted| best_peak(kernels, wanted, &mut team, rounds, ms);
    let (int8, int4) = (best(Operands::Int8), best(Operands::Int4));

    // A small machine keeps most of its memory for the model.
    let room = machine::available().map_or(STREAM, |a| a.bytes() / 4);
    let stream_bytes = room.min(if is_quick { QUICK_STREAM } else { STREAM });
    let mut read = |pages, what| -> Result<_, Error> {
        progress(what);
        let memory = fill(stream_bytes as usize, pages, &mut team).map_err(|e| in_memory(&e))?;
        let huge_bytes = mmap::huge_bytes(&memory);
        Ok((best_read(&memory, &mut team, rounds), huge_bytes, memory))
    };
    let (read_4k, ..) = read(Pages::Small, "measuring the machine: reading small pages …")?;
    let (read_huge, huge_bytes, mut memory) =
        read(Pages::Huge, "measuring the machine: reading huge pages …")?;
    let copy_seconds = copy_seconds(file, &mut memory)?;
    Ok(Machine { int8, int4, read_4k, read_huge, stream_bytes, huge_bytes, copy_seconds })
}

fn in_memory(e: &std::io::Error) -> Error {
    Error::Io { path: "memory to measure with".into(), reason: alloc::format!("{e}") }
}

fn best_peak(kernels: &'static Kernels, wanted: Operands, team: &mut Team, rounds: usize, ms: f64) -> Rate {
    let loops = kernels.peaks().iter().filter(|p| p.operands() == wanted);
    let rates = loops.map(|peak| {
        let passes = passes(peak, ms);
        let giga = (0..rounds.max(1)).map(|_| peak_rate(peak, passes, team)).fold(0.0, f64::max);
        Rate { giga, name: peak.name() }
    });
    rates.max_by(|a, b| a.giga.total_cmp(&b.giga)).expect("every table has a loop for every kind")
}

/// Passes that take about `ms` milliseconds.
fn passes(peak: &Peak, ms: f64) -> u64 {
    let mut passes = 1_000;
    loop {
        let clock = Clock::now();
        peak.run(passes);
        let took = clock.elapsed_ms();
        if took >= ms / 4.0 {
            return (passes as f64 * ms / took) as u64;
        }
        passes *= 2;
    }
}

fn peak_rate(peak: &Peak, passes: u64, team: &mut Team) -> f64 {
    let mut macs = vec![0u64; team.size()];
    let clock = Clock::now();
    team.each(&mut macs, |_, macs| *macs = peak.run(passes));
    macs.iter().sum::<u64>() as f64 / clock.elapsed_ms() / 1e6
}

/// Memory of one kind of pages, every one of which was written.
fn fill(bytes: usize, pages: Pages, team: &mut Team) -> std::io::Result<Anonymous> {
    // Whole lines for every member.
    let mut memory = Anonymous::new(bytes / 4096 * 4096, pages)?;
    let each = memory.len().div_ceil(team.size()).next_multiple_of(4096).max(4096);
    let mut parts: Vec<&mut [u8]> = memory.chunks_mut(each).collect();
    team.each(&mut parts, |_, part| part.fill(1));
    Ok(memory)
}

fn best_read(memory: &[u8], team: &mut Team, rounds: usize) -> f64 {
    let words = <[u64]>::ref_from_bytes(memory).expect("pages are whole and aligned");
    let members = team.size();
    let mut sums = vec![0u64; members];
    let rates = (0..rounds.max(1)).map(|_| {
        let clock = Clock::now();
        team.each(&mut sums, |i, sum| *sum = stream(&words[share(words.len(), members, 64, i)]));
        core::hint::black_box(&sums);
        memory.len() as f64 / clock.elapsed_ms() / 1e6
    });
    rates.fold(0.0, f64::max)
}

/// Reads everything once; several sums side by side, so that none is waited for.
fn stream(words: &[u64]) -> u64 {
    let mut sums = [0u64; 32];
    for line in words.as_chunks::<32>().0 {
        for (sum, word) in sums.iter_mut().zip(line) {
            *sum ^= word;
        }
    }
    sums.into_iter().fold(0, |a, b| a ^ b)
}

fn copy_seconds(path: &Path, memory: &mut [u8]) -> Result<f64, Error> {
    let (file, bytes) = mmap::open(path)?;
    let sample = (memory.len() as u64).min(bytes).min(SAMPLE) as usize;
    let clock = Clock::now();
    let read = file.take(sample as u64).read(&mut memory[..sample]);
    let read =
        read.map_err(|e| Error::Io { path: path.display().to_string(), reason: alloc::format!("{e}") })?;
    Ok(clock.elapsed_ms() / 1e3 * bytes as f64 / read.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_are_read() {
        let words: Vec<u64> = (0..64).map(|i| 1 << i).collect();
        assert_eq!(stream(&words), u64::MAX);
    }

    #[test]
    fn a_quick_look_measures_everything() {
        let file = std::env::temp_dir().join(alloc::format!("pg-machine-{}", std::process::id()));
        std::fs::write(&file, vec![0; 100_000]).unwrap();
        for threads in [1, 3] {
            let m = measure(Kernels::detect(), threads, 1, &file, &mut |_| ()).unwrap();
            let rates = [m.int8.giga, m.int4.giga, m.read_4k, m.read_huge, m.copy_seconds];
            assert!(rates.iter().all(|r| *r > 0.0 && r.is_finite()), "{m:?}");
            assert!(m.stream_bytes > 0 && m.stream_bytes <= QUICK_STREAM);
        }
        std::fs::remove_file(&file).unwrap();
    }
}
