//! What goes into a request, and for which events there is one.

use super::*;
use crate::event::{FrameInfo, Kind, Motion, Object};
use pg_targets::camera::FrameBuffer;

fn event(kind: Kind) -> Event {
    let mut frame = FrameBuffer::default();
    frame.reset(64, 48).fill(90);
    let mut event = Event::new(kind, &"door".into(), "1-2".into(), "now".into());
    event.seq = 7;
    event.frame = Some(FrameInfo { w: 64, h: 48, seq: 1, dropped: 0 });
    event.picture = Some(Arc::new(publish::encode(&frame, 80)));
    event
}

fn object(score: f32, box_px: [u32; 4]) -> Object {
    Object { label: "cat".into(), score, bbox: [0.0; 4], box_px, zones: Vec::new() }
}

fn webhook(more: &str) -> Arc<Webhook> {
    let settings = toml::from_str(&format!("url = \"http://host/s3cret\"\n{more}")).unwrap();
    Webhook::new(&settings, 1).unwrap()
}

/// Width and height of the picture in a body.
fn size(body: &str) -> Option<(u32, u32)> {
    let told: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&told["seq"], &told["camera"]), (&7.into(), &"door".into()));
    let picture = told.get("picture")?;
    assert_eq!(picture["type"], "image/jpeg");
    let jpeg = STANDARD.decode(picture["base64"].as_str().unwrap()).unwrap();
    let picture = pictures::decode_jpeg(&jpeg).unwrap();
    Some((picture.width(), picture.height()))
}

#[test]
fn the_picture_is_none_all_or_what_matters() {
    let sent = |snapshot: &str, event: &Event| {
        let letter = webhook(&format!("snapshot = \"{snapshot}\"")).letter(event).unwrap();
        assert_eq!(letter.key, "1-2-7");
        size(&body(&letter))
    };
    let mut detect = event(Kind::Detect);
    detect.objects =
        vec![object(0.5, [0, 0, 10, 10]), object(0.9, [8, 8, 40, 32]), object(0.1, [0, 0, 64, 48])];
    assert_eq!(sent("none", &detect), None);
    assert_eq!(sent("full", &detect), Some((64, 48)));
    assert_eq!(sent("crop", &detect), Some((32, 24)));
    let mut motion = event(Kind::Motion);
    motion.motion = Some(Motion { active: true, area: Some([0.5, 0.5, 1.0, 1.0]) });
    assert_eq!(sent("crop", &motion), Some((32, 24)));
    // Nothing that matters more, or nothing to cut.
    assert_eq!(sent("crop", &event(Kind::Caption)), Some((64, 48)));
    detect.objects = vec![object(0.9, [40, 40, 40, 40])];
    assert_eq!(sent("crop", &detect), Some((64, 48)));
    detect.picture = None;
    assert_eq!(sent("full", &detect), None);
}

#[test]
fn only_wanted_events_are_sent() {
    let all = webhook("");
    assert!(all.wants(&event(Kind::Motion)));
    let some = webhook("kinds = [\"detect\", \"error\"]\ncameras = [\"door\"]");
    assert!(some.wants(&event(Kind::Detect)) && !some.wants(&event(Kind::Caption)));
    let other = webhook("cameras = [\"garden\"]");
    assert!(!other.wants(&event(Kind::Detect)));
}

#[test]
fn addresses_are_shown_to_nobody() {
    assert!(!format!("{:?}", webhook("")).contains("s3cret"));
}
