//! What packing did: a table for people, one JSON object for programs.

use crate::quant::Tally;
use crate::recipe::Preset;
use pg_runtime::format::WeightFormat;
use pg_runtime::format::emit::TensorSpec;
use pg_runtime::model::names::{Part, TensorRole, Usage};
use pg_runtime::platform::sizes;
use serde_json::{Value, json};
use std::fmt;
use std::path::PathBuf;

/// The result of [`crate::pack`].
#[derive(Debug, Clone)]
pub struct Report {
    /// The file written; `None` if the model went to a writer of the caller's.
    pub output: Option<PathBuf>,
    /// What was asked for.
    pub preset: Preset,
    /// Whether the weights are random, so that nothing was lost by storing them.
    pub is_synthetic: bool,
    /// Bytes of the file.
    pub bytes: u64,
    /// Time from the first byte to the last.
    pub seconds: f64,
    /// Tensors by part of the model.
    pub groups: Vec<Group>,
}

/// Tensors that are reported together.
#[derive(Debug, Clone)]
pub struct Group {
    /// Such as "decoder".
    pub name: &'static str,
    /// How they are stored.
    pub format: WeightFormat,
    /// Number of weights, padding excluded.
    pub weights: u64,
    /// Bytes they take, padding to whole blocks included.
    pub bytes: u64,
    tally: Tally,
}

impl Group {
    /// Bits per weight, scales and padding to whole blocks included.
    pub fn bits(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.weights as f64
    }

    /// Root mean square of what storing the weights changed, relative to that of the weights themselves.
    pub fn rms_error(&self) -> f64 {
        match self.tally.squares {
            0.0 => 0.0,
            squares => (self.tally.error_squares / squares).sqrt(),
        }
    }
}

/// Adds one tensor to its group.
pub(crate) fn add_tensor(groups: &mut Vec<Group>, role: &TensorRole, spec: &TensorSpec, tally: Tally) {
    let name = match (role.usage, role.part) {
        (Usage::Values, _) => "norms and biases",
        (Usage::Matrix, Part::Vision) => "vision",
        (Usage::Matrix, Part::Projector) => "projector",
        (Usage::Matrix, Part::Embedding) => "embedding",
        (Usage::Matrix, Part::Decoder) => "decoder",
    };
    let weights = role.dims.iter().map(|&d| d as u64).product::<u64>();
    let bytes = spec.bytes() as u64;
    match groups.iter_mut().find(|g| g.name == name) {
        Some(g) => {
            g.weights += weights;
            g.bytes += bytes;
            g.tally.add(tally);
        }
        None => groups.push(Group { name, format: spec.format, weights, bytes, tally }),
    }
}

/// Order of the table's rows.
pub(crate) fn sort(groups: &mut [Group]) {
    const ORDER: [&str; 5] = ["vision", "projector", "embedding", "decoder", "norms and biases"];
    groups.sort_by_key(|g| ORDER.iter().position(|&name| name == g.name));
}

impl Report {
    /// [`Group::rms_error`]; none of random weights, which are made as they are stored.
    fn rms_error(&self, group: &Group) -> Option<f64> {
        (!self.is_synthetic).then(|| group.rms_error())
    }

    /// The report as one object; `v` is the version of this form.
    pub fn to_json(&self) -> Value {
        let groups = self.groups.iter().map(|g| {
            json!({
                "name": g.name, "format": g.format.name(), "weights": g.weights, "bytes": g.bytes,
                "bits_per_weight": g.bits(), "rms_error": self.rms_error(g),
            })
        });
        json!({
            "v": 1,
            "output": self.output.as_ref().map(|p| p.to_string_lossy()),
            "preset": self.preset.name(),
            "synthetic": self.is_synthetic,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "groups": groups.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "tensors            format      weights   bits   rms error        size")?;
        for g in &self.groups {
            let error = self.rms_error(g).map_or("-  ".into(), |e| format!("{:.4} %", e * 100.0));
            writeln!(
                f,
                "{:<18} {:<6} {:>12} {:>6.2} {error:>11}  {:>10}",
                g.name,
                g.format.name(),
                g.weights,
                g.bits(),
                sizes::text(g.bytes)
            )?;
        }
        if self.is_synthetic {
            writeln!(f, "synthetic: random weights, for timing; what this model answers means nothing")?;
        }
        let output = self.output.as_ref().map_or("model".into(), |p| p.to_string_lossy());
        writeln!(f, "{output}: {} ({} bytes) in {:.1} s", sizes::text(self.bytes), self.bytes, self.seconds)
    }
}
