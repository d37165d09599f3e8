//! What Linux says of a board's heat and supply, as few numbers.

use super::Settings;
use pg_targets::machine::{Condition, Zone};

/// Firmware of common boards slows them down from here, in degrees Celsius, and their kernels do not know it.
const USUAL_LIMIT: f64 = 80.0;
/// A kernel that only says where it switches off should be kept this many degrees away from that.
const BELOW_CRITICAL: f64 = 10.0;

/// The state of a board at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Reading {
    /// The hottest zone's temperature, in degrees Celsius.
    pub(crate) hottest: Option<f64>,
    /// Degrees that are left in the zone that is nearest to its limit; negative above it.
    pub(crate) margin: Option<f64>,
    /// Whether kernel or firmware slow the processor down.
    pub(crate) slowed: bool,
    /// Whether the supply is too weak.
    pub(crate) low_voltage: bool,
}

impl Reading {
    /// Of a condition that was read while the engine was `working` or not: an idle processor's clock is slow.
    pub(crate) fn new(condition: &Condition, settings: &Settings, working: bool) -> Self {
        let watched = |zone: &&Zone| settings.zones.is_empty() || settings.zones.contains(&zone.name);
        let zones = || condition.zones.iter().filter(watched);
        let low_voltage = condition.power.is_low();
        let slow_clock = working && condition.clock_share.is_some_and(|s| s < settings.min_clock_share);
        Reading {
            hottest: zones().map(celsius).max_by(f64::total_cmp),
            margin: zones().map(|z| limit(z, settings) - celsius(z)).min_by(f64::total_cmp),
            // The firmware throttles for a weak supply as well, which no cooling helps.
            slowed: !low_voltage
                && (condition.power.is_throttled() || !condition.slowed_by.is_empty() || slow_clock),
            low_voltage,
        }
    }
}

fn celsius(zone: &Zone) -> f64 {
    zone.temperature as f64 / 1000.0
}

/// The temperature below which a zone should stay.
fn limit(zone: &Zone, settings: &Settings) -> f64 {
    let own = match &zone.limit {
        Some((at, kind)) if kind == "passive" => *at as f64 / 1000.0,
        Some((at, _)) => (*at as f64 / 1000.0 - BELOW_CRITICAL).min(USUAL_LIMIT),
        None => USUAL_LIMIT,
    };
    settings.limit_celsius.unwrap_or(own)
}
