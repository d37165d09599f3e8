//! Events to servers of others by POST, each server with a thread and a queue of its own: none holds up anybody else.
//!
//! The body is the event in JSON; with a picture it has `picture`, `{"type": "image/jpeg", "base64": "…"}`, so that whoever
//! reads JSON needs no second format. `Idempotency-Key` is the same at every try of an event, and different for every event.
//! An event is sent again, with growing pauses, while the server is away or too busy; what it refuses is given up.
//! Redirections are not followed. Logs name the host and never the address, which may be a secret, or a header.

mod queue;

pub(crate) use queue::Counts;

use super::Reader;
use crate::app::App;
use crate::backoff::Backoff;
use crate::config::{self, Snapshot, Target};
use crate::event::Event;
use crate::publish;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pg_runtime::pictures;
use pg_targets::http_client;
use queue::{Letter, Queue};
use std::io::Read;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;
use ureq::Agent;
use ureq::http::header;

/// Events taken from the log at a time.
const BATCH: usize = 64;
/// Tries of an event that the server answers with trouble of its own.
const MOST_TRIES: u32 = 8;
/// From the wish to end to the end of what is being sent.
const FAREWELL: Duration = Duration::from_secs(2);
/// Bytes of an answer that are read, so that its connection can be used again.
const MOST_ANSWER: u64 = 64 << 10;
/// JPEG quality of a part of a picture.
const QUALITY: u8 = 85;

/// A server that is told of events.
#[derive(Debug)]
pub(crate) struct Webhook {
    settings: config::Webhook,
    /// Its place in the configuration, and its host: how logs call it.
    name: String,
    to: Mutex<Sending>,
    queue: Queue,
    pub(crate) counts: Arc<Counts>,
}

/// What a request needs.
#[derive(Clone)]
struct Sending {
    agent: Agent,
    target: Target,
}

/// Without addresses and headers.
impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sending").field("host", &self.target.host()).finish_non_exhaustive()
    }
}

/// What came of a try.
#[derive(Debug, PartialEq, Eq)]
enum Tried {
    Sent,
    /// It makes no sense to send this event again.
    Refused(String),
    /// It may work later. The server was there and had trouble, or not even that.
    Later {
        why: String,
        was_there: bool,
    },
}

impl Webhook {
    /// The `n`th of the configuration.
    ///
    /// # Errors
    /// Which key cannot be used.
    pub(crate) fn new(settings: &config::Webhook, n: usize) -> Result<Arc<Self>, String> {
        let to = Sending::new(settings).map_err(|e| format!("webhook {n}: {e}"))?;
        let counts = Arc::new(Counts::default());
        Ok(Arc::new(Webhook {
            name: format!("webhook {n} ({})", to.target.host()),
            to: Mutex::new(to),
            queue: Queue::new(settings.max_pending, counts.clone()),
            settings: settings.clone(),
            counts,
        }))
    }

    /// Reads its secrets again; bad ones change nothing.
    pub(crate) fn read_again(&self) {
        match Sending::new(&self.settings) {
            Ok(new) => {
                *self.to() = new;
                ::log::info!("{}: secrets read again", self.name);
            }
            Err(e) => ::log::error!("{}: {e}; the old ones stay", self.name),
        }
    }

    fn to(&self) -> MutexGuard<'_, Sending> {
        self.to.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wants(&self, event: &Event) -> bool {
        let s = &self.settings;
        (s.kinds.is_empty() || s.kinds.iter().any(|kind| kind == event.kind.name()))
            && (s.cameras.is_empty() || s.cameras.iter().any(|name| **name == *event.camera))
    }

    fn letter(&self, event: &Event) -> Option<Letter> {
        let wanted = self.settings.snapshot;
        let picture = event.picture.clone().filter(|p| wanted != Snapshot::None && !p.is_empty());
        let part = if wanted == Snapshot::Crop { part(event) } else { None };
        // Nothing of an event has keys that are no text.
        let json = serde_json::to_string(event).ok()?;
        Some(Letter { key: format!("{}-{}", event.id, event.seq), json, picture, part })
    }

    /// Sends until the queue is closed and nothing is left, or cannot be sent.
    fn send_all(&self) {
        let (mut backoff, mut tries) = (Backoff::default(), 0);
        let mut complaint: Option<String> = None;
        let mut last = None;
        while let Some(letter) = self.queue.oldest() {
            if last.replace(letter.clone()).is_none_or(|last| !Arc::ptr_eq(&last, &letter)) {
                tries = 0;
            }
            let tried = match tries {
                MOST_TRIES.. => Tried::Refused(format!("given up after {tries} tries")),
                _ => self.send(&letter),
            };
            match tried {
                Tried::Sent => {
                    if self.queue.remove(&letter) {
                        self.counts.sent.fetch_add(1, Ordering::Relaxed);
                    }
                    backoff = Backoff::default();
                    if complaint.take().is_some() {
                        ::log::info!("{}: events arrive again", self.name);
                    }
                }
                Tried::Refused(why) => {
                    if self.queue.remove(&letter) {
                        self.counts.failed.fetch_add(1, Ordering::Relaxed);
                    }
                    self.complain(&mut complaint, format!("{why}; such events are left out"));
                }
                Tried::Later { why, was_there } => {
                    tries += u32::from(was_there);
                    self.complain(&mut complaint, format!("{why}; it is tried again"));
                    if self.queue.pause(backoff.next(false)) {
                        break;
                    }
                }
            }
        }
        let left = self.queue.give_up();
        if left > 0 {
            ::log::warn!("{}: {left} events could not be sent before the end", self.name);
        }
    }

    /// Once for each new reason.
    fn complain(&self, before: &mut Option<String>, now: String) {
        if before.as_ref() != Some(&now) {
            ::log::warn!("{}: {now}", self.name);
            *before = Some(now);
        }
    }

    fn send(&self, letter: &Letter) -> Tried {
        let Sending { agent, target } = self.to().clone();
        let mut request = agent
            .post(&target.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", &letter.key);
        for (name, value) in &target.headers {
            request = request.header(name, value);
        }
        let answer = match request.send(body(letter).as_bytes()) {
            Ok(answer) => answer,
            Err(ureq::Error::Timeout(_)) => {
                let why = format!("no answer within {} s", self.settings.timeout);
                return Tried::Later { why, was_there: false };
            }
            Err(e) => return Tried::Later { why: e.to_string(), was_there: false },
        };
        let status = answer.status();
        // What it says is of no interest.
        let _ = std::io::copy(&mut answer.into_body().into_reader().take(MOST_ANSWER), &mut std::io::sink());
        match status.as_u16() {
            200..=299 => Tried::Sent,
            300..=399 => Tried::Refused(format!(
                "the server says {status}: redirections are not followed, write the last address"
            )),
            408 | 425 | 429 | 500..=599 => {
                Tried::Later { why: format!("the server says {status}"), was_there: true }
            }
            _ => Tried::Refused(format!("the server says {status}")),
        }
    }
}

impl Sending {
    fn new(settings: &config::Webhook) -> Result<Self, String> {
        let target = settings.target()?;
        let config = http_client::config(http_client::is_secure(&target.url))
            .map_err(|e| format!("url: {e}"))?
            .timeout_global(Some(Duration::from_secs_f64(settings.timeout)));
        Ok(Sending { agent: config.build().into(), target })
    }
}

/// The part of an event's picture that matters: the best object, or what moved; none if all of it does.
fn part(event: &Event) -> Option<[u32; 4]> {
    if let Some(best) = event.objects.iter().max_by(|a, b| a.score.total_cmp(&b.score)) {
        return Some(best.box_px);
    }
    let (frame, area) = (event.frame?, event.motion.as_ref()?.area?);
    let scaled = |fraction: f32, side: usize| (fraction.clamp(0.0, 1.0) * side as f32) as u32;
    Some([
        scaled(area[0], frame.w),
        scaled(area[1], frame.h),
        scaled(area[2], frame.w),
        scaled(area[3], frame.h),
    ])
}

/// The event with its picture.
fn body(letter: &Letter) -> String {
    let Some(picture) = &letter.picture else { return letter.json.clone() };
    let cut = letter.part.and_then(|part| publish::cut(&pictures::decode_jpeg(picture).ok()?, part, QUALITY));
    let jpeg = cut.as_deref().unwrap_or(picture);
    let event = letter.json.strip_suffix('}').unwrap_or_default();
    format!("{event},\"picture\":{{\"type\":\"image/jpeg\",\"base64\":\"{}\"}}}}", STANDARD.encode(jpeg))
}

/// Sends until the program ends and everything is sent, or cannot be.
pub(crate) async fn run(app: Arc<App>, webhook: Arc<Webhook>) {
    let (ended, end) = oneshot::channel();
    let sender = webhook.clone();
    let started = thread::Builder::new().name("pg-webhook".into()).spawn(move || {
        sender.send_all();
        // Nobody may wait for it any more.
        let _ = ended.send(());
    });
    if let Err(e) = started {
        return ::log::error!("{}: the system refuses a thread: {e}", webhook.name);
    }
    let mut reader = Reader::new(app);
    while let Some(events) = reader.next(BATCH).await {
        let wanted = events.iter().filter(|event| webhook.wants(event));
        wanted.filter_map(|event| webhook.letter(event)).for_each(|letter| webhook.queue.push(letter));
    }
    webhook.queue.close();
    if tokio::time::timeout(FAREWELL, end).await.is_err() {
        let left = webhook.queue.give_up();
        ::log::warn!("{}: {left} events could not be sent before the end", webhook.name);
    }
}

#[cfg(test)]
mod tests;
