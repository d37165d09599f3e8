//! Temperatures, what slows the processor down, and the supply of a Raspberry Pi.

use super::{cpu, folders, name, number, text};
use std::path::Path;

/// Trip points of a zone that are read.
const MOST_TRIPS: usize = 16;
/// Temperatures that are believed, in thousandths of a degree.
const COLDEST: i64 = -60_000;
const HOTTEST: i64 = 250_000;

/// A place whose temperature the kernel knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    /// Its name, such as `cpu-thermal`.
    pub name: String,
    /// In thousandths of a degree Celsius.
    pub temperature: i64,
    /// Where the kernel begins to do something against it, and what: the lowest of its trip points above which more than a
    /// fan runs.
    pub limit: Option<(i64, String)>,
}

pub(super) fn zones(sys: &Path) -> Vec<Zone> {
    let zone = |folder: &std::path::PathBuf| {
        let limits = (0..MOST_TRIPS).filter_map(|i| {
            let kind = name(&folder.join(format!("trip_point_{i}_type")))?;
            let at = number(&folder.join(format!("trip_point_{i}_temp")), 1, HOTTEST)?;
            Some((at, kind)).filter(|(_, kind)| kind != "active")
        });
        Some(Zone {
            name: name(&folder.join("type"))?,
            // Zones of parts that are switched off cannot be read.
            temperature: number(&folder.join("temp"), COLDEST, HOTTEST)?,
            limit: limits.min(),
        })
    };
    folders(&sys.join("class/thermal"), "thermal_zone").iter().filter_map(zone).collect()
}

/// Cooling by slower clocks that is at work: its name, and the step it is at of how many.
pub(super) fn slowed_by(sys: &Path) -> Vec<(String, u64, u64)> {
    let device = |folder: &std::path::PathBuf| {
        let kind = name(&folder.join("type"))?;
        let slows = kind.contains("cpufreq") || kind == "Processor" || kind.starts_with("cpu");
        let state = |file| number(&folder.join(file), 0, 1 << 20).map(|n| n as u64);
        let (now, most) = (state("cur_state")?, state("max_state")?);
        (slows && now > 0).then_some((kind, now, most))
    };
    folders(&sys.join("class/thermal"), "cooling_device").iter().filter_map(device).collect()
}

/// What a program that works for days looks at every few seconds: few files, and none that wakes a device up.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Condition {
    /// Temperatures.
    pub zones: Vec<Zone>,
    /// Names of devices that slow the processor down now, and how far (of how many steps).
    pub slowed_by: Vec<(String, u64, u64)>,
    /// What a Raspberry Pi says of its supply.
    pub power: Power,
    /// The clock of the fastest core at this moment, as a share of the most that it can do.
    pub clock_share: Option<f64>,
}

impl Condition {
    /// Reads below `root`, which is `/` for the machine that this runs on. What is not there is left out.
    pub fn read(root: &Path) -> Self {
        let sys = root.join("sys");
        Condition {
            zones: zones(&sys),
            slowed_by: slowed_by(&sys),
            power: Power::read(&sys),
            clock_share: cpu::clock_share(&sys),
        }
    }
}

/// What the firmware of a Raspberry Pi says of its supply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Power {
    /// Its word of flags: the low half is about now, the high half about any time since the start.
    pub throttled: Option<u32>,
    /// The alarm of the kernel's sensor.
    pub low_voltage: Option<bool>,
}

/// Flags of the firmware's word, and what they mean.
const FLAGS: [(u32, &str); 4] =
    [(0, "under-voltage"), (1, "clock capped"), (2, "throttled"), (3, "soft temperature limit")];

impl Power {
    pub(super) fn read(sys: &Path) -> Self {
        // soc/soc:firmware; later boards have an address in both names.
        let platform = std::fs::read_dir(sys.join("devices/platform")).into_iter().flatten();
        let socs = platform.filter_map(|e| Some(e.ok()?.path())).take(super::MOST_ENTRIES);
        let throttled = socs
            .filter(|p| super::file_name(p).starts_with("soc"))
            .find_map(|soc| {
                let firmware = format!("{}:firmware", super::file_name(&soc));
                text(&soc.join(firmware).join("get_throttled"))
            })
            .and_then(|word| u32::from_str_radix(word.trim().trim_start_matches("0x"), 16).ok());
        let sensors = folders(&sys.join("class/hwmon"), "hwmon");
        let sensor = sensors.iter().find(|s| name(&s.join("name")).as_deref() == Some("rpi_volt"));
        let low_voltage = sensor.and_then(|s| number(&s.join("in0_lcrit_alarm"), 0, 1)).map(|n| n == 1);
        Power { throttled, low_voltage }
    }

    /// What is wrong at this moment.
    pub fn now(&self) -> Vec<&'static str> {
        let mut found = self.flags(0);
        if self.low_voltage == Some(true) && !found.contains(&FLAGS[0].1) {
            found.insert(0, FLAGS[0].1);
        }
        found
    }

    /// What was wrong at some time since the start.
    pub fn before(&self) -> Vec<&'static str> {
        self.flags(16)
    }

    /// Whether the supply is too weak at this moment.
    pub fn is_low(&self) -> bool {
        self.low_voltage == Some(true) || self.is_set(0)
    }

    /// Whether the firmware throttles at this moment: because of heat or, if the supply is low, because of that.
    pub fn is_throttled(&self) -> bool {
        self.is_set(2)
    }

    fn is_set(&self, bit: u32) -> bool {
        self.throttled.unwrap_or(0) >> bit & 1 == 1
    }

    fn flags(&self, first: u32) -> Vec<&'static str> {
        let word = self.throttled.unwrap_or(0) >> first;
        FLAGS.iter().filter(|(bit, _)| word >> bit & 1 == 1).map(|(_, text)| *text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_condition_is_read_from_few_files() {
        let root = std::env::temp_dir().join(format!("pg-condition-{}", std::process::id()));
        assert_eq!(Condition::read(&root), Condition::default());
        for (file, text) in [
            ("sys/class/thermal/thermal_zone0/type", "cpu-thermal"),
            ("sys/class/thermal/thermal_zone0/temp", "61000"),
            ("sys/class/thermal/cooling_device0/type", "cpufreq-cpu0"),
            ("sys/class/thermal/cooling_device0/cur_state", "2"),
            ("sys/class/thermal/cooling_device0/max_state", "4"),
            ("sys/devices/platform/soc/soc:firmware/get_throttled", "50004"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "600000"),
            ("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "1200000"),
            ("sys/devices/system/cpu/cpu4/cpufreq/scaling_cur_freq", "1500000"),
            ("sys/devices/system/cpu/cpu4/cpufreq/cpuinfo_max_freq", "2000000"),
            ("sys/devices/system/cpu/cpu5/cpufreq/scaling_cur_freq", "<unknown>"),
            ("sys/devices/system/cpu/cpu5/cpufreq/cpuinfo_max_freq", "2000000"),
        ] {
            write(&root, file, text);
        }
        let found = Condition::read(&root);
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!((found.zones.len(), found.zones[0].temperature), (1, 61_000));
        assert_eq!(found.slowed_by, [("cpufreq-cpu0".to_string(), 2, 4)]);
        assert_eq!(found.clock_share, Some(0.75));
        assert!(found.power.is_throttled() && !found.power.is_low());
        let low = Power { throttled: Some(1), low_voltage: None };
        assert!(low.is_low() && !low.is_throttled() && !Power::default().is_low());
    }
}
