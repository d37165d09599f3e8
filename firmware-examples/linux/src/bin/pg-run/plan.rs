//! `plan`: what memory a run would take, from the file's header alone, and whether this machine has it.

use crate::args::{Args, Plan};
use crate::{Failure, Outcome, in_file, report};
use pg_runtime::memory::{Needs, PlannedRegion, Verdict};
use pg_runtime::model::{Header, Placement};
use pg_runtime::platform::{machine, sizes};
use pg_runtime::{Prompt, Session, SessionOptions};
use serde_json::json;
use std::io::{self, Write};

pub(crate) fn run(args: &Args, request: &Plan) -> Result<Outcome, Failure> {
    let model = Header::read(&args.model).map_err(|e| in_file(&args.model, &e))?;
    let mut options = args.options.clone();
    if let Some(text) = &request.prompt {
        options.max_prompt_tokens = Prompt::with_tokenizer(model.tokenizer(), text).ids().len();
    }
    let regions = Session::memory_plan(&model, &options).map_err(|e| e.to_string())?;
    let program = machine::anonymous_rss().unwrap_or(0);
    let needs = Needs {
        limit: request.memory_limit,
        ..needs(&model, args, regions.bytes() as u64, machine::available(), program)
    };
    let groups = groups(&regions.regions);
    if args.json {
        print_json(args, &model, &options, &needs, &groups, &regions.regions)?;
    } else {
        print_text(args, &model, &options, &needs, &groups)?;
    }
    match needs.complaint() {
        Some(complaint) if needs.verdict() == Verdict::Refused => Err(complaint)?,
        _ => Ok(Outcome::Done),
    }
}

/// What a program that has taken `program` so far needs for a run with a plan of so many bytes.
pub(crate) fn needs(
    model: &Header,
    args: &Args,
    plan: u64,
    available: Option<machine::Available>,
    program: u64,
) -> Needs {
    let file = model.file_bytes() as u64;
    let copy = if args.placement == Placement::Huge { file } else { 0 };
    Needs { file, plan, program, copy, available, limit: None }
}

/// Regions added up by what they are for.
fn groups(regions: &[PlannedRegion]) -> Vec<(&'static str, u64)> {
    let mut groups: Vec<(&'static str, u64)> = Vec::new();
    for region in regions {
        let name = match region.name {
            "decoder.key_cache" | "decoder.value_cache" => "kv cache",
            name => name.split('.').next().unwrap_or(name),
        };
        let bytes = region.bytes as u64;
        match groups.iter_mut().find(|(group, _)| *group == name) {
            Some((_, sum)) => *sum += bytes,
            None => groups.push((name, bytes)),
        }
    }
    groups
}

/// Where the weights would be, and why.
fn placement(args: &Args, needs: &Needs) -> String {
    let file = sizes::text(needs.file);
    match args.placement {
        Placement::Huge => {
            format!("huge: asked for; a copy of {file} that cannot be dropped when memory is short")
        }
        Placement::Mapped => {
            let copied = needs.must() + needs.file;
            let fits = if needs.most().is_none_or(|(most, _)| copied <= most) {
                "would fit"
            } else {
                "would not fit"
            };
            format!(
                "mapped: ready at once, droppable, on huge pages where the system read the file in such pieces; \
                 --weights huge would copy {file}, which {fits}"
            )
        }
    }
}

fn print_text(
    args: &Args,
    model: &Header,
    options: &SessionOptions,
    needs: &Needs,
    groups: &[(&'static str, u64)],
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}: {} in {}", model.name(), sizes::text(needs.file), args.model.display())?;
    if model.is_synthetic() {
        writeln!(out, "  {}", report::SYNTHETIC)?;
    }
    writeln!(
        out,
        "for {} threads, prompts of up to {} tokens, answers of up to {}, pictures of up to {} pixels a side:",
        options.threads, options.max_prompt_tokens, options.max_new_tokens, options.max_side
    )?;
    let mut line = |name: &str, bytes: u64| writeln!(out, "  {name:<28} {:>10}", sizes::text(bytes));
    for (name, bytes) in groups {
        line(name, *bytes)?;
    }
    line("plan, with padding", needs.plan)?;
    line("program and vocabulary", needs.program)?;
    if needs.copy > 0 {
        line("copy of the weights", needs.copy)?;
    }
    line("must fit", needs.must())?;
    line("should fit, with the file", needs.should())?;
    if let Some(available) = needs.available {
        line("available here", available.bytes())?;
    }
    if let Some(limit) = needs.limit {
        line("--memory-limit", limit)?;
    }
    writeln!(out, "weights {}", placement(args, needs))?;
    if let Some(complaint) = needs.complaint().filter(|_| matches!(needs.verdict(), Verdict::Slow(_))) {
        writeln!(out, "{complaint}")?;
    }
    Ok(())
}

fn print_json(
    args: &Args,
    model: &Header,
    options: &SessionOptions,
    needs: &Needs,
    groups: &[(&'static str, u64)],
    regions: &[PlannedRegion],
) -> io::Result<()> {
    let groups: Vec<_> = groups.iter().map(|(name, bytes)| json!({ "name": name, "bytes": bytes })).collect();
    let regions: Vec<_> = regions.iter().map(|r| json!({ "name": r.name, "bytes": r.bytes })).collect();
    let plan = json!({
        "v": 1,
        "name": model.name(),
        "synthetic": model.is_synthetic(),
        "threads": options.threads,
        "max_prompt_tokens": options.max_prompt_tokens,
        "max_new_tokens": options.max_new_tokens,
        "max_side": options.max_side,
        "file_bytes": needs.file,
        "plan_bytes": needs.plan,
        "program_bytes": needs.program,
        "copy_bytes": needs.copy,
        "must_fit_bytes": needs.must(),
        "should_fit_bytes": needs.should(),
        "available_bytes": needs.available.map(|a| a.bytes()),
        "system_bytes": needs.available.map(|a| a.system),
        "group_limit_bytes": needs.available.and_then(|a| a.group),
        "memory_limit_bytes": needs.limit,
        "fits": needs.verdict() != Verdict::Refused,
        "fits_with_file": needs.verdict() == Verdict::Fits,
        "weights": { "placement": args.placement.name(), "why": placement(args, needs) },
        "groups": groups,
        "regions": regions,
    });
    writeln!(io::stdout(), "{plan}")
}
