//! What the types cannot say: ranges, names, and sections that need each other.

use super::{Camera, Config, Display, Http, MAX_PROMPT, MAX_PROMPTS, Mqtt, webhook};
use crate::camera::zone;
use crate::http::remote::Host;
use pg_runtime::platform::sizes;
use pg_targets::camera::Location;
use pg_targets::display;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// More cameras than this are a mistake.
const MAX_CAMERAS: usize = 64;

/// Everything that is wrong with a configuration.
pub(crate) fn check(config: &Config) -> Vec<String> {
    let mut problems = Problems(Vec::new());
    let r = &config.runtime;
    problems.range("runtime.max_prompt_tokens", r.max_prompt_tokens as f64, 4.0, 4096.0);
    problems.range("runtime.max_new_tokens", r.max_new_tokens as f64, 1.0, 4096.0);
    problems.range("runtime.max_side", r.max_side as f64, 16.0, 16384.0);
    problems.range("runtime.max_queue", r.max_queue as f64, 1.0, 1000.0);
    if let Some(limit) = &r.memory_limit {
        problems.result("runtime.memory_limit", sizes::parse(limit));
    }
    problems.result("heat", config.heat.validate());
    problems.range("output.history", config.output.history as f64, 16.0, 100_000.0);
    if let Some(http) = &config.http {
        check_http(http, &mut problems);
    }
    if let Some(mqtt) = &config.mqtt {
        check_mqtt(mqtt, &mut problems);
    }
    if let Some(snapshots) = &config.snapshots {
        problems.result("snapshots.max_size", sizes::parse(&snapshots.max_size));
        problems.range("snapshots.max_days", snapshots.max_days, 0.0, 36500.0);
        problems.range("snapshots.quality", snapshots.quality.into(), 1.0, 100.0);
    }
    if config.cameras.len() > MAX_CAMERAS {
        problems.say(&format!("{} cameras: at most {MAX_CAMERAS} are possible", config.cameras.len()));
    }
    let mut names = BTreeSet::new();
    for camera in &config.cameras {
        if !names.insert(&camera.name) {
            problems.say(&format!("two cameras are called {:?}: rename one", camera.name));
        }
        check_camera(camera, &mut problems);
    }
    problems.0.extend(webhook::validate(&config.webhooks, &names));
    if let Some(display) = &config.display {
        check_display(display, &names, &mut problems);
    }
    problems.0
}

fn check_display(display: &Display, cameras: &BTreeSet<&String>, problems: &mut Problems) {
    let location = display.device.parse::<display::Location>();
    let is_panel = location.as_ref().is_ok_and(|l| !matches!(l, display::Location::Framebuffer(_)));
    if is_panel && !cfg!(feature = "panels") {
        problems.say("display.device: this program was built without the feature panels");
    }
    problems.result("display.device", location);
    if let Some(shown) = display.camera.as_ref().filter(|name| !cameras.contains(name)) {
        problems.say(&format!("display.camera: no camera is called {shown:?}"));
    }
}

fn check_http(http: &Http, problems: &mut Problems) {
    match http.listen.parse::<SocketAddr>() {
        Err(_) => problems
            .say(&format!("http.listen: {:?} is no address with a port; try 127.0.0.1:8080", http.listen)),
        Ok(address) => {
            let is_open = !address.ip().is_loopback() && http.admin_token.is_none();
            if is_open && !http.insecure_i_know {
                problems.say(&format!(
                    "http.listen: {address} can be reached from the network, so http.admin_token must name a file with a token \
                     (such as from `openssl rand -hex 32`)"
                ));
            }
        }
    }
    if http.viewer_token.is_some() && http.admin_token.is_none() {
        problems
            .say("http.viewer_token: needs http.admin_token too, or everybody could do more than a viewer");
    }
    for host in &http.allow_http_images {
        problems.result("http.allow_http_images", host.parse::<Host>());
    }
    problems.range("http.max_connections", http.max_connections as f64, 1.0, 10_000.0);
    problems.range("http.max_viewers", http.max_viewers as f64, 0.0, 1000.0);
    problems.result("http.prompts", http.prompts.validate());
    if http.tls.is_some() && !cfg!(feature = "tls") {
        problems.say("http.tls: this program was built without the feature tls");
    }
}

fn check_mqtt(mqtt: &Mqtt, problems: &mut Problems) {
    if mqtt.host.is_empty() {
        problems.say("mqtt.host: name the broker");
    }
    let topics = [("base_topic", &mqtt.base_topic), ("discovery_prefix", &mqtt.discovery_prefix)];
    for (key, topic) in topics {
        if topic.is_empty()
            || topic.contains(['+', '#', '\0'])
            || topic.starts_with('/')
            || topic.ends_with('/')
        {
            problems.say(&format!("mqtt.{key}: {topic:?} is no beginning of a topic"));
        }
    }
    if !(1..=64).contains(&mqtt.client_id.len()) {
        problems.say("mqtt.client_id: expected 1 to 64 letters");
    }
    problems.range("mqtt.keep_alive", mqtt.keep_alive.into(), 5.0, 3600.0);
    problems.range("mqtt.max_pending", mqtt.max_pending as f64, 16.0, 100_000.0);
    if mqtt.tls.is_some() && !cfg!(feature = "tls") {
        problems.say("mqtt.tls: this program was built without the feature tls");
    }
    if let Some(fleet) = &mqtt.fleet {
        if fleet.group.is_empty() || fleet.group.contains(['/', '+', '#']) {
            problems.say(&format!("mqtt.fleet.group: {:?} is no name of a group", fleet.group));
        }
        if fleet.topic.is_empty() {
            problems.say("mqtt.fleet.topic: name the topic that pictures are sent to");
        }
    }
}

fn check_camera(camera: &Camera, problems: &mut Problems) {
    let name = &camera.name;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !(1..=32).contains(&name.len()) || !name.chars().all(is_plain) {
        problems.say(&format!("camera {name:?}: a name has 1 to 32 letters, digits, _ or -"));
    }
    let at = |key: &str| format!("camera {name}: {key}");
    problems.result(&at("source"), camera.source.parse::<Location>());
    problems.range(&at("max_fps"), camera.max_fps.into(), 0.01, 120.0);
    problems.range(&at("min_interval"), camera.min_interval, 0.0, 86_400.0);
    problems.range(&at("max_interval"), camera.max_interval, 0.0, 86_400.0);
    problems.range(&at("max_age"), camera.max_age, 0.05, 3600.0);
    problems.range(&at("stall"), camera.stall, 1.0, 3600.0);
    problems.result(&at("rate"), camera.rate.validate());
    problems.result(&at("motion"), camera.motion.validate());
    problems.result(&at("dedupe"), camera.dedupe.validate());
    if camera.prompts.is_empty() || camera.prompts.len() > MAX_PROMPTS {
        problems.say(&at(&format!("prompt: expected 1 to {MAX_PROMPTS} of them")));
    }
    for prompt in &camera.prompts {
        if prompt.text.trim().is_empty() || prompt.text.len() > MAX_PROMPT {
            problems.say(&at(&format!("prompt.text: expected 1 to {MAX_PROMPT} bytes")));
        }
        problems.range(&at("prompt.min_score"), prompt.min_score.into(), 0.0, 1.0);
    }
    problems.result(&at("schedule"), camera.schedule.validate());
    problems.result(&at("zone"), zone::validate(&camera.zones));
    for (key, masks) in [("privacy_mask", &camera.privacy_masks), ("motion_mask", &camera.motion_masks)] {
        masks.iter().for_each(|mask| problems.result(&at(key), mask.points.validate()));
    }
}

struct Problems(Vec<String>);

impl Problems {
    fn say(&mut self, problem: &str) {
        self.0.push(problem.to_string());
    }

    fn range(&mut self, key: &str, value: f64, least: f64, most: f64) {
        if !(least..=most).contains(&value) {
            self.0.push(format!("{key}: {value} is not between {least} and {most}"));
        }
    }

    fn result<T, E: std::fmt::Display>(&mut self, key: &str, result: Result<T, E>) {
        if let Err(e) = result {
            self.0.push(format!("{key}: {e}"));
        }
    }
}
