//! Hours at which a camera is looked at, such as `22:00-06:00 mon-fri`.
//!
//! The clock on the wall decides: a window is on while a clock in its time zone shows a time within it. When clocks go forward,
//! an hour that they skip is not there; when they go back, the hour that comes twice is in the window twice. A window that
//! crosses midnight belongs to the day on which it begins. `parse` reads the text. Nothing is remembered between
//! questions, so a clock that is set makes no difference but to the next answer.

mod parse;
#[cfg(test)]
mod tests;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};
use serde::Deserialize;

/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// Days in which the next change is looked for. A weekly window may fall into an hour that is skipped, but not twice in a row.
const DAYS_AHEAD: i32 = 16;

/// When something is on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Windows, separated by commas, each of hours, days or both: `22:00-06:00 mon-fri`, `sat sun`, `08:00-12:30`; or
    /// `always`, or `never`. A window that crosses midnight belongs to the day on which it begins.
    pub(crate) when: String,
    /// The time zone, such as `Europe/Berlin`. Left out: the one that the system is set to, or that `TZ` names.
    pub(crate) time_zone: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { when: "always".into(), time_zone: None }
    }
}

impl Settings {
    /// Says in words what is wrong with them.
    pub(crate) fn validate(&self) -> Result<(), String> {
        Schedule::new(self).map(drop)
    }
}

/// Hours of some days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    /// Minutes of the day, the first below `DAY`, the end up to it. An end at or before the start is on the next day.
    start: u16,
    end: u16,
    /// Whether it begins on a Monday, Tuesday and so on.
    days: [bool; 7],
}

impl Window {
    /// Whether it is on at this minute of this day, 0 being Monday.
    fn is_on(&self, minute: u16, day: usize) -> bool {
        let (today, yesterday) = (self.days[day], self.days[(day + 6) % 7]);
        match self.start < self.end {
            true => today && (self.start..self.end).contains(&minute),
            false => today && minute >= self.start || yesterday && minute < self.end,
        }
    }
}

/// Windows in a time zone.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    windows: Vec<Window>,
    zone: TimeZone,
}

impl Schedule {
    /// Reads what the settings say.
    pub(crate) fn new(settings: &Settings) -> Result<Self, String> {
        let windows = parse::windows(&settings.when)?;
        let zone = match &settings.time_zone {
            None => TimeZone::system(),
            Some(name) => TimeZone::get(name).map_err(|_| {
                format!(
                    "time_zone {name:?} is not known here: names are like Europe/Berlin, and are in the folders of \
                     /usr/share/zoneinfo (package tzdata)"
                )
            })?,
        };
        Ok(Schedule { windows, zone })
    }

    /// Whether it is on at this time.
    pub(crate) fn is_on(&self, now: Timestamp) -> bool {
        let local = self.zone.to_datetime(now);
        let minute = minute(local.time());
        let day = local.weekday().to_monday_zero_offset() as usize;
        self.windows.iter().any(|w| w.is_on(minute, day))
    }

    /// When it goes on or off next; `None` if it does not.
    pub(crate) fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let on = self.is_on(now);
        let first = self.zone.to_datetime(now).date();
        let mut next: Option<Timestamp> = None;
        let mut consider = |at: Timestamp| {
            if at > now && next.is_none_or(|n| at < n) && self.is_on(at) != on {
                next = Some(at);
            }
        };
        // Where a clock comes to a window's border…
        for ahead in 0..=DAYS_AHEAD {
            let Ok(date) = first.checked_add(ahead.days()) else { break };
            for border in self.windows.iter().flat_map(|w| [w.start, w.end]) {
                self.instants(date, border, &mut consider);
            }
        }
        // … and where it is set, which may carry it over one.
        let horizon = now.checked_add(i64::from(24 * DAYS_AHEAD).hours()).unwrap_or(Timestamp::MAX);
        self.zone.following(now).map(|t| t.timestamp()).take_while(|t| *t <= horizon).for_each(consider);
        next
    }

    /// The instants at which a clock comes to a minute of a day: none if the clock skips it, or two.
    fn instants(&self, date: Date, minute: u16, consider: &mut impl FnMut(Timestamp)) {
        let Some(local) = local(date, minute) else { return };
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        let offsets = match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { offset } => [Some(offset), None],
            AmbiguousOffset::Fold { before, after } => [Some(before), Some(after)],
            AmbiguousOffset::Gap { .. } => [None, None],
        };
        offsets.into_iter().flatten().filter_map(|o| o.to_timestamp(local).ok()).for_each(consider);
    }
}

fn minute(time: Time) -> u16 {
    time.hour() as u16 * 60 + time.minute() as u16
}

/// A minute of a day, the last being the next day's first.
fn local(date: Date, minute: u16) -> Option<DateTime> {
    let date = if minute == DAY { date.tomorrow().ok()? } else { date };
    let minute = minute % DAY;
    Some(date.to_datetime(Time::new((minute / 60) as i8, (minute % 60) as i8, 0, 0).ok()?))
}
