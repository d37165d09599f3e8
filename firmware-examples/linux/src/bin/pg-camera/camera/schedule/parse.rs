//! The text of a schedule: windows separated by commas, each of one range of hours, days, or both in any order.

use super::{DAY, Window};

/// Windows of a schedule, at most.
const MOST_WINDOWS: usize = 64;
/// The first letters of days decide; the rest may follow.
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Reads a schedule. An error says at which character.
pub(super) fn windows(text: &str) -> Result<Vec<Window>, String> {
    match text.trim() {
        word if word.eq_ignore_ascii_case("always") => {
            return Ok(vec![Window { start: 0, end: DAY, days: [true; 7] }]);
        }
        word if word.eq_ignore_ascii_case("never") => return Ok(Vec::new()),
        _ => {}
    }
    let mut windows = Vec::new();
    let mut at = 0;
    for part in text.split(',') {
        windows.push(window(part).map_err(|(offset, error)| located(text, at + offset, &error))?);
        if windows.len() > MOST_WINDOWS {
            return Err(located(text, at, &format!("there are more than {MOST_WINDOWS} windows")));
        }
        at += part.len() + 1;
    }
    Ok(windows)
}

fn located(text: &str, at: usize, error: &str) -> String {
    let character = text[..at].chars().count() + 1;
    let shown: String = text.chars().take(200).collect();
    format!("when {shown:?}, character {character}: {error}")
}

/// What is wrong, and at which byte.
type Wrong = (usize, String);

fn window(text: &str) -> Result<Window, Wrong> {
    let mut hours = None;
    let mut days = None;
    for (at, word) in words(text) {
        let located = |error| (at, error);
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            if hours.is_some() {
                return Err(located("a second range of hours: separate windows by commas".into()));
            }
            hours = Some(range_of_hours(word).map_err(located)?);
        } else {
            range_of_days(word, days.get_or_insert([false; 7])).map_err(located)?;
        }
    }
    let here = text.len() - text.trim_start().len();
    if hours.is_none() && days.is_none() {
        return Err((
            here,
            "a window is missing: write hours such as 22:00-06:00, days such as mon-fri, or both".into(),
        ));
    }
    let (start, end) = hours.unwrap_or((0, DAY));
    Ok(Window { start, end, days: days.unwrap_or([true; 7]) })
}

/// Words and the byte at which each begins.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_whitespace().map(|word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

fn range_of_hours(word: &str) -> Result<(u16, u16), String> {
    let (start, end) =
        word.split_once('-').ok_or_else(|| format!("{word:?} is no range of hours such as 22:00-06:00"))?;
    let (start, end) = (time(start)?, time(end)?);
    if start == DAY {
        return Err("a window cannot begin at 24:00: write 00:00 and the next day".into());
    }
    if start == end {
        return Err(format!("{word:?} begins when it ends: write 00:00-24:00 for a whole day"));
    }
    Ok((start, end))
}

/// A time such as `6:30` or `24:00`, in minutes.
fn time(text: &str) -> Result<u16, String> {
    let wrong = || format!("{text:?} is no time: write hours and minutes, 00:00 to 24:00");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if !(1..=2).contains(&hour.len()) || minute.len() != 2 || !digits(hour) || !digits(minute) {
        return Err(wrong());
    }
    let (hour, minute): (u16, u16) =
        (hour.parse().map_err(|_| wrong())?, minute.parse().map_err(|_| wrong())?);
    let at = hour * 60 + minute;
    if minute < 60 && at <= DAY { Ok(at) } else { Err(wrong()) }
}

/// Adds `mon` or `mon-fri`; `sat-mon` goes over Sunday.
fn range_of_days(word: &str, days: &mut [bool; 7]) -> Result<(), String> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last) = (day(first)?, day(last)?);
    for i in 0..=(last + 7 - first) % 7 {
        days[(first + i) % 7] = true;
    }
    Ok(())
}

fn day(text: &str) -> Result<usize, String> {
    let lower = text.to_lowercase();
    let found = DAYS.iter().position(|day| lower.len() >= 3 && day.starts_with(&lower));
    found.ok_or_else(|| match lower.as_str() {
        "always" | "never" => format!("{text:?} stands alone, without windows beside it"),
        _ => format!("{text:?} is no day: write mon, tue, wed, thu, fri, sat or sun"),
    })
}
