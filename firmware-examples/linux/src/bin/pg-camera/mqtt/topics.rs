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
use crate::event::Kind;
use std::collections::BTreeSet;

pub(super) const ONLINE: &str = "online";
pub(super) const STOPPED: &str = "stopped";
pub(super) const OFFLINE: &str = "offline";
/// As a prompt: the prompts of the configuration.
pub(super) const AS_CONFIGURED: &str = "as configured";
/// Labels of a camera that have topics; a camera that looks for more has events for the others.
const MAX_LABELS: usize = 32;

/// Letters of a label that has topics.
const MAX_LABEL: usize = 64;

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

    /// Stands for the base topic in identifiers: small letters, digits and `-`, everything else by its number.
    pub(super) fn node(&self) -> String {
        escape(&self.base, |c| matches!(c, 'a'..='z' | '0'..='9' | '-').then_some(c))
    }

    /// The identifier of a camera's entity, which no other entity of any camera or base topic has: neither the base topic's
    /// part nor `what` has a `_`, so the first and the last one frame the camera.
    pub(super) fn identifier(&self, camera: &str, what: &str) -> String {
        format!("{}_{camera}_{what}", self.node())
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
pub(super) fn labels<'a>(prompts: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for prompt in prompts.filter(|prompt| Kind::of_prompt(prompt) == Kind::Detect) {
        for label in things(prompt) {
            let is_short = label.chars().count() <= MAX_LABEL;
            if is_short && all.len() < MAX_LABELS && all.iter().all(|l| slug(l) != slug(label)) {
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

/// A label as one level of a topic: small ASCII letters, digits and `-` as they are, spaces as `_`, everything else by its
/// number. Labels that differ in more than the size of letters stay different.
pub(super) fn slug(label: &str) -> String {
    escape(&label.to_lowercase(), |c| match c {
        'a'..='z' | '0'..='9' | '-' => Some(c),
        ' ' => Some('_'),
        _ => None,
    })
}

/// A label as the last part of an identifier: as [`slug`], but without `_`, which separates the parts.
pub(super) fn label_part(label: &str) -> String {
    escape(&label.to_lowercase(), |c| match c {
        'a'..='z' | '0'..='9' => Some(c),
        ' ' => Some('-'),
        _ => None,
    })
}

/// A text in letters that topics and identifiers may have. What `plain` has no letter for stands as its number between two
/// `U`, which `plain` never gives: so different texts stay different.
fn escape(text: &str, plain: impl Fn(char) -> Option<char>) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match plain(c) {
            Some(c) => escaped.push(c),
            None => escaped.push_str(&format!("U{:x}U", u32::from(c))),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_levels_of_topics() {
        for (label, expected) in [
            ("person", "person"),
            ("Fire Truck", "fire_truck"),
            ("a/b+c#", "aU2fUbU2bUcU23U"),
            ("猫", "U732bU"),
            ("t-shirt", "t-shirt"),
            ("x\0y", "xU0Uy"),
        ] {
            assert_eq!(slug(label), expected);
        }
    }

    #[test]
    fn identifiers_and_topics_never_meet() {
        let labels = [
            "a b",
            "a_b",
            "a-b",
            "a/b",
            "aU5fUb",
            "a u732b",
            "猫",
            "u732b",
            "b_caption",
            "caption",
            "x_object-y",
        ];
        let slugs: BTreeSet<_> = labels.iter().map(|label| slug(label)).collect();
        assert_eq!(slugs.len(), labels.len(), "{slugs:?}");
        // Names that were chosen to read as parts of one another.
        let bases = ["pg", "pg_a", "pg/a", "pg a", "PG", "pg_a_object-b"];
        let cameras = ["a", "A", "a_b", "a_object", "a_object-b", "a_caption", "object-a", "-", "_", "a_a"];
        let mut seen = BTreeSet::new();
        for base in bases {
            let names = Names::new(base);
            for camera in cameras {
                let parts =
                    labels.iter().flat_map(|l| ["object", "count"].map(|w| format!("{w}-{}", label_part(l))));
                for what in parts.chain(["caption", "event", "run"].map(String::from)) {
                    let id = names.identifier(camera, &what);
                    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
                    assert!(id.chars().all(is_plain), "{id}");
                    assert!(seen.insert(id.clone()), "{id} twice: {base} {camera} {what}");
                }
            }
        }
    }

    #[test]
    fn long_labels_have_events_only() {
        let prompt = |n| format!("detect cat ; {}", "語".repeat(n));
        let longest = prompt(MAX_LABEL);
        assert_eq!(labels([longest.as_str(), "caption en"].into_iter()).len(), 2);
        assert_eq!(labels([prompt(MAX_LABEL + 1).as_str()].into_iter()), ["cat"]);
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
