//! The governor with a trace, with simulated boards, and with files of real ones.

use super::*;
use pg_targets::machine::Condition;
use std::path::Path;

fn reading(margin: f64) -> Reading {
    Reading { margin: Some(margin), hottest: Some(80.0 - margin), ..Reading::default() }
}

#[test]
fn a_trace_gives_its_levels() {
    let start = Instant::now();
    let mut governor = Governor::new(Settings::default());
    let mut lines = 0;
    for line in include_str!("trace.txt").lines().filter(|l| !l.starts_with('#')) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [seconds, degrees, flags, expected] = fields[..] else { panic!("{line}") };
        let mut reading = reading(80.0 - degrees.parse::<f64>().unwrap());
        reading.slowed = flags.contains('s');
        reading.low_voltage = flags.contains('v');
        let level = governor.step(&reading, start + Duration::from_secs(seconds.parse().unwrap()));
        assert_eq!((level.name(), governor.level()), (expected, level), "{line}");
        lines += 1;
    }
    assert!(lines > 20);
}

/// A board of first order: it comes nearer to the temperature that its power leads to, by 1/e in `seconds`.
struct Board {
    surroundings: f64,
    /// Degrees above the surroundings that full work leads to.
    full: f64,
    seconds: f64,
    degrees: f64,
}

/// Levels, and what they do, in `hours` with a reading every five seconds: number of changes in the first and in the second
/// half, the highest temperature of the second half, and the mean share of work in it.
fn simulate(mut board: Board, hours: u64) -> (usize, usize, f64, f64) {
    let start = Instant::now();
    let mut governor = Governor::new(Settings::default());
    let (mut changes, mut hottest, mut work, mut steps) = ([0, 0], f64::MIN, 0.0, 0.0);
    let mut noise = 1_u32;
    for second in (0..hours * 3600).step_by(5) {
        let share = [1.0, 0.65, 0.3, 0.05][governor.level() as usize];
        let end = board.surroundings + board.full * share;
        board.degrees += (end - board.degrees) * (1.0 - (-5.0 / board.seconds).exp());
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let seen = board.degrees + f64::from(noise >> 24) / 256.0 - 0.5;
        let before = governor.level();
        let half = usize::from(second >= hours * 1800);
        if governor.step(&reading(80.0 - seen), start + Duration::from_secs(second)) != before {
            changes[half] += 1;
        }
        if half == 1 {
            hottest = hottest.max(board.degrees);
            work += share;
            steps += 1.0;
        }
    }
    (changes[0], changes[1], hottest, work / steps)
}

#[test]
fn simulated_boards_settle() {
    for seconds in [20.0, 60.0, 200.0, 600.0] {
        for surroundings in [10.0, 25.0, 35.0, 45.0] {
            for full in [20.0, 35.0, 45.0, 60.0, 80.0] {
                let board = Board { surroundings, full, seconds, degrees: surroundings };
                let (early, late, hottest, work) = simulate(board, 8);
                let what = format!(
                    "{seconds} s, {surroundings} + {full}: {early} and {late} changes, {hottest:.1} degrees, {work:.2}"
                );
                if surroundings + full < 74.0 {
                    assert_eq!((early, late, work), (0, 0, 1.0), "a cool board works: {what}");
                }
                assert!(hottest < 82.0, "{what}");
                // Two changes for each try of a higher level, one every quarter of an hour.
                assert!(early <= 45 && late <= 34, "{what}");
                assert!(work >= 0.3 || surroundings + full * 0.3 > 65.0, "it does what it can: {what}");
            }
        }
    }
}

#[test]
fn a_board_between_two_levels_does_not_swing() {
    // Hot at full work (80), cool at two thirds (63): every try is too much.
    let board = || Board { surroundings: 30.0, full: 50.0, seconds: 60.0, degrees: 30.0 };
    let (early, late, ..) = simulate(board(), 4);
    assert!(early <= 20 && late <= 16, "{early} {late}");
}

#[test]
fn a_governor_that_had_patience_gets_it_back() {
    let start = Instant::now();
    let mut governor = Governor::new(Settings::default());
    let mut at = 0;
    let mut stay = |governor: &mut Governor, margin: f64, seconds: u64| {
        for _ in 0..seconds / 5 {
            at += 5;
            governor.step(&reading(margin), start + Duration::from_secs(at));
        }
        governor.level()
    };
    // Each try is too early, and the next one later.
    for patience in [1, 2, 4, 8, 16, 16] {
        assert_eq!(stay(&mut governor, 4.0, 20), Level::FewerThreads);
        assert_eq!(governor.patience, patience);
        assert_eq!(stay(&mut governor, 20.0, 60 * u64::from(patience)), Level::Cool);
    }
    // One that lasts.
    assert_eq!(stay(&mut governor, 20.0, 16 * 60), Level::Cool);
    assert_eq!(stay(&mut governor, 4.0, 20), Level::FewerThreads);
    assert_eq!(governor.patience, 1);
}

#[test]
fn without_sensors_only_flags_count() {
    let start = Instant::now();
    let mut governor = Governor::new(Settings::default());
    let at = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(governor.step(&Reading::default(), at(0)), Level::Cool);
    let slowed = Reading { slowed: true, ..Reading::default() };
    let levels: Vec<_> = (1..5).map(|i| governor.step(&slowed, at(20 * i))).collect();
    assert_eq!(levels, [Level::FewerThreads, Level::LongerInterval, Level::Paused, Level::Paused]);
    assert_eq!(governor.step(&Reading::default(), at(200)), Level::LongerInterval);
}

#[test]
fn a_single_reading_far_above_the_limit_is_not_believed() {
    let start = Instant::now();
    let mut governor = Governor::new(Settings::default());
    assert_eq!(governor.step(&reading(-120.0), start), Level::FewerThreads);
    assert_eq!(governor.step(&reading(30.0), start + Duration::from_secs(2)), Level::FewerThreads);
    assert_eq!(governor.step(&reading(-120.0), start + Duration::from_secs(4)), Level::FewerThreads);
    assert_eq!(governor.step(&reading(-5.0), start + Duration::from_secs(6)), Level::Paused);
    // Times that go back are no time.
    assert_eq!(governor.step(&reading(40.0), start), Level::Paused);
}

#[test]
fn what_levels_do() {
    let settings = Settings::default();
    let threads: Vec<_> = Level::ALL.iter().map(|l| l.threads(4, &settings)).collect();
    assert_eq!(threads, [4, 2, 2, 2]);
    assert_eq!((Level::Paused.threads(1, &settings), Level::Cool.threads(1, &settings)), (1, 1));
    let second = Duration::from_secs(1);
    let intervals: Vec<_> = Level::ALL.iter().map(|l| l.interval(second, &settings)).collect();
    assert_eq!(intervals, [Some(second), Some(second), Some(3 * second), None]);
    assert_eq!(Level::ALL.map(Level::name), ["cool", "fewer-threads", "longer-interval", "paused"]);
}

fn tree(name: &str) -> Condition {
    let trees = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/doctor/trees");
    assert!(trees.join(name).is_dir());
    Condition::read(&trees.join(name))
}

#[test]
fn limits_of_boards_are_their_own() {
    let settings = Settings::default();
    let of = |name: &str| Reading::new(&tree(name), &settings, true);
    // The kernel of a Raspberry Pi only knows where it switches off (110 and 90 degrees).
    let pi_5 = of("raspberry-pi-5-8gb");
    assert_eq!((pi_5.hottest, pi_5.margin.map(f64::round)), (Some(52.35), Some(28.0)));
    let pi_4 = of("raspberry-pi-4-4gb-low-voltage");
    assert_eq!((pi_4.hottest, pi_4.low_voltage, pi_4.slowed), (Some(84.725), true, false));
    assert!((pi_4.margin.unwrap() + 4.725).abs() < 1e-9, "{pi_4:?}");
    // A Jetson slows down from 99 degrees.
    assert_eq!(of("jetson-orin-nano").margin, Some(48.0));
    assert_eq!(of("empty"), Reading::default());
    let set = Settings { limit_celsius: Some(60.0), zones: vec!["GPU-therm".into()], ..Settings::default() };
    let jetson = Reading::new(&tree("jetson-orin-nano"), &set, true);
    assert_eq!((jetson.hottest, jetson.margin), (Some(49.5), Some(10.5)));
    let hostile = of("hostile");
    assert!(hostile.margin.is_none_or(f64::is_finite) && hostile.hottest.is_none_or(f64::is_finite));
}

#[test]
fn slow_clocks_count_only_during_work() {
    let condition = Condition { clock_share: Some(0.5), ..Condition::default() };
    let slowed = |working| Reading::new(&condition, &Settings::default(), working).slowed;
    assert!(slowed(true) && !slowed(false));
    let mut governor = Governor::new(Settings::default());
    let cold = Reading { slowed: true, ..reading(30.0) };
    assert_eq!(governor.step(&cold, Instant::now()), Level::Cool, "somebody chose a slow clock");
}

#[test]
fn settings_are_read_and_refused_in_words() {
    let read = |text: &str| serde_json::from_str::<Settings>(text).map_err(|e| e.to_string());
    assert_eq!(read("{}").unwrap(), Settings::default());
    assert!(Settings::default().validate().is_ok());
    assert!(read(r#"{"limit": 1}"#).unwrap_err().contains("unknown field `limit`"));
    for (text, expected) in [
        (r#"{"limit_celsius": 80000}"#, "limit_celsius is 80000: give 20 to 120"),
        (r#"{"hot_margin": -1}"#, "hot_margin is -1"),
        (r#"{"cool_margin": 5}"#, "cool_margin 5 must be at least a degree more than hot_margin 5"),
        (r#"{"up_seconds": 0}"#, "up_seconds is 0"),
        (r#"{"down_seconds": 9999}"#, "down_seconds is 9999"),
        (r#"{"min_clock_share": 70}"#, "min_clock_share is 70"),
        (r#"{"interval_factor": 0}"#, "interval_factor is 0"),
    ] {
        let error = read(text).unwrap().validate().unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}
