//! The machine found beside the board it should be: what is fine, what costs time, what is wrong, and what to do.

use super::{HugePages, Machine, table_for};
use crate::boards::Profile;
use pg_runtime::platform::sizes;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be, or not known.
    Ok,
    /// It costs time or memory.
    Warning,
    /// It fails, or is about to.
    Problem,
}

impl Level {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// Its name, such as `memory`.
    pub name: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do, unless all is well.
    pub advice: Option<String>,
}

impl Check {
    /// Nothing to do.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Check { name, level: Level::Ok, found: found.into(), advice: None }
    }

    /// Something to do.
    pub fn bad(
        name: &'static str,
        level: Level,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Check { name, level, found: found.into(), advice: Some(advice.into()) }
    }
}

/// Millidegrees below a limit from which somebody should know.
const NEAR: i64 = 10_000;
/// The part of a board's memory that firmware, graphics and the kernel may keep.
const KEPT: f64 = 0.2;

/// Looks at everything. `profile` is the board it should be; `table` is the kernel table that would run, if it is known
/// better than by the names of instruction sets.
pub fn all(m: &Machine, profile: Option<&Profile>, table: Option<&str>) -> Vec<Check> {
    let mut checks =
        vec![board(m, profile), cores(m, profile), features(m, profile), kernels(m, profile, table)];
    checks.extend([memory(m, profile), swap(m), huge_pages(m)]);
    checks.extend(m.memory.page.map(|page| Check::ok("pages", format!("{} KiB", page / 1024))));
    checks.extend([heat(m), clock(m)]);
    checks.extend(power(m));
    for (name, found) in [("cameras", &m.cameras), ("displays", &m.displays)] {
        let list = found.join(", ");
        checks.push(Check::ok(name, if list.is_empty() { "none".into() } else { list }));
    }
    checks
}

fn board(m: &Machine, profile: Option<&Profile>) -> Check {
    let model = m.model.as_deref().unwrap_or("unknown");
    match profile {
        None => Check::bad(
            "board",
            Level::Warning,
            format!("{model}: no profile"),
            "compare with a board by --board NAME, or go by `pg-run bench`",
        ),
        Some(p) => match m.model.as_deref().and_then(Profile::of_model) {
            Some(other) if other.name != p.name => Check::bad(
                "board",
                Level::Warning,
                format!("{model}, compared with {}", p.title),
                format!("this is a {}: leave --board out", other.title),
            ),
            _ => Check::ok("board", format!("{model} ({}, {})", p.title, p.soc)),
        },
    }
}

fn cores(m: &Machine, profile: Option<&Profile>) -> Check {
    let list = m.cpu.cores.iter().map(|(name, n)| format!("{n} x {name}"));
    let list: Vec<String> = list.collect();
    let found = if list.is_empty() { "unknown".into() } else { list.join(", ") };
    match profile {
        Some(p) if !list.is_empty() && m.cpu.n_cores() < p.n_cores() => Check::bad(
            "cores",
            Level::Warning,
            format!("{found}; the board has {}", p.cores_text()),
            "some are offline: look for maxcpus= or isolcpus= on the kernel's command line, and at the power mode",
        ),
        Some(p) if !list.is_empty() && !p.cores.is_empty() && m.cpu.n_cores() == p.n_cores() => {
            Check::ok("cores", format!("{found} (expected {})", p.cores_text()))
        }
        _ => Check::ok("cores", found),
    }
}

fn features(m: &Machine, profile: Option<&Profile>) -> Check {
    let found = match m.cpu.features.is_empty() {
        true => "none that the kernels look for".into(),
        false => m.cpu.features.join(" "),
    };
    if m.cpu.is_32_bit {
        let advice = "the kernels for ARM need 64 bits: install a 64-bit system (aarch64)";
        return Check::bad("features", Level::Problem, "a 32-bit system", advice);
    }
    let known = m.cpu.n_cores() > 0;
    let missing: Vec<&str> = profile
        .iter()
        .flat_map(|p| &p.features)
        .filter(|f| known && !m.cpu.features.contains(f))
        .map(String::as_str)
        .collect();
    match missing.is_empty() {
        true => Check::ok("features", found),
        false => Check::bad(
            "features",
            Level::Problem,
            format!("{found}; missing {}", missing.join(" ")),
            "an old kernel, an emulator or a virtual machine hides them: runs are several times slower",
        ),
    }
}

fn kernels(m: &Machine, profile: Option<&Profile>, table: Option<&str>) -> Check {
    let table = table.or(table_for(&m.cpu.features)).unwrap_or("scalar");
    match profile {
        Some(p) if p.kernels == table => Check::ok("kernels", table),
        // A PC may have more than the least that is asked of it.
        Some(p) if m.cpu.n_cores() == 0 || (p.cores.is_empty() && table != "scalar") => {
            Check::ok("kernels", table)
        }
        Some(p) => Check::bad(
            "kernels",
            Level::Warning,
            format!("{table}, where {} is expected", p.kernels),
            "look at PG_ISA and at the features above; `pg-run --version` lists the tables of this program",
        ),
        None => Check::ok("kernels", table),
    }
}

fn memory(m: &Machine, profile: Option<&Profile>) -> Check {
    let (Some(total), Some(available)) = (m.memory.total, m.memory.available) else {
        return Check::ok("memory", "unknown");
    };
    let mut found = format!("{} available of {}", sizes::text(available.system), sizes::text(total));
    if let Some(group) = available.group {
        found += &format!(", {} allowed by the control group", sizes::text(group));
    }
    if let Some(group) = available.group.filter(|g| *g < available.system) {
        let advice =
            format!("raise the limit of the service (MemoryMax=), or plan with {}", sizes::text(group));
        return Check::bad("memory", Level::Warning, found, advice);
    }
    let sold = profile.map_or(&[][..], |p| &p.memory_gib);
    let bytes = |gib: f64| gib * f64::from(1 << 30);
    let fits = sold.iter().any(|&g| (bytes(g) * (1.0 - KEPT)..=bytes(g)).contains(&(total as f64)));
    if !sold.is_empty() && !fits {
        let list = sold.iter().map(|g| format!("{g}")).collect::<Vec<_>>().join(", ");
        return Check::bad(
            "memory",
            Level::Warning,
            format!("{found}; the board is sold with {list} GiB"),
            "look for mem= or total_mem= in the start-up files, and at what graphics keeps",
        );
    }
    Check::ok("memory", found)
}

fn swap(m: &Machine) -> Check {
    if m.memory.swaps.is_empty() {
        return Check::ok("swap", "none");
    }
    let list = m.memory.swaps.iter().map(|s| {
        let kind = if s.is_memory() { " (compressed memory)" } else { "" };
        format!("{} in {}{kind}", sizes::text(s.bytes), s.name)
    });
    Check::ok("swap", list.collect::<Vec<_>>().join(", "))
}

fn huge_pages(m: &Machine) -> Check {
    match m.memory.huge_pages {
        None => Check::ok("huge pages", "the kernel has none"),
        Some(HugePages::Always) => Check::ok("huge pages", "always"),
        Some(HugePages::OnRequest) => Check::ok("huge pages", "on request"),
        Some(HugePages::Never) => Check::bad(
            "huge pages",
            Level::Warning,
            "never",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        ),
    }
}

fn heat(m: &Machine) -> Check {
    let degrees = |milli: i64| format!("{:.1} °C", milli as f64 / 1000.0);
    let Some(hottest) = m.zones.iter().max_by_key(|z| z.temperature) else {
        return Check::ok("temperature", "unknown");
    };
    // The zone that is nearest to its limit, or over it.
    let near =
        m.zones.iter().filter_map(|z| z.limit.as_ref().map(|(at, kind)| (at - z.temperature, z, *at, kind)));
    let near = near.min_by_key(|(left, ..)| *left);
    if !m.slowed_by.is_empty() {
        let list = m.slowed_by.iter().map(|(kind, now, most)| format!("{kind} at step {now} of {most}"));
        let found = format!(
            "{} at {}, slowed: {}",
            hottest.name,
            degrees(hottest.temperature),
            list.collect::<Vec<_>>().join(", ")
        );
        return Check::bad(
            "temperature",
            Level::Problem,
            found,
            "cool it: a heat sink, a fan, a longer pause between pictures",
        );
    }
    match near {
        Some((left, zone, at, kind)) if left <= NEAR => {
            let found =
                format!("{} at {}, {kind} limit {}", zone.name, degrees(zone.temperature), degrees(at));
            let level = if left <= 0 { Level::Problem } else { Level::Warning };
            Check::bad(
                "temperature",
                level,
                found,
                "cool it: a heat sink, a fan, a longer pause between pictures",
            )
        }
        Some((_, zone, at, kind)) => Check::ok(
            "temperature",
            format!("{} at {}, {kind} limit {}", zone.name, degrees(zone.temperature), degrees(at)),
        ),
        None => Check::ok("temperature", format!("{} at {}", hottest.name, degrees(hottest.temperature))),
    }
}

fn clock(m: &Machine) -> Check {
    let ghz = |khz: i64| format!("{:.2} GHz", khz as f64 / 1e6);
    let texts = m.frequencies.iter().map(|f| match f.allowed_khz {
        Some(khz) => format!("{} up to {}", f.governor, ghz(khz)),
        None => f.governor.clone(),
    });
    let found = texts.collect::<Vec<_>>().join(", ");
    let capped = m.frequencies.iter().find_map(|f| match (f.allowed_khz, f.possible_khz) {
        (Some(allowed), Some(possible)) if allowed < possible => Some(possible),
        _ => None,
    });
    if let Some(possible) = capped {
        return Check::bad(
            "clock",
            Level::Warning,
            format!("{found}, of {} possible", ghz(possible)),
            "raise scaling_max_freq, or choose a power mode that allows more (Jetson: nvpmodel)",
        );
    }
    match m.frequencies.iter().any(|f| f.governor == "powersave") {
        true => Check::bad(
            "clock",
            Level::Warning,
            found,
            "echo performance > …/cpufreq/scaling_governor, or ondemand",
        ),
        false if found.is_empty() => Check::ok("clock", "unknown"),
        false => Check::ok("clock", found),
    }
}

fn power(m: &Machine) -> Option<Check> {
    let p = &m.power;
    if p.throttled.is_none() && p.low_voltage.is_none() {
        return None;
    }
    let (now, before) = (p.now(), p.before());
    let advice = "a supply of more power and a short, thick cable; then start again, which clears what was";
    Some(if !now.is_empty() {
        Check::bad("supply", Level::Problem, format!("{} now", now.join(", ")), advice)
    } else if !before.is_empty() {
        Check::bad("supply", Level::Warning, format!("{} since the start", before.join(", ")), advice)
    } else {
        Check::ok("supply", "no under-voltage")
    })
}
