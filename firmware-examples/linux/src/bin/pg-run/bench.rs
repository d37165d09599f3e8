//! `bench`: how fast the stages of a run are, and what part that is of what the machine could do.

use crate::args::{Args, Bench};
use crate::{Failure, Outcome, open_model, report};
use pg_runtime::bench::machine::{self, Machine};
use pg_runtime::bench::stages::{self, CAPTION_TOKENS, Plan, Speeds, Times};
use pg_runtime::bench::{products, work};
use pg_runtime::format::WeightFormat;
use pg_runtime::model::Placement;
use pg_runtime::model::names::Part;
use pg_runtime::platform::clock::Clock;
use pg_runtime::platform::machine::peak_rss;
use pg_runtime::platform::sizes;
use pg_runtime::platform::status_line::StatusLine;
use pg_runtime::{Kernels, Model, Session};
use serde_json::{Value, json};
use std::io::{self, Write};

/// Everything measured in one run.
struct Measured {
    name: String,
    is_synthetic: bool,
    isa: &'static str,
    threads: usize,
    rounds: usize,
    placement: Placement,
    plan: Plan,
    load_ms: f64,
    times: Times,
    speeds: Speeds,
    machine: Machine,
    vision: Share,
    prefill: Share,
    file_bytes: u64,
    plan_bytes: u64,
    peak_rss: Option<u64>,
    /// Of the weights.
    huge_bytes: Option<u64>,
}

/// A stage's weights and the peak that they are measured by; floats have none.
#[derive(Clone, Copy)]
struct Share {
    format: WeightFormat,
    peak: Option<(&'static str, f64)>,
}

impl Share {
    fn new(model: &Model, part: Part, machine: &Machine) -> Self {
        let format = work::format(model.header(), part).unwrap_or(WeightFormat::F32);
        let peak = match format {
            WeightFormat::Q8 => Some(("int8", machine.int8.giga)),
            WeightFormat::Q4 => Some(("int4", machine.int4.giga)),
            WeightFormat::F16 | WeightFormat::F32 => None,
        };
        Share { format, peak }
    }
}

impl Measured {
    /// What the machine reads from pages as those that most of the weights are in, and their name.
    fn read(&self) -> (f64, &'static str) {
        match self.huge_bytes {
            Some(huge) if huge * 2 >= self.file_bytes => (self.machine.read_huge, "huge pages"),
            _ => (self.machine.read_4k, "small pages"),
        }
    }

    /// Where the weights are, and what the other place would bring.
    fn why(&self) -> String {
        let m = &self.machine;
        let file = sizes::text(self.file_bytes);
        let huge = self.huge_bytes.map_or("an unknown part".into(), sizes::text);
        let gain = format!("{:.1} -> {:.1} GB/s measured", m.read_4k, m.read_huge);
        match self.placement {
            Placement::Huge => {
                format!("huge: asked for; {huge} of a copy of {file} lies in huge pages; bandwidth {gain}")
            }
            Placement::Mapped if self.read().1 == "huge pages" => {
                format!(
                    "mapped: {huge} of {file} lies in huge pages of the system's cache; a copy would gain nothing"
                )
            }
            Placement::Mapped => format!(
                "mapped: {huge} of {file} lies in huge pages of the system's cache; --weights huge would take {file} of \
                 memory and {:.1} s to read; bandwidth {gain}",
                m.copy_seconds
            ),
        }
    }
}

pub(crate) fn run(args: &Args, request: &Bench) -> Result<Outcome, Failure> {
    let clock = Clock::now();
    let model = open_model(args)?;
    let plan = Plan {
        n_prefill: request.prefill.unwrap_or_else(|| Plan::usual_prefill(model.header())),
        depth: request.depth,
        rounds: request.rounds,
    };
    if request.kernels {
        return kernels(args, &model, &plan);
    }
    let options = plan.session_options(model.header(), &args.options);
    let mut session = Session::new(&model, options).map_err(|e| e.to_string())?;
    let load_ms = clock.elapsed_ms();

    let mut line = StatusLine::new();
    let times =
        stages::measure(&mut session, &plan, &mut |text| line.show(text)).map_err(|e| e.to_string())?;
    // Before the machine is measured, which takes memory as well.
    let (peak_rss, huge_bytes) = (peak_rss(), model.huge_page_bytes());
    let (kernels, threads) = (session.kernels(), session.threads());
    let machine = machine::measure(kernels, threads, plan.rounds, &args.model, &mut |text| line.show(text))
        .map_err(|e| e.to_string())?;
    line.clear();
    let measured = Measured {
        name: model.name().into(),
        is_synthetic: model.is_synthetic(),
        isa: kernels.name(),
        threads,
        rounds: plan.rounds,
        placement: args.placement,
        plan,
        load_ms,
        times,
        speeds: Speeds::of(&times, &plan, &session),
        machine,
        vision: Share::new(&model, Part::Vision, &machine),
        prefill: Share::new(&model, Part::Decoder, &machine),
        file_bytes: model.file_bytes() as u64,
        plan_bytes: session.plan().bytes() as u64,
        peak_rss,
        huge_bytes,
    };
    if args.json {
        writeln!(io::stdout(), "{}", to_json(&measured))?;
    } else {
        write_text(&measured)?;
    }
    Ok(Outcome::Done)
}

fn to_json(m: &Measured) -> Value {
    let (t, s, machine) = (&m.times, &m.speeds, &m.machine);
    let r = |v: f64| report::rounded(v, 1e6);
    let mb = |bytes: u64| r(bytes as f64 / 1e6);
    let of_peak = |share: &Share, gmac_s: f64| share.peak.map(|(_, peak)| r(gmac_s / peak));
    let peak = |share: &Share| share.peak.map(|(name, _)| name);
    json!({
        "v": 1,
        "name": m.name,
        "synthetic": m.is_synthetic,
        "isa": m.isa,
        "threads": m.threads,
        "rounds": m.rounds,
        "machine": {
            "int8_peak_gmac_s": r(machine.int8.giga),
            "int8_peak_loop": machine.int8.name,
            "int4_peak_gmac_s": r(machine.int4.giga),
            "int4_peak_loop": machine.int4.name,
            "read_gb_s": r(m.read().0),
            "read_4k_gb_s": r(machine.read_4k),
            "read_huge_gb_s": r(machine.read_huge),
            "read_mb": mb(machine.stream_bytes),
            "read_huge_mb": machine.huge_bytes.map(mb),
        },
        "load_ms": r(m.load_ms),
        "image_ms": r(t.image),
        "vision": {
            "ms": r(t.vision), "gmac_s": r(s.vision), "share_of_peak": of_peak(&m.vision, s.vision),
            "weights": m.vision.format.name(), "peak": peak(&m.vision),
        },
        "prefill": {
            "tokens": m.plan.n_prefill, "ms": r(t.prefill), "tok_s": r(s.prefill_tokens), "gmac_s": r(s.prefill),
            "share_of_peak": of_peak(&m.prefill, s.prefill),
            "weights": m.prefill.format.name(), "peak": peak(&m.prefill),
        },
        "decode": {
            "depth": m.plan.depth, "ms": r(t.token), "tok_s": r(s.tokens), "gb_s": r(s.read),
            "share_of_read": r(s.read / m.read().0),
        },
        "first_token_ms": r(t.first_token),
        "caption": { "prompt_tokens": t.prompt_tokens, "tokens": CAPTION_TOKENS, "ms": r(t.caption) },
        "memory": {
            "file_mb": mb(m.file_bytes), "plan_mb": mb(m.plan_bytes), "peak_rss_mb": m.peak_rss.map(mb),
        },
        "weights": {
            "placement": m.placement.name(), "huge_mb": m.huge_bytes.map(mb), "why": m.why(),
            "copy_s": r(machine.copy_seconds),
        },
    })
}

fn write_text(m: &Measured) -> io::Result<()> {
    let (t, s, machine) = (&m.times, &m.speeds, &m.machine);
    let mut out = io::stdout().lock();
    let rounds = if m.rounds > 1 { format!("medians of {}", m.rounds) } else { "a quick look".into() };
    writeln!(
        out,
        "{}: {}, kernels {}, {} threads, {rounds}",
        m.name,
        sizes::text(m.file_bytes),
        m.isa,
        m.threads
    )?;
    if m.is_synthetic {
        writeln!(out, "{}", report::SYNTHETIC)?;
    }
    for (kind, rate) in [("int8", machine.int8), ("int4", machine.int4)] {
        writeln!(out, "machine      {:>9.1} GMAC/s  peak of {kind} products ({})", rate.giga, rate.name)?;
    }
    for (pages, rate) in [("small", machine.read_4k), ("huge", machine.read_huge)] {
        let bytes = sizes::text(machine.stream_bytes);
        writeln!(out, "machine      {rate:>9.1} GB/s    reading {bytes} in {pages} pages")?;
    }
    let share = |share: &Share, gmac_s: f64| match share.peak {
        Some((name, peak)) => {
            format!("{:>5.1} % of the {name} peak ({} weights)", gmac_s / peak * 100.0, share.format.name())
        }
        None => format!("{} weights", share.format.name()),
    };
    writeln!(out, "load         {:>9.1} ms", m.load_ms)?;
    writeln!(out, "picture      {:>9.1} ms", t.image)?;
    writeln!(
        out,
        "vision       {:>9.1} ms  {:>9.1} GMAC/s  {}",
        t.vision,
        s.vision,
        share(&m.vision, s.vision)
    )?;
    writeln!(
        out,
        "prefill      {:>9.1} ms  {:>9.1} GMAC/s  {}, {:.1} tokens/s ({} tokens)",
        t.prefill,
        s.prefill,
        share(&m.prefill, s.prefill),
        s.prefill_tokens,
        m.plan.n_prefill
    )?;
    let (read, pages) = m.read();
    writeln!(
        out,
        "decode       {:>9.1} ms  {:>9.1} GB/s    {:>5.1} % of reading {pages}, {:.1} tokens/s (after {} tokens)",
        t.token,
        s.read,
        s.read / read * 100.0,
        s.tokens,
        m.plan.depth
    )?;
    writeln!(
        out,
        "first token  {:>9.1} ms  after the picture, {} prompt tokens",
        t.first_token, t.prompt_tokens
    )?;
    writeln!(
        out,
        "caption      {:>9.1} ms  of {CAPTION_TOKENS} tokens, from the picture to the last",
        t.caption
    )?;
    let peak = m.peak_rss.map_or("unknown".into(), sizes::text);
    writeln!(
        out,
        "memory       {} file, {} plan, {peak} at most in memory (file included)",
        sizes::text(m.file_bytes),
        sizes::text(m.plan_bytes)
    )?;
    writeln!(out, "weights      {}", m.why())
}

/// Every table with every shape.
fn kernels(args: &Args, model: &Model, plan: &Plan) -> Result<Outcome, Failure> {
    let chosen = Kernels::choose(args.options.kernels.as_deref()).map_err(|e| e.to_string())?;
    // What no session could run is not worth timing.
    let options = plan.session_options(model.header(), &args.options);
    Session::memory_plan(model.header(), &options).map_err(|e| e.to_string())?;
    let threads = args.options.threads;
    let shapes = products::shapes(model, plan.n_prefill);
    let mut line = StatusLine::new();
    let mut results: Vec<(usize, &'static Kernels, products::Speed)> = Vec::new();
    for table in Kernels::available() {
        let mut bench = products::Bench::new(model, table, threads, &shapes).map_err(|e| e.to_string())?;
        for (i, shape) in shapes.iter().enumerate() {
            line.show(&format!("measuring {}: {} of {} shapes …", table.name(), i + 1, shapes.len()));
            results.push((i, table, bench.run(shape, plan.rounds)));
        }
    }
    line.clear();
    results.sort_by_key(|(i, ..)| *i);

    let mut out = io::stdout().lock();
    let is_chosen = |table: &Kernels| table.name() == chosen.name();
    if args.json {
        let r = |v: f64| report::rounded(v, 1e6);
        let rows: Vec<Value> = results
            .iter()
            .map(|(i, table, speed)| {
                let s = &shapes[*i];
                json!({
                    "matrix": s.example, "format": s.format.name(), "rows": s.rows, "k": s.k, "n": s.n,
                    "table": table.name(), "chosen": is_chosen(table),
                    "gmac_s": r(speed.gmac_s), "gb_s": r(speed.gb_s),
                })
            })
            .collect();
        let all = json!({
            "v": 1, "name": model.name(), "synthetic": model.is_synthetic(), "isa": chosen.name(),
            "threads": threads, "rounds": plan.rounds, "kernels": rows,
        });
        writeln!(out, "{all}")?;
        return Ok(Outcome::Done);
    }
    writeln!(out, "{}: {threads} threads; * marks the table in use", model.name())?;
    if model.is_synthetic() {
        writeln!(out, "{}", report::SYNTHETIC)?;
    }
    writeln!(out, "matrix               format     rows       k     n  table          GMAC/s      GB/s")?;
    for (i, table, speed) in results {
        let s = &shapes[i];
        let mark = if is_chosen(table) { "*" } else { " " };
        writeln!(
            out,
            "{:<20} {:<6} {:>8} {:>7} {:>5}  {:<10}{mark} {:>9.2} {:>9.2}",
            s.example,
            s.format.name(),
            s.rows,
            s.k,
            s.n,
            table.name(),
            speed.gmac_s,
            speed.gb_s
        )?;
    }
    Ok(Outcome::Done)
}
