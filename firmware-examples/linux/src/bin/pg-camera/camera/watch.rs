//! A camera's thread: opens its source, fetches pictures, offers some, opens it again when it is lost.

use super::mailbox::Letter;
use super::motion::{Gate, Look, Motion};
use super::privacy::Mask;
use super::schedule::Schedule;
use super::zone::Polygon;
use super::{Camera, Status};
use crate::config::{self, Trigger};
use crate::engine::Shared;
use crate::event::{self, Event, Kind};
use crate::log::Log;
use pg_targets::camera::{
    Counts, ErrorKind, FrameBuffer, Location, Next, Options, Source, SourceError, pushed,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

/// How long the thread waits for anything before it looks around.
const LOOK_AROUND: Duration = Duration::from_millis(250);
/// From the first to the longest pause before a lost source is opened again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// A source that has delivered for so long was not opened in vain.
const SETTLED: Duration = Duration::from_secs(10);

/// Numbers what belongs together.
static INCIDENTS: AtomicU64 = AtomicU64::new(1);

/// What a camera's thread needs besides its camera.
#[derive(Debug, Clone)]
pub(crate) struct Watcher {
    pub(crate) engine: Arc<Shared>,
    pub(crate) log: Arc<Log>,
    pub(crate) options: Options,
}

/// Starts a camera's thread.
///
/// # Errors
/// If the system refuses a thread.
pub(crate) fn start(camera: Arc<Camera>, watcher: Watcher) -> Result<JoinHandle<()>, String> {
    let name = format!("pg-{}", camera.name);
    let s = &camera.settings;
    let mut thread = Thread {
        gate: Gate::new(s.motion.clone(), polygons(&s.motion_masks)),
        schedule: Schedule::new(&s.schedule)?,
        mask: Mask::new(polygons(&s.privacy_masks)),
        frame: FrameBuffer::default(),
        seq: 0,
        incident: 0,
        last_offer: None,
        told: None,
        earlier: Counts::default(),
        camera,
        watcher,
    };
    let spawned = thread::Builder::new().name(name).spawn(move || thread.run());
    spawned.map_err(|e| format!("the system refuses a thread: {e}"))
}

struct Thread {
    camera: Arc<Camera>,
    watcher: Watcher,
    gate: Gate,
    schedule: Schedule,
    mask: Mask,
    frame: FrameBuffer,
    /// Pictures that the source has given.
    seq: u64,
    /// The movement that goes on.
    incident: u64,
    last_offer: Option<Instant>,
    /// Why it was lost, since the last picture.
    told: Option<String>,
    /// What sources counted that are closed.
    earlier: Counts,
}

/// Why a source is no longer read.
enum End {
    /// It is to be opened again.
    Lost(SourceError),
    /// The file or pipe is over.
    Over,
    /// Nobody wants it now.
    Unwanted,
}

impl Thread {
    fn run(&mut self) {
        let location: Location = match self.camera.settings.source.parse() {
            Ok(location) => location,
            // Checked with the configuration.
            Err(e) => return self.camera.set_status(Status::Offline(e.to_string())),
        };
        let mut pause = PAUSES[0];
        while !self.camera.is_removed() {
            if !self.is_on() {
                self.tell_off();
                self.camera.set_status(Status::Off);
                thread::sleep(LOOK_AROUND);
                continue;
            }
            self.camera.set_status(Status::Starting);
            let (opened, seen) = (Instant::now(), self.seq);
            let end = match self.open(&location) {
                Ok(mut source) => self.read(&mut *source),
                Err(e) => End::Lost(e),
            };
            *self.camera.pusher() = None;
            let counters = &self.camera.counters;
            let [damaged, skipped] =
                [&counters.damaged, &counters.skipped].map(|c| c.load(Ordering::Relaxed));
            self.earlier = Counts { damaged, skipped };
            match end {
                End::Unwanted => pause = PAUSES[0],
                End::Over => return self.camera.set_status(Status::Ended),
                End::Lost(e) => {
                    if self.seq > seen && opened.elapsed() > SETTLED {
                        pause = PAUSES[0];
                    }
                    if e.kind() == ErrorKind::Permanent {
                        // Somebody has to change something first.
                        pause = PAUSES[1];
                    }
                    self.lost(e.to_string());
                    self.rest(pause);
                    self.camera.counters.reopened.fetch_add(1, Ordering::Relaxed);
                    pause = (pause * 2).min(PAUSES[1]);
                }
            }
        }
    }

    fn open(&self, location: &Location) -> Result<Box<dyn Source>, SourceError> {
        if *location != Location::Push {
            return location.open(&self.watcher.options);
        }
        let (pusher, source) = pushed(&self.watcher.options);
        *self.camera.pusher() = Some(pusher);
        Ok(source)
    }

    fn is_on(&self) -> bool {
        self.camera.is_enabled() && self.schedule.is_on(jiff::Timestamp::now())
    }

    /// Says once that the camera is off, and until when.
    fn tell_off(&self) {
        if *self.camera.status.borrow() == Status::Off {
            return;
        }
        let name = &self.camera.name;
        match self.schedule.next_change(jiff::Timestamp::now()) {
            _ if !self.camera.is_enabled() => ::log::info!("camera {name}: switched off"),
            Some(then) => ::log::info!("camera {name}: off by its schedule until {then}"),
            None => ::log::info!("camera {name}: off by its schedule"),
        }
    }

    /// Sleeps, unless the camera is switched off or removed.
    fn rest(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while self.camera.is_wanted() {
            match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => break,
                rest => thread::sleep(rest.min(LOOK_AROUND)),
            }
        }
    }

    /// Tells that the source was lost, once for each reason.
    fn lost(&mut self, why: String) {
        ::log::warn!("camera {}: {why}", self.camera.name);
        self.camera.set_status(Status::Offline(why.clone()));
        if self.told.as_ref() == Some(&why) {
            return;
        }
        self.told = Some(why.clone());
        let mut event = self.event(Kind::Error, next_incident(), SystemTime::now());
        event.error = Some(why);
        self.watcher.log.push(event);
    }

    fn event(&self, kind: Kind, incident: u64, when: SystemTime) -> Event {
        Event::new(kind, &self.camera.name, crate::publish::id(incident), event::timestamp(when))
    }

    /// What the open source counts comes after what its predecessors did.
    fn count(&self, open: Counts) {
        let counters = &self.camera.counters;
        counters.damaged.store(self.earlier.damaged + open.damaged, Ordering::Relaxed);
        counters.skipped.store(self.earlier.skipped + open.skipped, Ordering::Relaxed);
    }

    /// Reads pictures until there are no more.
    fn read(&mut self, source: &mut dyn Source) -> End {
        loop {
            if !self.camera.is_wanted() || !self.is_on() {
                return End::Unwanted;
            }
            let next = source.next(&mut self.frame, LOOK_AROUND);
            self.count(source.counts());
            match next {
                Ok(Next::Frame) => {
                    self.camera.set_status(Status::Online);
                    self.told = None;
                    self.seq += 1;
                    self.see();
                }
                Ok(Next::Nothing) => {}
                Ok(Next::End) => return End::Over,
                Err(e) if e.kind() == ErrorKind::Damaged => ::log::warn!("camera {}: {e}", self.camera.name),
                Err(e) => return End::Lost(e),
            }
        }
    }

    /// What is private goes first; then it is decided whether the picture is worth a look.
    fn see(&mut self) {
        let (width, height) = (self.frame.width(), self.frame.height());
        if let Err(e) = self.mask.black(self.frame.data_mut(), width, height) {
            // A picture that cannot be masked is shown to nobody.
            return ::log::error!("camera {}: {e}", self.camera.name);
        }
        self.camera.preview.show(&self.frame);
        let is_moving = self.follow();
        let s = &self.camera.settings;
        let is_forced = self.camera.is_forced.swap(false, Ordering::Relaxed);
        let is_due = s.max_interval > 0.0
            && self.last_offer.is_none_or(|last| last.elapsed().as_secs_f64() >= s.max_interval);
        let is_wanted = match s.trigger {
            Trigger::Always => true,
            Trigger::Motion => is_moving,
            Trigger::Request => false,
        };
        if !(is_wanted || is_forced || is_due) {
            self.camera.counters.gated.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.last_offer = Some(Instant::now());
        let incident =
            if is_moving && s.trigger == Trigger::Motion { self.incident } else { next_incident() };
        if s.wait {
            while !self.camera.mailbox.wait_empty(LOOK_AROUND) {
                if !self.camera.is_wanted() {
                    return;
                }
            }
        }
        self.camera.mailbox.put(&mut self.frame, Letter { incident, seq: self.seq, is_forced });
        self.watcher.engine.wake();
    }

    /// Follows what moves, tells when that begins and ends, and says whether it goes on.
    fn follow(&mut self) -> bool {
        if self.camera.settings.trigger != Trigger::Motion {
            return false;
        }
        let Look { motion, area, .. } = self.gate.look(&self.frame.frame(), self.frame.captured());
        if motion == Motion::Started {
            self.incident = next_incident();
        }
        if matches!(motion, Motion::Started | Motion::Ended) {
            let mut event = self.event(Kind::Motion, self.incident, self.frame.wall());
            let active = motion == Motion::Started;
            event.motion = Some(event::Motion { active, area: area.filter(|_| active) });
            self.watcher.log.push(event);
        }
        // While a movement waits to be over, nothing moves.
        matches!(motion, Motion::Started | Motion::Moving) && area.is_some()
    }
}

fn polygons(masks: &[config::Mask]) -> Vec<Polygon> {
    masks.iter().map(|mask| mask.points.clone()).collect()
}

fn next_incident() -> u64 {
    INCIDENTS.fetch_add(1, Ordering::Relaxed)
}
