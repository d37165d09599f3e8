//! Schedules in zones that set their clocks at different times and by different amounts.

use super::*;
use jiff::SignedDuration;

fn schedule(when: &str, zone: &str) -> Schedule {
    Schedule::new(&Settings { when: when.into(), time_zone: Some(zone.into()) }).unwrap()
}

fn utc(text: &str) -> Timestamp {
    format!("{text}Z").parse().unwrap()
}

/// Every change from one time to another, as UTC, beside a walk minute by minute.
fn changes(schedule: &Schedule, from: &str, to: &str) -> Vec<String> {
    let (mut now, end) = (utc(from), utc(to));
    let mut jumps = Vec::new();
    while let Some(next) = schedule.next_change(now).filter(|n| *n <= end) {
        assert!(next > now);
        jumps.push(next);
        now = next;
    }
    let mut steps = Vec::new();
    let (mut at, mut on) = (utc(from), schedule.is_on(utc(from)));
    while at < end {
        at += SignedDuration::from_mins(1);
        if schedule.is_on(at) != on {
            on = !on;
            steps.push(at);
        }
    }
    assert_eq!(jumps, steps);
    jumps.iter().map(|t| t.strftime("%d %H:%M").to_string()).collect()
}

#[test]
fn nights_of_working_days() {
    // 2026-06-01 is a Monday.
    let nights = schedule("22:00-06:00 mon-fri", "UTC");
    for (at, expected) in [
        ("2026-06-01T05:59:59", false), // Sunday's night does not count.
        ("2026-06-01T21:59:59", false),
        ("2026-06-01T22:00:00", true),
        ("2026-06-02T05:59:59", true),
        ("2026-06-02T06:00:00", false),
        ("2026-06-05T23:00:00", true),
        ("2026-06-06T03:00:00", true), // Friday's night goes on on Saturday.
        ("2026-06-06T22:30:00", false),
    ] {
        assert_eq!(nights.is_on(utc(at)), expected, "{at}");
    }
    assert_eq!(nights.next_change(utc("2026-06-06T06:00:00")), Some(utc("2026-06-08T22:00:00")));
    assert_eq!(
        changes(&nights, "2026-06-05T00:00:00", "2026-06-09T00:00:00"),
        ["05 06:00", "05 22:00", "06 06:00", "08 22:00"]
    );
}

#[test]
fn several_windows_days_alone_and_hours_alone() {
    let mixed = schedule("08:00-12:00 mon wed, 13:00-13:30, sat-sun", "UTC");
    assert_eq!(
        changes(&mixed, "2026-06-01T00:00:00", "2026-06-08T12:30:00"),
        [
            "01 08:00", "01 12:00", "01 13:00", "01 13:30", "02 13:00", "02 13:30", "03 08:00", "03 12:00",
            "03 13:00", "03 13:30", "04 13:00", "04 13:30", "05 13:00", "05 13:30", "06 00:00", "08 00:00",
            "08 08:00", "08 12:00"
        ]
    );
    // Windows that touch are one.
    let touching = schedule("08:00-12:00, 12:00-16:00", "UTC");
    assert_eq!(changes(&touching, "2026-06-01T00:00:00", "2026-06-02T00:00:00"), ["01 08:00", "01 16:00"]);
    let late = schedule("18:00-24:00 sun", "UTC");
    assert_eq!(changes(&late, "2026-06-01T00:00:00", "2026-06-09T00:00:00"), ["07 18:00", "08 00:00"]);
}

#[test]
fn always_and_never_do_not_change() {
    for (when, on) in
        [("always", true), (" Never ", false), ("00:00-24:00", true), ("mon-sun", true), ("sun-sat", true)]
    {
        let schedule = schedule(when, "Europe/Berlin");
        assert_eq!(schedule.is_on(utc("2026-03-29T01:30:00")), on, "{when}");
        assert_eq!(schedule.next_change(utc("2026-03-20T01:30:00")), None, "{when}");
        for edge in [Timestamp::MIN, Timestamp::MAX] {
            assert_eq!((schedule.is_on(edge), schedule.next_change(edge)), (on, None));
        }
    }
}

#[test]
fn the_ends_of_time() {
    let window = schedule("01:00-02:00", "Australia/Lord_Howe");
    assert!(window.next_change(Timestamp::MIN).is_some());
    assert_eq!(window.next_change(Timestamp::MAX), None);
}

#[test]
fn berlin_goes_forward_at_two_and_back_at_three() {
    // 2026-03-29 02:00 CET becomes 03:00 CEST, which is 01:00 UTC.
    let day = |when| changes(&schedule(when, "Europe/Berlin"), "2026-03-28T12:00:00", "2026-03-29T12:00:00");
    assert_eq!(day("02:15-02:45"), [""; 0], "an hour that is skipped");
    assert_eq!(day("01:00-02:30"), ["29 00:00", "29 01:00"]);
    assert_eq!(day("02:30-04:00"), ["29 01:00", "29 02:00"]);
    assert_eq!(day("22:00-06:00"), ["28 21:00", "29 04:00"], "seven hours");
    // 2026-10-25 03:00 CEST becomes 02:00 CET, which is 01:00 UTC.
    let day = |when| changes(&schedule(when, "Europe/Berlin"), "2026-10-24T12:00:00", "2026-10-25T12:00:00");
    assert_eq!(
        day("02:15-02:45"),
        ["25 00:15", "25 00:45", "25 01:15", "25 01:45"],
        "an hour that comes twice"
    );
    assert_eq!(day("01:00-02:30"), ["24 23:00", "25 00:30", "25 01:00", "25 01:30"]);
    assert_eq!(day("02:00-03:00"), ["25 00:00", "25 02:00"]);
    assert_eq!(day("22:00-06:00"), ["24 20:00", "25 05:00"], "nine hours");
}

#[test]
fn new_york_and_a_half_hour_on_lord_howe_island() {
    // 2026-03-08 02:00 EST becomes 03:00 EDT (07:00 UTC); 2026-11-01 02:00 EDT becomes 01:00 EST (06:00 UTC).
    let new_york = schedule("01:30-02:30", "America/New_York");
    assert_eq!(changes(&new_york, "2026-03-08T00:00:00", "2026-03-08T20:00:00"), ["08 06:30", "08 07:00"]);
    assert_eq!(
        changes(&new_york, "2026-11-01T00:00:00", "2026-11-01T20:00:00"),
        ["01 05:30", "01 06:00", "01 06:30", "01 07:30"]
    );
    // 2026-04-05 02:00 +11:00 becomes 01:30 +10:30 (15:00 UTC the day before); 2026-10-04 02:00 becomes 02:30 (15:30 UTC).
    let lord_howe = schedule("01:45-02:15", "Australia/Lord_Howe");
    assert_eq!(
        changes(&lord_howe, "2026-04-04T06:00:00", "2026-04-05T06:00:00"),
        ["04 14:45", "04 15:00", "04 15:15", "04 15:45"]
    );
    assert_eq!(changes(&lord_howe, "2026-10-03T06:00:00", "2026-10-04T06:00:00"), ["03 15:15", "03 15:30"]);
}

#[test]
fn a_weekly_window_that_is_skipped_once_comes_a_week_later() {
    let sunday = schedule("02:15-02:45 sun", "Europe/Berlin");
    assert_eq!(sunday.next_change(utc("2026-03-22T12:00:00")), Some(utc("2026-04-05T00:15:00")));
}

#[test]
fn every_minute_of_a_year_of_changes() {
    for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"] {
        for when in ["22:00-06:00 mon-fri", "01:45-02:15, 02:30-02:31 sun", "23:59-00:01 sat"] {
            let found = changes(&schedule(when, zone), "2026-01-01T00:00:00", "2027-01-01T00:00:00");
            assert!(found.len() > 100, "{zone} {when}");
        }
    }
}

#[test]
fn a_clock_that_is_set_changes_only_the_answer() {
    let nights = schedule("22:00-06:00", "UTC");
    assert!(nights.is_on(utc("2026-06-01T23:00:00")));
    // Back to the time at which boards without a battery begin, and forward again.
    assert!(nights.is_on(utc("1970-01-01T00:00:10")));
    assert_eq!(nights.next_change(utc("1970-01-01T00:00:10")), Some(utc("1970-01-01T06:00:00")));
    assert_eq!(nights.next_change(utc("2026-06-01T23:00:00")), Some(utc("2026-06-02T06:00:00")));
}

#[test]
fn errors_say_where() {
    for (when, expected) in [
        ("22:00-06:00 mon-fry", "character 13: \"fry\" is no day: write mon, tue"),
        ("08:00-12:00,, sat", "character 13: a window is missing"),
        ("", "character 1: a window is missing"),
        ("  ", "character 3: a window is missing"),
        ("sat,25:00-26:00", "character 5: \"25:00\" is no time: write hours and minutes, 00:00 to 24:00"),
        ("8-12", "character 1: \"8\" is no time"),
        ("08:00", "character 1: \"08:00\" is no range of hours"),
        ("08:60-09:00", "\"08:60\" is no time"),
        ("24:00-06:00", "a window cannot begin at 24:00"),
        ("24:01-06:00", "\"24:01\" is no time"),
        ("08:00-08:00", "begins when it ends: write 00:00-24:00"),
        ("08:00-09:00 10:00-11:00", "character 13: a second range of hours: separate windows by commas"),
        ("mon, always", "character 6: \"always\" stands alone"),
        ("ünd, mon", "character 1: \"ünd\" is no day"),
        ("mon, ü, x", "character 6: \"ü\" is no day"),
        ("mo", "\"mo\" is no day"),
        ("mondays", "\"mondays\" is no day"),
        ("mon-", "\"\" is no day"),
        ("08:00-+9:00", "\"+9:00\" is no time"),
        ("0８:00-09:00", "is no time"),
    ] {
        let settings = Settings { when: when.into(), time_zone: None };
        let error = settings.validate().unwrap_err();
        assert!(error.starts_with("when ") && error.contains(expected), "{error}");
    }
    let many = vec!["mon"; 65].join(",");
    let error = Settings { when: many, time_zone: None }.validate().unwrap_err();
    assert!(error.contains("more than 64 windows") && error.len() < 300, "{error}");
    let zone = Settings { when: "always".into(), time_zone: Some("Europe/Atlantis".into()) };
    assert!(zone.validate().unwrap_err().starts_with("time_zone \"Europe/Atlantis\" is not known here"));
}

#[test]
fn settings_are_read() {
    let read = |text: &str| serde_json::from_str::<Settings>(text).map_err(|e| e.to_string());
    assert_eq!(read("{}").unwrap(), Settings::default());
    assert!(Settings::default().validate().is_ok(), "with the zone of this machine");
    assert!(read(r#"{"whenn": "always"}"#).unwrap_err().contains("unknown field `whenn`"));
    for same in ["22:00-6:00 MON-Fri", "Monday-Friday 22:00-06:00", "22:00-06:00 mon tues wed thu friday"] {
        assert_eq!(parse::windows(same), parse::windows("22:00-06:00 mon-fri"), "{same}");
    }
}
