//! `doctor`: the machine beside the board it should be, every kernel table beside `scalar`, and which models fit.

use crate::args::{Args, Doctor};
use crate::{Failure, Outcome, in_file, plan};
use pg_quantize::{Preset, Synthetic};
use pg_runtime::memory::{Needs, Verdict};
use pg_runtime::model::Header;
use pg_runtime::platform::machine::{Available, anonymous_rss};
use pg_runtime::platform::sizes;
use pg_runtime::self_test::{self, Agreed};
use pg_runtime::{Kernels, Session};
use pg_targets::boards::{Estimate, Profile};
use pg_targets::machine::checks::{self, Check, Level};
use pg_targets::machine::{Machine, table_for};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;

/// The released checkpoints by the synthetic models of their shapes; the largest last.
const RELEASED: [(&str, &str); 3] =
    [("mix-224", "synthetic-224"), ("mix-448", "synthetic-448"), ("pt-896", "synthetic-896")];

/// Everything that was found out.
struct Report {
    machine: Machine,
    profile: Option<Profile>,
    table: String,
    agreed: Vec<Agreed>,
    checks: Vec<Check>,
    models: Vec<Fit>,
    /// What the estimate is of.
    estimated: String,
    estimate: Option<Estimate>,
}

/// A model and whether it fits.
struct Fit {
    name: String,
    needs: Needs,
}

impl Fit {
    /// `None` if the machine does not say what memory it has.
    fn verdict(&self) -> Option<Verdict> {
        self.needs.available.map(|_| self.needs.verdict())
    }
}

impl Report {
    fn count(&self, level: Level) -> usize {
        self.checks.iter().filter(|c| c.level == level).count()
    }

    fn largest(&self) -> Option<&Fit> {
        self.models.iter().filter(|m| m.verdict() == Some(Verdict::Fits)).max_by_key(|m| m.needs.file)
    }
}

pub(crate) fn run(args: &Args, request: &Doctor) -> Result<Outcome, Failure> {
    if !request.root.is_dir() {
        return Err(Failure::Message(format!("--root {}: no such folder", request.root.display())));
    }
    let profile = request.board.as_deref().map(Profile::by_name).transpose()?;
    // A wrong table must be known before anything else is believed.
    let agreed = self_test::run().map_err(|mismatch| mismatch.to_string())?;
    let report = examine(args, request, profile, agreed)?;
    if args.json {
        writeln!(io::stdout(), "{}", as_json(&report))?;
    } else {
        as_text(&report)?;
    }
    Ok(if report.count(Level::Problem) == 0 { Outcome::Done } else { Outcome::Problems })
}

fn examine(
    args: &Args,
    request: &Doctor,
    profile: Option<Profile>,
    agreed: Vec<Agreed>,
) -> Result<Report, Failure> {
    let machine = Machine::read(&request.root);
    let profile = profile.or_else(|| machine.profile());
    let chosen = Kernels::choose(args.options.kernels.as_deref()).map_err(|e| e.to_string())?;
    let table = match request.root == Path::new("/") {
        true => chosen.name(),
        // The other machine's table, by what it says of itself.
        false => table_for(&machine.cpu.features).unwrap_or("scalar"),
    };
    let mut checks = checks::all(&machine, profile.as_ref(), Some(table));
    let available = machine.memory.available;
    let given = request.model.as_deref().map(|path| Header::read(path).map_err(|e| in_file(path, &e)));
    let given = given.transpose()?;
    // As `plan` counts it: the program with this vocabulary, before anything else is taken.
    let program = anonymous_rss().unwrap_or(0);
    if let Some(given) = &given {
        checks.push(fit(given, &needs(given, args, available, program)?));
    }
    let mut models = Vec::new();
    let mut smallest = None;
    let mut program = None;
    for (name, shapes) in RELEASED {
        for preset in [Preset::Q4, Preset::Q8] {
            let header = released(shapes, preset);
            let program = *program.get_or_insert_with(|| anonymous_rss().unwrap_or(0));
            let needs = needs(&header, args, available, program)?;
            models.push(Fit { name: format!("{name} {}", preset.name()), needs });
            smallest.get_or_insert(header);
        }
    }
    let estimated = given.as_ref().map_or(&models[0].name[..], Header::name).to_string();
    let header = given.or(smallest);
    let estimate = profile.as_ref().zip(header.as_ref()).map(|(p, header)| Estimate::of(p, header));
    Ok(Report { machine, profile, table: table.into(), agreed, checks, models, estimated, estimate })
}

/// What the file of a released checkpoint would begin with; only its shapes count here.
fn released(shapes: &str, preset: Preset) -> Header {
    let model = Synthetic::parse(shapes, 0).and_then(Result::ok).expect("one of the synthetic models");
    let (beginning, length) = model.beginning(preset);
    Header::parse(&beginning, length).expect("what our own packer writes")
}

fn needs(model: &Header, args: &Args, available: Option<Available>, program: u64) -> Result<Needs, String> {
    let plan = Session::memory_plan(model, &args.options).map_err(|e| e.to_string())?.bytes() as u64;
    Ok(plan::needs(model, args, plan, available, program))
}

/// The same verdict as `plan`'s.
fn fit(model: &Header, needs: &Needs) -> Check {
    let found = format!(
        "{}: {} in the file, {} besides",
        model.name(),
        sizes::text(needs.file),
        sizes::text(needs.plan)
    );
    match (needs.verdict(), needs.complaint()) {
        (Verdict::Refused, Some(complaint)) => Check::bad(
            "model",
            Level::Problem,
            format!("{found}; {complaint}"),
            "`pg-run plan` has the regions",
        ),
        (_, Some(complaint)) => {
            let advice = "stop other programs, take a smaller model, or a board with more memory";
            Check::bad("model", Level::Warning, format!("{found}; {complaint}"), advice)
        }
        _ => Check::ok("model", format!("{found}; fits")),
    }
}

fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Fits => "fits",
        Verdict::Slow(_) => "slow",
        Verdict::Refused => "refused",
    }
}

fn as_text(r: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for check in &r.checks {
        writeln!(out, "{:<8} {:<12} {}", check.level.name(), check.name, check.found)?;
        if let Some(advice) = &check.advice {
            writeln!(out, "{:<8} {:<12} -> {advice}", "", "")?;
        }
    }
    for a in &r.agreed {
        writeln!(out, "ok       self-test    {} agrees with scalar in {} values", a.table, a.values)?;
    }
    if r.agreed.is_empty() {
        writeln!(out, "ok       self-test    scalar is the only table here")?;
    }
    writeln!(out, "models:")?;
    for m in &r.models {
        let verdict = match m.verdict() {
            None => String::new(),
            Some(Verdict::Slow(short)) => {
                format!(": slow, {} too much to keep the file in memory", sizes::text(short))
            }
            Some(other) => format!(": {}", name(other)),
        };
        let (file, plan) = (sizes::text(m.needs.file), sizes::text(m.needs.plan));
        writeln!(out, "  {:<12} {file:>9} in the file, {plan:>9} besides{verdict}", m.name)?;
    }
    match (r.largest(), r.machine.memory.available) {
        (Some(largest), _) => writeln!(out, "the largest that fits: {}", largest.name)?,
        (None, Some(_)) => writeln!(out, "none of them fits")?,
        (None, None) => writeln!(out, "whether they fit is unknown, as the memory is")?,
    }
    if let (Some(profile), Some(e)) = (&r.profile, &r.estimate) {
        let seconds = |s: Option<f64>| s.map_or("unknown".into(), |s| format!("{s:.1} s"));
        let speed = e
            .tokens_per_s
            .map_or("unknown".into(), |t| format!("at most {t:.1} tokens/s, bound by {}", e.bound));
        let (vision, prefill) = (seconds(e.vision_s), seconds(e.prefill_s));
        writeln!(out, "estimate for {} on {}:", r.estimated, profile.title)?;
        writeln!(
            out,
            "  vision {vision}, prefill of {} tokens {prefill}, decoding {speed}",
            e.prefill_tokens
        )?;
        let inputs: Vec<String> = e.inputs.iter().map(|i| format!("{}: {}", i.name, i.value)).collect();
        writeln!(out, "  from {}", inputs.join("; "))?;
        writeln!(out, "  `pg-run bench -m FILE` measures")?;
    }
    let (problems, warnings) = (r.count(Level::Problem), r.count(Level::Warning));
    writeln!(out, "{problems} problem{}, {warnings} warning{}", plural(problems), plural(warnings))
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

fn as_json(r: &Report) -> Value {
    let checks: Vec<_> = r
        .checks
        .iter()
        .map(|c| json!({ "name": c.name, "level": c.level.name(), "found": c.found, "advice": c.advice }))
        .collect();
    let models: Vec<_> = r
        .models
        .iter()
        .map(|m| {
            json!({
                "name": m.name,
                "file_bytes": m.needs.file,
                "plan_bytes": m.needs.plan,
                "must_fit_bytes": m.needs.must(),
                "should_fit_bytes": m.needs.should(),
                "verdict": m.verdict().map(name),
            })
        })
        .collect();
    let tables: Vec<_> = r.agreed.iter().map(|a| json!({ "table": a.table, "values": a.values })).collect();
    let estimate = r.estimate.as_ref().map(|e| {
        let inputs: serde_json::Map<String, Value> =
            e.inputs.iter().map(|i| (i.name.to_string(), i.value.clone().into())).collect();
        json!({
            "model": r.estimated,
            "vision_s": e.vision_s,
            "prefill_tokens": e.prefill_tokens,
            "prefill_s": e.prefill_s,
            "tokens_per_s": e.tokens_per_s,
            "bound": e.bound,
            "inputs": inputs,
        })
    });
    let m = &r.machine;
    json!({
        "v": 1,
        "model": m.model,
        "board": r.profile.as_ref().map(|p| p.name.as_str()),
        "kernels": r.table,
        "features": m.cpu.features,
        "cores": m.cpu.n_cores(),
        "memory_bytes": m.memory.total,
        "available_bytes": m.memory.available.map(|a| a.system),
        "group_limit_bytes": m.memory.available.and_then(|a| a.group),
        "temperatures": m.zones.iter().map(|z| json!({ "name": z.name, "millidegrees": z.temperature })).collect::<Vec<_>>(),
        "cameras": m.cameras,
        "displays": m.displays,
        "checks": checks,
        "self_test": tables,
        "models": models,
        "largest_that_fits": r.largest().map(|m| m.name.as_str()),
        "estimate": estimate,
        "problems": r.count(Level::Problem),
        "warnings": r.count(Level::Warning),
    })
}
