//! The model: a file, or the bundled one.

use crate::config::{self, Weights};
use crate::engine::{Engine, Options};
use crate::event::ModelInfo;
use pg_linux::in_file;
use pg_runtime::memory::{Needs, Plan, Verdict};
use pg_runtime::model::{Header, Placement};
use pg_runtime::platform::{knobs, machine, sizes};
use pg_runtime::threads::MAX_THREADS;
use pg_runtime::{Model, Session};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Instead of a file's path: the bundled model.
pub(crate) const DEMO: &str = "demo";

/// Alignment that a model in memory needs.
#[repr(C, align(256))]
struct Aligned<T: ?Sized>(T);

/// The demo model, packed by `pg-quantize demo --q4`; `tests/quantize` holds it beside what that writes.
static BUNDLED: &Aligned<[u8]> = &Aligned(*include_bytes!("../../../demo.q4.gguf"));

/// Opens a model for as long as the program runs.
///
/// # Errors
/// What is wrong with the file, with its name.
pub(crate) fn open(path: &Path, weights: Weights) -> Result<(&'static Model, ModelInfo), String> {
    let model = if path == Path::new(DEMO) {
        Model::from_static(&BUNDLED.0).map_err(|e| format!("the bundled model: {e}"))?
    } else {
        Model::open_in(path, placement(weights), &mut |_, _| ()).map_err(|e| in_file(path, &e))?
    };
    let info = info(model.header());
    // One for the life of the program; all threads use it.
    Ok((Box::leak(Box::new(model)), info))
}

/// What the file says before its weights begin.
///
/// # Errors
/// As [`open`].
pub(crate) fn header(path: &Path) -> Result<Header, String> {
    if path == Path::new(DEMO) {
        return Header::parse(&BUNDLED.0, BUNDLED.0.len()).map_err(|e| format!("the bundled model: {e}"));
    }
    Header::read(path).map_err(|e| in_file(path, &e))
}

fn info(header: &Header) -> ModelInfo {
    let mut bytes: BTreeMap<&'static str, u64> = BTreeMap::new();
    for t in header.tensors() {
        *bytes.entry(t.format.name()).or_default() += t.dims.iter().map(|n| *n as u64).product::<u64>();
    }
    let most = bytes.into_iter().max_by_key(|(_, n)| *n);
    ModelInfo {
        name: header.name().to_string(),
        sha256: std::sync::OnceLock::new(),
        quant: most.map_or("", |(format, _)| format),
        res: header.config().vision.image_size,
        synthetic: header.is_synthetic(),
    }
}

/// The model's file, opened before the model is: what its name leads to later may be another.
pub(crate) enum File {
    Bundled,
    Opened(std::fs::File),
}

impl File {
    /// Opens it.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        if path == Path::new(DEMO) {
            return Ok(File::Bundled);
        }
        std::fs::File::open(path).map(File::Opened).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Computes the file's SHA-256 beside everything else and tells the engine. That takes up to minutes for gigabytes on a
    /// small board: nothing waits for it, and it leaves the processor to the model.
    pub(crate) fn tell_digest(self, engine: Arc<Engine>) {
        let started = thread::Builder::new().name("pg-sha256".into()).spawn(move || {
            let shared = engine.shared();
            let rest = |worked: Duration| {
                if !shared.is_idle() {
                    thread::sleep(worked * 4);
                }
                !shared.is_stopping()
            };
            let digest = match self {
                File::Bundled => digest(&BUNDLED.0, rest),
                File::Opened(file) => digest(file, rest),
            };
            match digest {
                Ok(Some(digest)) => {
                    ::log::info!("model {}: SHA-256 {digest}", engine.info().name);
                    engine.info().sha256.get_or_init(|| digest);
                }
                Ok(None) => {}
                Err(e) => ::log::warn!("the model's file cannot be read again for its SHA-256: {e}"),
            }
        });
        if let Err(e) = started {
            ::log::warn!("the model's SHA-256 stays unknown: the system refuses a thread: {e}");
        }
    }
}

/// The SHA-256 of a file. `rest` is called after every piece with the time that it took, and may end the work.
fn digest(mut file: impl Read, rest: impl Fn(Duration) -> bool) -> io::Result<Option<String>> {
    /// Some milliseconds of work.
    const PIECE: usize = 256 << 10;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; PIECE]);
    loop {
        let begun = Instant::now();
        let n = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hash.update(&piece[..n]);
        if !rest(begun.elapsed()) {
            return Ok(None);
        }
    }
    Ok(Some(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}

const fn placement(weights: Weights) -> Placement {
    match weights {
        Weights::Mapped => Placement::Mapped,
        Weights::Huge => Placement::Huge,
    }
}

/// The session's options of a configuration.
pub(crate) fn options(runtime: &config::Runtime) -> Options {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Options {
        threads: if runtime.threads == 0 { cores } else { runtime.threads }.min(MAX_THREADS),
        kernels: runtime.kernels.clone().or_else(|| knobs::get(knobs::ISA)),
        max_prompt_tokens: runtime.max_prompt_tokens,
        max_new_tokens: runtime.max_new_tokens,
        max_side: runtime.max_side,
        max_queue: runtime.max_queue,
    }
}

/// Bytes of the pictures that are in memory at a time: those that a camera fills, offers and shows, the one being looked
/// at, those on their way to the outputs, and those of requests that wait.
pub(crate) fn picture_bytes(config: &config::Config) -> u64 {
    /// What a camera's picture takes that says nothing else of itself: 1920 x 1080 pixels.
    const PICTURE: u64 = 1920 * 1080 * 3;
    /// Reports on their way, and the one being looked at.
    const SHARED: u64 = 9;
    PICTURE * (3 * config.cameras.len() as u64 + SHARED + config.runtime.max_queue as u64)
}

/// What a configuration takes.
///
/// # Errors
/// If the session cannot be set up as asked.
pub(crate) fn needs(config: &config::Config, header: &Header) -> Result<(Needs, Plan), String> {
    let options = options(&config.runtime).session();
    let plan = Session::memory_plan(header, &options).map_err(|e| e.to_string())?;
    let file = header.file_bytes() as u64;
    let copy = if config.model.weights == Weights::Huge { file } else { 0 };
    let limit = config.runtime.memory_limit.as_deref().map(sizes::parse).transpose()?;
    let program = machine::anonymous_rss().unwrap_or(0) + picture_bytes(config);
    let needs =
        Needs { file, plan: plan.bytes() as u64, program, copy, available: machine::available(), limit };
    Ok((needs, plan))
}

/// Refuses before anything is taken what this machine has no room for, and warns of what would be very slow.
///
/// # Errors
/// The numbers.
pub(crate) fn check_memory(config: &config::Config) -> Result<(), String> {
    let (needs, _) = needs(config, &header(&config.model.path)?)?;
    match needs.complaint() {
        Some(complaint) if needs.verdict() == Verdict::Refused => Err(complaint),
        Some(complaint) => {
            ::log::warn!("{complaint}; `pg-camera plan` has the numbers");
            Ok(())
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn digests_are_those_of_sha256sum() {
        let path = std::env::temp_dir().join(format!("pg-digest-{}", std::process::id()));
        // Less than a piece, whole pieces, and the bundled model.
        let odd: Vec<u8> = (0..700_001_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        for bytes in [&b""[..], &odd, &odd[..512 << 10], &BUNDLED.0] {
            std::fs::write(&path, bytes).unwrap();
            let told = Command::new("sha256sum").arg(&path).output().unwrap();
            let told = String::from_utf8(told.stdout).unwrap();
            let own = digest(std::fs::File::open(&path).unwrap(), |_| true).unwrap();
            assert_eq!(own.as_deref(), told.split(' ').next());
        }
        assert_eq!(digest(&odd[..], |_| false).unwrap(), None, "it can be ended");
        std::fs::remove_file(&path).unwrap();
    }
}
