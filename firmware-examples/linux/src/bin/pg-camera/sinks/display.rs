//! The newest picture with its boxes and words on a display of the board.
//!
//! Only this task waits for the display. One that fails is complained of once and opened again, at first after a second, at
//! last every minute; meanwhile everything else goes on.

use crate::app::App;
use crate::config;
use crate::event::{Event, Kind, Object};
use pg_runtime::pictures::{self, Label};
use pg_targets::display::{Display, Location, View};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// From the first to the longest pause before a display that failed is opened again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// Shows events until the program ends.
pub(crate) async fn run(app: Arc<App>, settings: config::Display) {
    let location: Location = match settings.device.parse() {
        Ok(location) => location,
        // Checked with the configuration.
        Err(e) => return ::log::error!("display.device: {e}"),
    };
    let (mut newest, mut stopping) = (app.log.subscribe(), app.stopping());
    let (mut screen, mut scene) = (Screen::new(move || location.open()), Scene::default());
    let mut seen = 0;
    // Opened before there is anything to show, so that mistakes are told early.
    let mut again = Some(Duration::ZERO);
    loop {
        let pause = sleep(again.unwrap_or(PAUSES[1]));
        tokio::select! {
            () = pause, if again.is_some() => {}
            _ = newest.changed(), if screen.complaint.is_none() || again.is_none() => {}
            _ = stopping.changed() => return,
        }
        let events = app.log.after(seen, usize::MAX).events;
        seen = events.last().map_or(seen, |e| e.seq);
        let is_shown = |e: &&Arc<Event>| settings.camera.as_ref().is_none_or(|name| **name == *e.camera);
        events.iter().filter(is_shown).for_each(|e| scene.add(e));
        let drawing = tokio::task::spawn_blocking(move || {
            let wait = screen.show(&scene);
            (screen, scene, wait)
        });
        tokio::select! {
            drawn = drawing => match drawn {
                Ok(drawn) => (screen, scene, again) = drawn,
                Err(e) => return ::log::error!("display: {e}; nothing more is shown"),
            },
            _ = stopping.changed() => return,
        }
    }
}

/// What there is to show: the newest picture, and what was said of it.
#[derive(Debug, Default)]
struct Scene {
    /// The last event with a picture.
    newest: Option<Arc<Event>>,
    objects: Vec<Object>,
    /// Answers in words, which stay until there are others.
    words: Vec<String>,
    /// Whether the words are about this picture.
    are_words_new: bool,
}

impl Scene {
    fn add(&mut self, event: &Arc<Event>) {
        if event.picture.is_none() || !matches!(event.kind, Kind::Detect | Kind::Caption | Kind::Answer) {
            return;
        }
        let look = |e: &Event| (e.camera.clone(), e.frame.as_ref().map(|f| f.seq));
        let before = self.newest.as_deref().map(look);
        if before.as_ref() != Some(&look(event)) {
            self.objects.clear();
            self.are_words_new = false;
        }
        if before.is_some_and(|(camera, _)| camera != event.camera) {
            self.words.clear();
        }
        self.objects.extend(event.objects.iter().cloned());
        if let Some(words) = &event.caption {
            if !self.are_words_new {
                self.words.clear();
            }
            self.words.push(words.clone());
            self.are_words_new = true;
        }
        self.newest = Some(event.clone());
    }

    /// `None` if there is nothing to show yet.
    fn show(&self, display: &mut dyn Display) -> Option<Result<Option<Duration>, String>> {
        let jpeg = self.newest.as_ref()?.picture.as_ref()?;
        let picture = match pictures::decode_jpeg(jpeg) {
            Ok(picture) => picture,
            Err(e) => return Some(Err(e.to_string())),
        };
        let label = |o| {
            let Object { label, box_px, score, .. }: &Object = o;
            Label { text: label, box_px: *box_px, score: Some(*score) }
        };
        let labels: Vec<Label<'_>> = self.objects.iter().map(label).collect();
        let view = View { frame: picture.frame(), labels: &labels, caption: &self.words.join("; ") };
        Some(display.show(&view, Instant::now()))
    }
}

/// The display, and how it fares.
struct Screen {
    open: Box<dyn Fn() -> Result<Box<dyn Display>, String> + Send>,
    device: Option<Box<dyn Display>>,
    /// What is wrong; nothing once something was shown.
    complaint: Option<String>,
    pause: Duration,
}

impl Screen {
    fn new(open: impl Fn() -> Result<Box<dyn Display>, String> + Send + 'static) -> Self {
        Screen { open: Box::new(open), device: None, complaint: None, pause: PAUSES[0] }
    }

    /// Shows what there is; says after which time that is to be done again, if it is.
    fn show(&mut self, scene: &Scene) -> Option<Duration> {
        match self.attempt(scene) {
            Ok(Some(None)) => {
                if self.complaint.take().is_some() {
                    ::log::info!("display: works again");
                }
                self.pause = PAUSES[0];
                None
            }
            // Too early to say that it works.
            Ok(wait) => wait.flatten(),
            Err(e) => {
                if self.complaint.as_ref() != Some(&e) {
                    ::log::error!("display: {e}; it is tried again");
                }
                (self.device, self.complaint) = (None, Some(e));
                let pause = self.pause;
                self.pause = (pause * 2).min(PAUSES[1]);
                Some(pause)
            }
        }
    }

    fn attempt(&mut self, scene: &Scene) -> Result<Option<Option<Duration>>, String> {
        let device = match &mut self.device {
            Some(device) => device,
            empty => empty.insert((self.open)()?),
        };
        scene.show(&mut **device).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::FrameInfo;
    use pg_targets::camera::FrameBuffer;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn event(camera: &str, seq: u64, kind: Kind, words: &str) -> Arc<Event> {
        let mut frame = FrameBuffer::default();
        frame.reset(8, 8).fill(99);
        let mut event = Event::new(kind, &camera.into(), String::new(), String::new());
        event.picture = Some(Arc::new(crate::publish::encode(&frame, 90)));
        event.frame = Some(FrameInfo { w: 8, h: 8, seq, dropped: 0 });
        match kind {
            Kind::Detect => {
                let (bbox, box_px) = ([0.0, 0.0, 0.5, 0.5], [0, 0, 4, 4]);
                let label = words.to_string();
                event.objects = vec![Object { label, score: 0.5, bbox, box_px, zones: Vec::new() }];
            }
            _ => event.caption = Some(words.to_string()),
        }
        Arc::new(event)
    }

    /// Notes what it is shown; gives these answers, the last one for ever.
    struct Fake {
        answers: Vec<Result<Option<Duration>, String>>,
        shown: Arc<Mutex<Vec<String>>>,
    }

    impl Display for Fake {
        fn show(&mut self, view: &View<'_>, _: Instant) -> Result<Option<Duration>, String> {
            self.shown.lock().unwrap().push(view.words());
            if self.answers.len() > 1 { self.answers.remove(0) } else { self.answers[0].clone() }
        }
    }

    #[test]
    fn what_is_said_of_a_picture_is_shown_together() {
        let shown = Arc::new(Mutex::new(Vec::new()));
        let mut display = Fake { answers: vec![Ok(None)], shown: shown.clone() };
        let mut scene = Scene::default();
        assert_eq!(scene.show(&mut display), None);
        for (event, expected) in [
            (event("a", 1, Kind::Detect, "cat"), "\ncat"),
            (event("a", 1, Kind::Detect, "ant"), "\nant\ncat"),
            (event("a", 1, Kind::Caption, "a cat"), "a cat\nant\ncat"),
            (event("a", 1, Kind::Answer, "two"), "a cat; two\nant\ncat"),
            // The next picture, about which there are no words yet.
            (event("a", 2, Kind::Detect, "dog"), "a cat; two\ndog"),
            (event("a", 2, Kind::Caption, "a dog"), "a dog\ndog"),
            (event("a", 2, Kind::Unchanged, "nothing"), "a dog\ndog"),
            (event("b", 2, Kind::Detect, "car"), "\ncar"),
        ] {
            scene.add(&event);
            assert_eq!(scene.show(&mut display), Some(Ok(None)));
            assert_eq!(shown.lock().unwrap().pop().unwrap(), expected);
        }
    }

    #[test]
    fn a_display_that_fails_is_opened_again_less_and_less_often() {
        let opened = Arc::new(AtomicUsize::new(0));
        let (counter, shown) = (opened.clone(), Arc::new(Mutex::new(Vec::new())));
        let mut screen = Screen::new(move || {
            let n = counter.fetch_add(1, Ordering::Relaxed);
            let gone = || Err("gone".to_string());
            let answers = match n {
                0..7 => return Err("not there".into()),
                7 => vec![Ok(Some(Duration::from_secs(5))), gone()],
                8 => vec![Ok(None), Ok(None), gone()],
                _ => vec![Ok(None)],
            };
            Ok(Box::new(Fake { answers, shown: shown.clone() }))
        });
        let mut scene = Scene::default();
        let seconds = |wait: Option<Duration>| wait.map(|w| w.as_secs());
        let pauses: Vec<_> = (0..7).map(|_| seconds(screen.show(&scene))).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60].map(Some));
        assert_eq!(screen.complaint.as_deref(), Some("not there"));
        // Opened, but nothing shown: that may still go wrong.
        assert_eq!((screen.show(&scene), screen.complaint.is_some()), (None, true));
        scene.add(&event("a", 1, Kind::Caption, "words"));
        assert_eq!((seconds(screen.show(&scene)), screen.complaint.is_some()), (Some(5), true));
        assert_eq!(seconds(screen.show(&scene)), Some(60));
        assert_eq!((screen.show(&scene), &screen.complaint), (None, &None));
        assert_eq!(screen.show(&scene), None);
        assert_eq!((seconds(screen.show(&scene)), screen.complaint.as_deref()), (Some(1), Some("gone")));
        assert_eq!((screen.show(&scene), &screen.complaint), (None, &None));
        assert_eq!(opened.load(Ordering::Relaxed), 10);
    }
}
