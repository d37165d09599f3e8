//! How long the stages of a run should take on a board, from its vendor's figures: an estimate, until somebody measures.
//!
//! vision, prefill: multiplications / (sum of cores x clock x multiplications per cycle)
//! a token: the longer of that, and bytes read / bandwidth of the memory

use super::Profile;
use pg_runtime::KvPrecision;
use pg_runtime::bench::work;
use pg_runtime::model::Header;

/// Tokens before a decoded one.
const DEPTH: usize = 300;
/// Tokens of a prompt.
const PROMPT: usize = 8;

/// What a time was computed from.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Its name.
    pub name: &'static str,
    /// Its value with the unit.
    pub value: String,
}

/// Times and speeds; `None` where an input is missing.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Of the vision tower and the projector, in seconds.
    pub vision_s: Option<f64>,
    /// Of a picture and a short prompt, in seconds.
    pub prefill_s: Option<f64>,
    /// Rows of that prefix.
    pub prefill_tokens: usize,
    /// Of decoding, at most: what the memory delivers, and what the cores multiply where that is known.
    pub tokens_per_s: Option<f64>,
    /// What sets that speed: `memory` or `cores`.
    pub bound: &'static str,
    /// What all this was computed from.
    pub inputs: Vec<Input>,
}

impl Estimate {
    /// The estimate for a model on a board with all of its cores.
    pub fn of(profile: &Profile, model: &Header) -> Self {
        let c = model.config();
        let prefill_tokens = c.vision.n_patches() + PROMPT;
        let cycles: Option<f64> =
            profile.cores.iter().map(|c| Some(c.count as f64 * c.clock_ghz? * 1e9)).sum();
        let cycles = cycles.filter(|c| *c > 0.0);
        let rates = profile.macs_per_cycle;
        let seconds = |macs: u64, rate: Option<f64>| Some(macs as f64 / (cycles? * rate?));
        let step = seconds(work::step(&c.text, DEPTH).total(), rates.map(|r| r.decode));
        let bytes = work::bytes_per_token(model, DEPTH, KvPrecision::F16);
        let read = profile.bandwidth_gb_s.map(|gb| bytes as f64 / (gb * 1e9));
        let bound = if step > read { "cores" } else { "memory" };
        // Without the memory's figure there is no bound to speak of.
        let token = read.map(|read| step.map_or(read, |step| step.max(read)));

        let mut inputs = Vec::new();
        let mut input = |name, value: Option<String>| inputs.extend(value.map(|value| Input { name, value }));
        input("cores", (!profile.cores.is_empty()).then(|| profile.cores_text()));
        input("bandwidth", profile.bandwidth_gb_s.map(|gb| format!("{gb} GB/s (vendor)")));
        let text = |r: f64| format!("{r} multiplications a cycle and core (estimate)");
        input("vision", rates.map(|r| text(r.vision)));
        input("prefill", rates.map(|r| text(r.prefill)));
        input("decoding", rates.map(|r| text(r.decode)));
        input("read for a token", Some(pg_runtime::platform::sizes::text(bytes)));
        Estimate {
            vision_s: seconds(work::vision(&c.vision).total() + work::projector(c), rates.map(|r| r.vision)),
            prefill_s: seconds(work::prefill(&c.text, prefill_tokens).total(), rates.map(|r| r.prefill)),
            prefill_tokens,
            tokens_per_s: token.map(|s| 1.0 / s),
            bound,
            inputs,
        }
    }
}
