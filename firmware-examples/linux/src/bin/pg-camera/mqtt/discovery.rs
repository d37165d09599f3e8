//! What Home Assistant is told, so that the cameras appear there by themselves: one retained message for each entity.
//!
//! <https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery>. Names of keys are written out. A state there has at
//! most 255 characters, so templates cut; the whole text is in the attributes.

use super::codec::Filter;
use super::topics::{AS_CONFIGURED, Names, ONLINE, Subject, label_part};
use crate::event::Kind;
use serde_json::{Value, json};

/// Characters of a state.
const STATE: usize = 255;

/// Makes the messages.
#[derive(Debug, Clone)]
pub(super) struct Discovery {
    prefix: String,
    names: Names,
    model: String,
}

/// When an entity is there.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    /// While the program runs.
    Program,
    /// While the camera delivers pictures.
    Camera,
}

impl Discovery {
    pub(super) fn new(prefix: &str, names: &Names, model: &str) -> Self {
        Discovery { prefix: prefix.to_string(), names: names.clone(), model: model.to_string() }
    }

    /// Where Home Assistant says that it has started.
    pub(super) fn birth(&self) -> String {
        format!("{}/status", self.prefix)
    }

    /// What to subscribe to: starts of Home Assistant, and entities left over from another configuration.
    pub(super) fn filters(&self) -> Vec<Filter> {
        let filter =
            |topic, wants_retained| Filter { topic, has_qos1: false, wants_retained, skips_own: true };
        let ours = format!("{}/+/{}/+/config", self.prefix, self.names.node());
        vec![filter(self.birth(), false), filter(ours, true)]
    }

    /// Topic and payload of each of a camera's entities.
    pub(super) fn entities(&self, subject: &Subject) -> Vec<(String, Value)> {
        let mut all = Vec::new();
        let camera = subject.camera.as_str();
        let topic = |what: &str| self.names.camera(camera, what);
        let mut add = |component: &str, id: &str, name: &str, needs, own: Value| {
            let uid = self.names.identifier(camera, id);
            let mut config = self.shared(camera, &uid, name, needs);
            if let (Value::Object(config), Value::Object(own)) = (&mut config, own) {
                config.extend(own);
            }
            all.push((format!("{}/{component}/{}/{uid}/config", self.prefix, self.names.node()), config));
        };
        let cut = |field: &str| format!("{{{{ (value_json.{field} or '')[:{STATE}] }}}}");
        let caption = json!({
            "state_topic": topic("caption"),
            "value_template": cut("caption"),
            "json_attributes_topic": topic("caption"),
            "icon": "mdi:text-box-outline",
        });
        add("sensor", "caption", "Caption", Needs::Camera, caption);
        if subject.has_motion {
            let motion = json!({ "state_topic": topic("motion"), "device_class": "motion" });
            add("binary_sensor", "motion", "Motion", Needs::Camera, motion);
        }
        let picture = json!({ "image_topic": topic("snapshot"), "content_type": "image/jpeg" });
        add("image", "picture", "Picture", Needs::Program, picture);
        add("camera", "snapshot", "Snapshot", Needs::Program, json!({ "topic": topic("snapshot") }));
        let enabled = json!({ "state_topic": topic("enabled/state"), "command_topic": topic("enabled/set") });
        add("switch", "enabled", "Enabled", Needs::Program, enabled);
        let run = json!({ "command_topic": topic("run"), "icon": "mdi:eye-refresh" });
        add("button", "run", "Look", Needs::Camera, run);
        let mut options: Vec<String> = Vec::new();
        for prompt in [AS_CONFIGURED].into_iter().chain(subject.prompts.iter().map(String::as_str)) {
            let option: String = prompt.chars().take(STATE).collect();
            if !options.contains(&option) {
                options.push(option);
            }
        }
        let prompt = json!({
            "state_topic": topic("prompt/state"),
            "command_topic": topic("prompt/set"),
            "value_template": format!("{{{{ value[:{STATE}] }}}}"),
            "options": options,
            "icon": "mdi:comment-question-outline",
        });
        add("select", "prompt", "Prompt", Needs::Program, prompt);
        let query = json!({
            "state_topic": topic("query/state"),
            "command_topic": topic("query/set"),
            "value_template": cut("answer"),
            "json_attributes_topic": topic("query/state"),
            "max": STATE,
            "icon": "mdi:chat-question-outline",
        });
        add("text", "query", "Question", Needs::Camera, query);
        let event = json!({
            "state_topic": topic("event"),
            "event_types": Kind::ALL.map(Kind::name),
            "value_template": "{{ dict(value_json, event_type=value_json.kind) | to_json }}",
        });
        add("event", "event", "Event", Needs::Program, event);
        for label in &subject.labels {
            let (id, topic) = (label_part(label), |what: &str| self.names.label(camera, what, label));
            let seen = json!({ "state_topic": topic("object") });
            add("binary_sensor", &format!("object-{id}"), label, Needs::Camera, seen);
            let count = json!({ "state_topic": topic("count"), "state_class": "measurement" });
            add("sensor", &format!("count-{id}"), &format!("{label} count"), Needs::Camera, count);
            let picture = json!({ "image_topic": topic("snapshot"), "content_type": "image/jpeg" });
            add("image", &format!("picture-{id}"), &format!("{label} picture"), Needs::Program, picture);
        }
        all
    }

    /// What all entities of a camera say.
    fn shared(&self, camera: &str, uid: &str, name: &str, needs: Needs) -> Value {
        let when = |topic: String| {
            let template = format!("{{{{ 'online' if value == '{ONLINE}' else 'offline' }}}}");
            json!({ "topic": topic, "value_template": template })
        };
        let mut availability = vec![when(self.names.of("status"))];
        if needs == Needs::Camera {
            availability.push(when(self.names.camera(camera, "status")));
        }
        json!({
            "name": name,
            "unique_id": uid,
            "object_id": uid,
            "availability": availability,
            "availability_mode": "all",
            "device": {
                "identifiers": [format!("{}_{camera}", self.names.node())],
                "name": camera,
                "manufacturer": "pg-camera",
                "model": self.model,
                "sw_version": env!("CARGO_PKG_VERSION"),
            },
            "origin": { "name": "pg-camera", "sw_version": env!("CARGO_PKG_VERSION") },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn entities(labels: &[&str], prompts: &[&str]) -> Vec<(String, Value)> {
        let texts = |all: &[&str]| all.iter().map(|text| text.to_string()).collect::<Vec<_>>();
        let subject = Subject {
            camera: "door".into(),
            labels: texts(labels),
            has_motion: true,
            prompts: texts(prompts),
        };
        Discovery::new("homeassistant", &Names::new("pg-camera"), "paligemma").entities(&subject)
    }

    #[test]
    fn payloads_are_the_committed_ones() {
        let all = entities(&["fire truck"], &["detect fire truck", "caption en"]);
        let all: serde_json::Map<_, _> = all.into_iter().collect();
        let text =
            serde_json::to_string_pretty(&all).expect("JSON").replace(env!("CARGO_PKG_VERSION"), "VERSION");
        assert_eq!(text.trim(), include_str!("discovery.golden.json").trim(), "\n{text}");
    }

    #[test]
    fn ten_kinds_of_entities_have_their_own_identifiers_and_plain_topics() {
        let all = entities(&["fire truck", "猫", "a/b#+"], &[]);
        let ids: BTreeSet<_> = all.iter().map(|(_, config)| config["unique_id"].to_string()).collect();
        assert_eq!(ids.len(), all.len());
        let kinds: BTreeSet<_> = all.iter().filter_map(|(topic, _)| topic.split('/').nth(1)).collect();
        assert_eq!(kinds.len(), 9, "{kinds:?}, of which `sensor` shows captions and counts");
        for (topic, config) in &all {
            // Home Assistant's own pattern for the last levels.
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            assert!(topic.split('/').all(|level| level.chars().all(is_plain)), "{topic}");
            for (key, value) in config.as_object().expect("an object") {
                let is_topic = key.ends_with("topic");
                assert!(!is_topic || !value.to_string().contains(['+', '#']), "{topic}: {key}: {value}");
            }
        }
    }

    #[test]
    fn states_and_options_are_never_longer_than_home_assistant_takes() {
        let long = "x".repeat(1000);
        for (topic, config) in entities(&[], &[&long, &long]) {
            for option in config["options"].as_array().into_iter().flatten() {
                assert!(option.as_str().is_some_and(|text| text.len() <= STATE), "{topic}");
            }
        }
    }
}
