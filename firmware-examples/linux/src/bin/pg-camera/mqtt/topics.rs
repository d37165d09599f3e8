//! The topics, all of them below `mqtt.base_topic`.
//!
//! | topic | says | retained |
//! | --- | --- | --- |
//! | `status` | `online`, `stopped` (by itself), `offline` (the broker lost it) | yes |
//! | `stats` | JSON, once a minute | no |
//! | `<camera>/status` | `starting`, `online`, `offline`, `off`, `ended` | yes |
//! | `<camera>/event` | every event, JSON | no |
//! | `<camera>/caption` | the newest caption's event, JSON | yes |
//! | `<camera>/motion` | `ON`, `OFF` | yes |
//! | `<camera>/object/<label>` | `ON`, `OFF`: whether the last look saw one | yes |
//! | `<camera>/count/<label>` | how many the last look saw | yes |
//! | `<camera>/snapshot` | JPEG of the last look | yes |
//! | `<camera>/snapshot/<label>` | JPEG of the best such object alone | yes |
//! | `<camera>/enabled/set`, `/state` | `ON`, `OFF` | state |
//! | `<camera>/prompt/set`, `/state` | what to ask, a prompt a line, or [`AS_CONFIGURED`] | state |
//! | `<camera>/run` | anything: look at the next picture | |
//! | `<camera>/picture/set` | a picture file, for a camera whose source is `push:` | |
//! | `<camera>/query/set`, `/state` | a question about the newest picture; the answer, JSON | state |
//! | `fleet/answer` | answers to pictures that name no response topic | no |

use super::codec::{Filter, Publish};
use crate::engine::Question;
use crate::event::Kind;
use std::collections::BTreeSet;

pub(super) const ONLINE: &str = "online";
pub(super) const STOPPED: &str = "stopped";
pub(super) const OFFLINE: &str = "offline";
/// As a prompt: the prompts of the configuration.
pub(super) const AS_CONFIGURED: &str = "as configured";
/// Labels of a camera that have topics; a camera that looks for more has events for the others.
const MAX_LABELS: usize = 32;

/// What a camera can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Enable,
    Prompt,
    Run,
    Picture,
    Query,
}

const COMMANDS: [(&str, Command); 5] = [
    ("enabled/set", Command::Enable),
    ("prompt/set", Command::Prompt),
    ("run", Command::Run),
    ("picture/set", Command::Picture),
    ("query/set", Command::Query),
];

/// Makes topics.
#[derive(Debug, Clone)]
pub(super) struct Names {
    base: String,
}

/// What a camera's topics depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) camera: String,
    /// What it is told to look for.
    pub(super) labels: Vec<String>,
    /// Whether it tells when something moves.
    pub(super) has_motion: bool,
    /// What it can be told to ask.
    pub(super) prompts: Vec<String>,
}

impl Names {
    pub(super) fn new(base: &str) -> Self {
        Names { base: base.to_string() }
    }

    /// Stands for the base topic in identifiers.
    pub(super) fn node(&self) -> String {
        slug(&self.base)
    }

    pub(super) fn of(&self, what: &str) -> String {
        format!("{}/{what}", self.base)
    }

    pub(super) fn camera(&self, camera: &str, what: &str) -> String {
        format!("{}/{camera}/{what}", self.base)
    }

    pub(super) fn label(&self, camera: &str, what: &str, label: &str) -> String {
        format!("{}/{camera}/{what}/{}", self.base, slug(label))
    }

    /// What to subscribe to in order to be told what to do. The broker keeps the retained ones to itself: they would happen
    /// again at every connection.
    pub(super) fn commands(&self) -> Vec<Filter> {
        let filter = |(what, _): &(&str, Command)| filter(self.camera("+", what), false);
        COMMANDS.iter().map(filter).collect()
    }

    /// What to subscribe to in order to find out which retained topics are left over from another configuration.
    pub(super) fn leftovers(&self) -> Vec<Filter> {
        ["status", "caption", "motion", "snapshot", "object/+", "count/+", "snapshot/+", "+/state"]
            .iter()
            .map(|what| filter(self.camera("+", what), true))
            .collect()
    }

    /// Which camera a message tells to do what.
    pub(super) fn command<'a>(&self, message: &'a Publish) -> Option<(&'a str, Command)> {
        let rest = message.topic.strip_prefix(&self.base)?.strip_prefix('/')?;
        let (camera, what) = rest.split_once('/')?;
        COMMANDS.iter().find(|(name, _)| *name == what).map(|(_, command)| (camera, *command))
    }

    /// All retained topics of a camera.
    pub(super) fn retained(&self, subject: &Subject, into: &mut BTreeSet<String>) {
        let camera = &subject.camera;
        let plain = ["status", "caption", "snapshot", "enabled/state", "prompt/state", "query/state"];
        into.extend(plain.iter().map(|what| self.camera(camera, what)));
        if subject.has_motion {
            into.insert(self.camera(camera, "motion"));
        }
        for label in &subject.labels {
            into.extend(["object", "count", "snapshot"].map(|what| self.label(camera, what, label)));
        }
    }
}

fn filter(topic: String, wants_retained: bool) -> Filter {
    Filter { topic, has_qos1: false, wants_retained, skips_own: true }
}

/// What prompts say to look for, each once.
pub(super) fn labels(questions: &[Question]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for question in questions.iter().filter(|q| Kind::of_prompt(&q.text) == Kind::Detect) {
        for label in things(&question.text) {
            if all.len() < MAX_LABELS && all.iter().all(|l| slug(l) != slug(label)) {
                all.push(label.to_string());
            }
        }
    }
    all
}

/// The things of `detect thing ; thing`.
pub(super) fn things(prompt: &str) -> impl Iterator<Item = &str> {
    let (_, things) = prompt.trim().split_once(' ').unwrap_or_default();
    things.split(';').map(str::trim).filter(|thing| !thing.is_empty())
}

/// A label as one level of a topic: small ASCII letters and digits; other letters by their numbers, so that labels in any
/// writing stay different.
pub(super) fn slug(label: &str) -> String {
    let mut slug = String::new();
    for c in label.chars().flat_map(char::to_lowercase).take(64) {
        match c {
            'a'..='z' | '0'..='9' | '-' => slug.push(c),
            c if c.is_alphanumeric() => slug.push_str(&format!("u{:x}", u32::from(c))),
            _ => slug.push('_'),
        }
    }
    slug
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_levels_of_topics() {
        for (label, expected) in [
            ("person", "person"),
            ("Fire Truck", "fire_truck"),
            ("a/b+c#", "a_b_c_"),
            ("猫", "u732b"),
            ("犬", "u72ac"),
            ("x\0y", "x_y"),
        ] {
            assert_eq!(slug(label), expected);
        }
        assert!(slug(&"語".repeat(10_000)).len() < 500);
    }

    #[test]
    fn things_are_what_stands_between_semicolons() {
        let all = |prompt| things(prompt).collect::<Vec<_>>();
        assert_eq!(all("detect person ; fire truck;car "), ["person", "fire truck", "car"]);
        assert_eq!(all("detect"), [""; 0]);
        assert_eq!(all("detect ;;"), [""; 0]);
    }

    #[test]
    fn commands_are_found_in_their_topics_only() {
        let names = Names::new("home/pg");
        let command = |topic: &str| {
            let message = Publish { topic: topic.into(), ..Publish::default() };
            names.command(&message).map(|(camera, command)| (camera.to_string(), command))
        };
        assert_eq!(command("home/pg/door/run"), Some(("door".into(), Command::Run)));
        assert_eq!(command("home/pg/door/enabled/set"), Some(("door".into(), Command::Enable)));
        for other in
            ["home/pg/door/enabled/state", "home/pg/run", "home/pgx/door/run", "x/home/pg/door/run", ""]
        {
            assert_eq!(command(other), None, "{other}");
        }
    }

    #[test]
    fn no_retained_topic_of_a_camera_is_overlooked_among_leftovers() {
        let names = Names::new("pg");
        let subject = Subject {
            camera: "door".into(),
            labels: vec!["cat".into()],
            has_motion: true,
            prompts: Vec::new(),
        };
        let mut retained = BTreeSet::new();
        names.retained(&subject, &mut retained);
        let matches = |filter: &str, topic: &str| {
            let (filter, topic): (Vec<_>, Vec<_>) = (filter.split('/').collect(), topic.split('/').collect());
            filter.len() == topic.len() && filter.iter().zip(&topic).all(|(f, t)| f == t || *f == "+")
        };
        for topic in &retained {
            let n = names.leftovers().iter().filter(|f| matches(&f.topic, topic)).count();
            assert_eq!(n, 1, "{topic}");
            // A message that two filters match would come twice.
            assert!(!names.commands().iter().any(|f| matches(&f.topic, topic)), "{topic}");
        }
    }
}
