//! Keeps the retained topics of the cameras as the cameras are, and tells their events.

use super::discovery::Discovery;
use super::outbox::{Message, Outbox};
use super::topics::{self, AS_CONFIGURED, Names, Subject};
use crate::camera::{Camera, Roster};
use crate::config::Trigger;
use crate::engine::Question;
use crate::event::{Event, Kind};
use pg_runtime::pictures;
use std::collections::BTreeSet;
use std::sync::Arc;

/// JPEG quality of pictures of single objects.
const QUALITY: u8 = 85;
/// What can be asked besides what is configured.
const USUAL: [&str; 3] = ["caption en", "describe en", "ocr"];

/// The cameras as they were told last.
#[derive(Debug)]
pub(super) struct Cameras {
    names: Names,
    discovery: Option<Discovery>,
    told: Vec<Told>,
    /// Everything that the cameras have on the broker.
    wanted: BTreeSet<String>,
}

/// A camera as it was told last.
#[derive(Debug)]
struct Told {
    camera: Arc<Camera>,
    questions: Arc<Vec<Question>>,
    labels: Vec<String>,
    /// The picture of its last event.
    picture: Option<Arc<Vec<u8>>>,
}

/// Objects to be cut out of a picture.
#[derive(Debug)]
pub(super) struct Cuttings {
    picture: Arc<Vec<u8>>,
    /// Topic, and left, top, right, bottom in pixels.
    boxes: Vec<(String, [u32; 4])>,
}

impl Cameras {
    pub(super) fn new(names: &Names, discovery: Option<Discovery>) -> Self {
        Cameras { names: names.clone(), discovery, told: Vec::new(), wanted: BTreeSet::new() }
    }

    /// Whether this retained topic is ours and in use.
    pub(super) fn is_wanted(&self, topic: &str) -> bool {
        self.wanted.contains(topic)
    }

    /// Tells what has changed since the last call.
    pub(super) fn refresh(&mut self, roster: &Roster, outbox: &mut Outbox) {
        let cameras = roster.cameras();
        let is_same = self.told.len() == cameras.len()
            && self.told.iter().zip(cameras.iter()).all(|(told, camera)| {
                Arc::ptr_eq(&told.camera, camera) && Arc::ptr_eq(&told.questions, &camera.questions())
            });
        if !is_same {
            self.take(&cameras, outbox);
        }
        for told in &self.told {
            let (camera, name) = (&told.camera, &*told.camera.name);
            let mut set = |what: &str, value: &str| {
                outbox.set(&self.names.camera(name, what), value.as_bytes().to_vec());
            };
            set("status", camera.status().borrow().name());
            set("enabled/state", on_off(*camera.enabled().borrow()));
            set("prompt/state", &asked(camera));
        }
    }

    /// Follows another configuration, or another prompt.
    fn take(&mut self, cameras: &[Arc<Camera>], outbox: &mut Outbox) {
        let mut before = std::mem::take(&mut self.told);
        self.wanted.clear();
        for camera in cameras {
            let questions = camera.questions();
            let known = before.iter().position(|told| Arc::ptr_eq(&told.camera, camera));
            let picture = known.and_then(|i| before.swap_remove(i).picture);
            let labels = topics::labels(questions.iter().map(|q| &*q.text));
            let subject = subject(camera, &labels);
            self.names.retained(&subject, &mut self.wanted);
            for (topic, payload) in self.discovery.iter().flat_map(|d| d.entities(&subject)) {
                outbox.set(&topic, payload.to_string().into_bytes());
                self.wanted.insert(topic);
            }
            if subject.has_motion && known.is_none() {
                outbox.set(&self.names.camera(&camera.name, "motion"), b"OFF".to_vec());
            }
            self.told.push(Told { camera: camera.clone(), questions, labels, picture });
        }
        self.wanted.insert(self.names.of("status"));
        outbox.keep(&self.wanted);
    }

    /// Tells an event. Returns what is to be cut out of its picture.
    pub(super) fn tell(&mut self, event: &Event, outbox: &mut Outbox) -> Option<Cuttings> {
        let json = serde_json::to_vec(event).ok()?;
        let topic = |what: &str| self.names.camera(&event.camera, what);
        outbox.event(Message::new(topic("event"), json.clone()));
        let told = self.told.iter_mut().find(|told| told.camera.name == event.camera)?;
        match (event.kind, &event.motion) {
            (Kind::Caption, _) => outbox.set(&topic("caption"), json),
            (Kind::Motion, Some(motion)) => {
                outbox.set(&topic("motion"), on_off(motion.active).as_bytes().to_vec())
            }
            (Kind::Detect, _) => count(&self.names, event, &told.labels, outbox),
            _ => {}
        }
        let picture = event.picture.as_ref()?;
        if told.picture.as_ref().is_none_or(|before| !Arc::ptr_eq(before, picture)) {
            outbox.set(&topic("snapshot"), picture.clone());
            told.picture = Some(picture.clone());
        }
        let best = |label: &String| {
            let same = event.objects.iter().filter(|o| topics::slug(&o.label) == topics::slug(label));
            let best = same.max_by(|a, b| a.score.total_cmp(&b.score))?;
            Some((self.names.label(&event.camera, "snapshot", label), best.box_px))
        };
        let boxes: Vec<_> = told.labels.iter().filter_map(best).collect();
        (!boxes.is_empty()).then(|| Cuttings { picture: picture.clone(), boxes })
    }
}

/// Tells of every label that was looked for whether, and how often, it was seen.
fn count(names: &Names, event: &Event, labels: &[String], outbox: &mut Outbox) {
    let asked: Vec<String> = event.prompt.iter().flat_map(|p| topics::things(p)).map(topics::slug).collect();
    for label in labels.iter().filter(|label| asked.contains(&topics::slug(label))) {
        let n = event.objects.iter().filter(|o| topics::slug(&o.label) == topics::slug(label)).count();
        outbox.set(&names.label(&event.camera, "object", label), on_off(n > 0).as_bytes().to_vec());
        outbox.set(&names.label(&event.camera, "count", label), n.to_string().into_bytes());
    }
}

fn on_off(is_on: bool) -> &'static str {
    if is_on { "ON" } else { "OFF" }
}

/// What a camera is asked, a prompt a line.
fn asked(camera: &Camera) -> String {
    let questions = camera.questions();
    let configured = camera.settings.prompts.iter().map(|p| p.text.as_str());
    if questions.iter().map(|q| &*q.text).eq(configured) {
        return AS_CONFIGURED.into();
    }
    questions.iter().map(|q| &*q.text).collect::<Vec<_>>().join("\n")
}

fn subject(camera: &Camera, labels: &[String]) -> Subject {
    let configured = camera.settings.prompts.iter().map(|p| p.text.clone());
    let prompts = configured.chain(USUAL.map(String::from)).chain([asked(camera)]).collect();
    Subject {
        camera: camera.name.to_string(),
        labels: labels.to_vec(),
        has_motion: camera.settings.trigger == Trigger::Motion,
        prompts,
    }
}

impl Cuttings {
    /// Topics and JPEG pictures of the objects. Takes a while.
    pub(super) fn cut(self) -> Vec<(String, Vec<u8>)> {
        let picture = match pictures::decode_jpeg(&self.picture) {
            Ok(picture) => picture,
            Err(e) => {
                ::log::warn!("a picture of our own {e}");
                return Vec::new();
            }
        };
        let cut = |(topic, corners)| Some((topic, crate::publish::cut(&picture, corners, QUALITY)?));
        self.boxes.into_iter().filter_map(cut).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pg_targets::camera::FrameBuffer;

    #[test]
    fn objects_are_cut_out_of_pictures_where_they_are() {
        let mut frame = FrameBuffer::default();
        frame.reset(64, 48);
        // Left half red, right half blue.
        for (i, pixel) in frame.data_mut().chunks_exact_mut(3).enumerate() {
            pixel.copy_from_slice(if i % 64 < 32 { &[250, 0, 0] } else { &[0, 0, 250] });
        }
        let picture = Arc::new(crate::publish::encode(&frame, 95));
        let boxes = vec![
            ("blue".to_string(), [40, 8, 64, 24]),
            ("beyond".to_string(), [0, 40, 1000, 1000]),
            ("nothing".to_string(), [64, 0, 70, 9]),
            ("turned".to_string(), [20, 20, 10, 10]),
        ];
        let cut = Cuttings { picture, boxes }.cut();
        let names: Vec<_> = cut.iter().map(|(topic, _)| topic.as_str()).collect();
        assert_eq!(names, ["blue", "beyond"]);
        let part = pictures::decode_jpeg(&cut[0].1).expect("a picture");
        assert_eq!((part.width(), part.height()), (24, 16));
        assert!(part.data().chunks_exact(3).all(|p| p[2] > 200 && p[0] < 50));
        let part = pictures::decode_jpeg(&cut[1].1).expect("a picture");
        assert_eq!((part.width(), part.height()), (64, 8));
    }
}
