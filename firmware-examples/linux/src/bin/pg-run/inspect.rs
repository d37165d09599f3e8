//! `inspect`: what the file holds, which kernels would run, what memory they would take.

use crate::args::Args;
use crate::{Failure, Outcome, report};
use pg_runtime::platform::sizes;
use pg_runtime::{Kernels, Model, Session};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{self, Write};

pub(crate) fn run(args: &Args, model: &Model) -> Result<Outcome, Failure> {
    let plan = Session::memory_plan(model.header(), &args.options).map_err(|e| e.to_string())?;
    let kernels = Kernels::choose(args.options.kernels.as_deref()).map_err(|e| e.to_string())?;
    let available: Vec<&str> = Kernels::available().iter().map(|k| k.name()).collect();
    let mut formats: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for t in model.tensors() {
        let entry = formats.entry(t.format.name()).or_default();
        *entry = (entry.0 + 1, entry.1 + t.bytes.len());
    }
    let c = model.config();
    let (v, t) = (&c.vision, &c.text);
    let mut out = io::stdout().lock();
    if args.json {
        let formats: BTreeMap<_, _> =
            formats.iter().map(|(f, (n, bytes))| (*f, json!({ "tensors": n, "bytes": bytes }))).collect();
        let regions: Vec<_> =
            plan.regions.iter().map(|r| json!({ "name": r.name, "bytes": r.bytes })).collect();
        let description = json!({
            "v": 1,
            "name": model.name(),
            "synthetic": model.is_synthetic(),
            "file_bytes": model.file_bytes(),
            "format_version": pg_runtime::format::FORMAT_VERSION,
            "formats": formats,
            "vision": {
                "image_size": v.image_size, "patch_size": v.patch_size, "d_model": v.d_model,
                "n_layers": v.n_layers, "n_heads": v.n_heads, "d_ff": v.d_ff,
            },
            "text": {
                "n_vocab": t.n_vocab, "d_model": t.d_model, "n_layers": t.n_layers, "n_heads": t.n_heads,
                "n_kv_heads": t.n_kv_heads, "d_head": t.d_head, "d_ff": t.d_ff, "n_context": t.n_context,
            },
            "kernels": { "chosen": kernels.name(), "available": available, "float_gemm": kernels.float_gemm_name() },
            "threads": args.options.threads,
            "plan": { "bytes": plan.bytes(), "regions": regions },
        });
        writeln!(out, "{description}")?;
        return Ok(Outcome::Done);
    }
    writeln!(out, "{}: {} in {}", model.name(), size(model.file_bytes()), args.model.display())?;
    if model.is_synthetic() {
        writeln!(out, "  {}", report::SYNTHETIC)?;
    }
    for (format, (n, bytes)) in formats {
        writeln!(out, "  {n} tensors in {format}, {}", size(bytes))?;
    }
    writeln!(
        out,
        "vision: {0} x {0} pixels in {1} patches, {2} layers of {3} with {4} heads, MLP {5}",
        v.image_size,
        v.n_patches(),
        v.n_layers,
        v.d_model,
        v.n_heads,
        v.d_ff
    )?;
    writeln!(
        out,
        "decoder: {} tokens, {} layers of {} with {} + {} heads of {}, MLP {}, context {}",
        t.n_vocab, t.n_layers, t.d_model, t.n_heads, t.n_kv_heads, t.d_head, t.d_ff, t.n_context
    )?;
    writeln!(
        out,
        "kernels: {} (of {}), float products by {}, {} threads",
        kernels.name(),
        available.join(", "),
        kernels.float_gemm_name(),
        args.options.threads
    )?;
    writeln!(out, "memory besides the file: {}", size(plan.bytes()))?;
    for r in &plan.regions {
        writeln!(out, "  {:<24} {:>12}", r.name, size(r.bytes))?;
    }
    Ok(Outcome::Done)
}

fn size(bytes: usize) -> String {
    sizes::text(bytes as u64)
}
