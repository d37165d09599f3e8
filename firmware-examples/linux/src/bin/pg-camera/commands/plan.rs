//! `plan`: what memory a configuration would take, and whether this machine has it.

use crate::{Failure, Outcome, config, models};
use pg_runtime::memory::Verdict;
use pg_runtime::platform::sizes;
use serde_json::json;
use std::io::{self, Write};
use std::path::Path;

pub(crate) fn run(path: &Path, as_json: bool) -> Result<Outcome, Failure> {
    let config = config::load(path)?;
    let header = models::header(&config.model.path)?;
    let (needs, plan) = models::needs(&config, &header)?;
    let pictures = models::picture_bytes(&config);
    let mut out = io::stdout().lock();
    if as_json {
        let regions: Vec<_> =
            plan.regions.iter().map(|r| json!({ "name": r.name, "bytes": r.bytes })).collect();
        let report = json!({
            "v": 1,
            "name": header.name(),
            "synthetic": header.is_synthetic(),
            "file_bytes": needs.file,
            "plan_bytes": needs.plan,
            "picture_bytes": pictures,
            "program_bytes": needs.program - pictures,
            "copy_bytes": needs.copy,
            "must_fit_bytes": needs.must(),
            "should_fit_bytes": needs.should(),
            "available_bytes": needs.available.map(|a| a.bytes()),
            "memory_limit_bytes": needs.limit,
            "fits": needs.verdict() != Verdict::Refused,
            "fits_with_file": needs.verdict() == Verdict::Fits,
            "regions": regions,
        });
        writeln!(out, "{report}")?;
    } else {
        let mut line = |name: &str, bytes: u64| writeln!(out, "  {name:<36} {:>10}", sizes::text(bytes));
        line("model's arena", needs.plan)?;
        line("pictures of cameras and requests", pictures)?;
        line("program and vocabulary", needs.program - pictures)?;
        if needs.copy > 0 {
            line("copy of the weights", needs.copy)?;
        }
        line("must fit", needs.must())?;
        line("should fit, with the file", needs.should())?;
        if let Some(available) = needs.available {
            line("available here", available.bytes())?;
        }
        if let Some(limit) = needs.limit {
            line("runtime.memory_limit", limit)?;
        }
        writeln!(out, "for the unit: MemoryMax={}", needs.should().next_multiple_of(1 << 20) * 5 / 4)?;
    }
    match needs.complaint() {
        Some(complaint) if needs.verdict() == Verdict::Refused => Err(complaint)?,
        _ => Ok(Outcome::Done),
    }
}
