//! From the start to the end, as a service manager sees it.

use crate::daemon::{CAMERA, Daemon};
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn events_come_in_order_and_say_what_was_seen() {
    let config = format!(
        "{CAMERA}[[camera.prompt]]\ntext = \"caption en\"\n[[camera.prompt]]\ntext = \"detect object\"\n"
    );
    let daemon = Daemon::start(&config);
    let (first, second) = (daemon.event(), daemon.event());
    // Objects come first, whatever the order in the file, and belong to the same picture.
    assert_eq!((&first["kind"], &second["kind"]), (&"detect".into(), &"caption".into()));
    assert_eq!(first["id"], second["id"]);
    assert_eq!((first["seq"].as_u64(), second["seq"].as_u64()), (Some(1), Some(2)));
    assert_eq!(first["v"], 1);
    assert_eq!(first["model"]["name"], "demo");
    assert_eq!(first["model"]["quant"], "q4");
    assert!(!second["caption"].as_str().unwrap().is_empty());
    let object = &first["objects"][0];
    let sides: Vec<f64> = object["box"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert!(sides.iter().all(|v| (0.0..=1.0).contains(v)) && sides[0] < sides[2] && sides[1] < sides[3]);
    for stage in ["resize_ms", "vision_ms", "prefill_ms", "decode_ms"] {
        assert!(first["timing"][stage].as_f64().unwrap() > 0.0, "{first}");
    }
}

#[test]
fn events_say_which_file_answered_once_that_is_known() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../firmware-examples/linux/demo.q4.gguf");
    let told = Command::new("sha256sum").arg(file).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let daemon = Daemon::start(CAMERA);
    loop {
        let model = &daemon.event()["model"];
        if let Some(digest) = model.get("sha256") {
            assert_eq!(digest.as_str(), told.split(' ').next());
            break;
        }
    }
}

#[test]
fn it_ends_in_time_and_says_so() {
    let mut daemon = Daemon::start(CAMERA);
    daemon.event();
    let asked = Instant::now();
    daemon.signal("TERM");
    daemon.told("STOPPING=1");
    assert!(daemon.ended().success());
    // Five seconds are promised; a machine that is busy may take as long again to notice.
    assert!(asked.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_bad_configuration_changes_nothing_and_a_good_one_does() {
    let mut daemon = Daemon::start(CAMERA);
    daemon.event();
    daemon.configure("[[camera]]\nname = 7\n");
    daemon.signal("HUP");
    daemon.told("RELOADING=1");
    daemon.told("READY=1");
    daemon.logged("the old configuration stays");
    assert_eq!(daemon.event()["camera"], "shapes");

    daemon.configure(&CAMERA.replace("shapes", "other"));
    daemon.signal("HUP");
    daemon.told("RELOADING=1");
    daemon.told("READY=1");
    while daemon.event()["camera"] != "other" {}
    daemon.configure("[output]\nhistory = 50\n");
    daemon.signal("HUP");
    daemon.logged("[output] has changed: that takes effect after a restart");
    daemon.logged("0 cameras");
}

#[test]
fn the_watchdog_hears_of_it_as_long_as_it_goes_on() {
    let mut daemon = Daemon::start_with(CAMERA, |command| {
        command.env("WATCHDOG_USEC", "600000");
    });
    daemon.told("STATUS=1 of 1 cameras online");
    for _ in 0..3 {
        daemon.told("WATCHDOG=1");
    }
}

#[test]
fn a_source_that_cannot_be_opened_is_told_once_and_tried_again() {
    let config = "[[camera]]\nname = \"none\"\nsource = \"mjpeg+http://127.0.0.1:9/none\"\n";
    let daemon = Daemon::start(config);
    let event = daemon.event_of("error");
    assert_eq!(event["camera"], "none");
    assert!(event["error"].as_str().unwrap().contains("127.0.0.1:9"), "{event}");
    // In the log each time.
    daemon.logged("127.0.0.1:9");
    daemon.logged("127.0.0.1:9");
}

#[test]
fn nothing_is_seen_outside_the_schedule() {
    let config = format!("{CAMERA}schedule = {{ when = \"never\" }}\n");
    let mut daemon = Daemon::start(&config);
    daemon.told("STATUS=0 of 1 cameras online");
    daemon.signal("TERM");
    assert!(daemon.ended().success());
}
