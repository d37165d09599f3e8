//! Live pictures: one encoder for all who watch a camera, however many they are, and frames dropped for the slow.

use super::images;
use super::stream::{self, Gone};
use super::{Context, Failure, Response};
use crate::camera::{Camera, Roster, Viewer};
use hyper::body::Bytes;
use pg_targets::camera::FrameBuffer;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Between two pictures, at least.
const PAUSE: Duration = Duration::from_millis(80);
/// How often the last picture is sent again if the camera gives no new one: browsers show a picture when the next begins.
const REPEAT: Duration = Duration::from_secs(2);

/// The cameras that are being watched.
#[derive(Debug, Default, Clone)]
pub(super) struct Feeds(Arc<Mutex<BTreeMap<Arc<str>, Feed>>>);

#[derive(Debug)]
struct Feed {
    n_viewers: usize,
    newest: watch::Receiver<Option<Bytes>>,
    encoder: JoinHandle<()>,
}

/// A place among those who watch a camera.
#[derive(Debug)]
struct Place {
    feeds: Feeds,
    camera: Arc<str>,
    newest: watch::Receiver<Option<Bytes>>,
}

impl Feeds {
    /// A place, if there is one; the first one starts the encoder.
    fn join(&self, roster: &Roster, camera: &Arc<Camera>, most: usize) -> Option<Place> {
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if feeds.get(&camera.name).map_or(0, |feed| feed.n_viewers) >= most {
            return None;
        }
        let feed = match feeds.entry(camera.name.clone()) {
            std::collections::btree_map::Entry::Occupied(feed) => feed.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let viewer = Viewer::join(camera);
                let (sender, newest) = watch::channel(None);
                let encoder = tokio::spawn(encode(roster.clone(), camera.clone(), viewer, sender));
                place.insert(Feed { n_viewers: 0, newest, encoder })
            }
        };
        feed.n_viewers += 1;
        Some(Place { feeds: self.clone(), camera: camera.name.clone(), newest: feed.newest.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut feeds = self.feeds.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(feed) = feeds.get_mut(&self.camera) else { return };
        feed.n_viewers -= 1;
        if feed.n_viewers == 0 {
            feed.encoder.abort();
            feeds.remove(&self.camera);
        }
    }
}

/// Encodes the camera's pictures until it is stopped, or no camera has this name any more. One that the configuration
/// replaces by another of its name is replaced here as well.
async fn encode(
    roster: Roster,
    mut camera: Arc<Camera>,
    mut viewer: Viewer,
    sender: watch::Sender<Option<Bytes>>,
) {
    let mut changed = viewer.changed();
    let mut frame = FrameBuffer::default();
    loop {
        if viewer.copy(&mut frame) {
            let encoded = tokio::task::spawn_blocking(move || {
                let jpeg = images::jpeg(&frame);
                (frame, jpeg)
            });
            let Ok((back, jpeg)) = encoded.await else { return };
            frame = back;
            sender.send_replace(Some(part(&jpeg)));
        }
        tokio::time::sleep(PAUSE).await;
        while tokio::time::timeout(REPEAT, changed.changed()).await.is_err() {
            let Some(current) = roster.find(&camera.name) else { return };
            if !Arc::ptr_eq(&current, &camera) {
                viewer = Viewer::join(&current);
                camera = current;
                changed = viewer.changed();
            }
        }
    }
}

/// A picture with the lines around it.
fn part(jpeg: &[u8]) -> Bytes {
    let head = format!("--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len());
    [head.as_bytes(), jpeg, b"\r\n"].concat().into()
}

/// Pictures without end, as browsers show them in place of one.
pub(super) fn watch(context: &Arc<Context>, camera: &Arc<Camera>) -> Result<Response, Failure> {
    let most = context.settings.max_viewers;
    let place = context.feeds.join(&context.app.roster, camera, most).ok_or_else(|| {
        let message = format!("{most} watch camera {} already (http.max_viewers)", camera.name);
        Failure::later(message, Duration::from_secs(10))
    })?;
    let (sender, response) = stream::answer("multipart/x-mixed-replace; boundary=frame");
    let mut stopping = context.app.stopping();
    // Ends when nobody watches any more, or the program ends.
    tokio::spawn(async move {
        tokio::select! {
            _ = show(place, &sender) => {}
            () = sender.gone() => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
    });
    Ok(response)
}

/// Sends the newest picture whenever the last one is taken: who is slow gets fewer.
async fn show(mut place: Place, sender: &stream::Sender) -> Result<(), Gone> {
    loop {
        let newest = place.newest.borrow_and_update().clone();
        if let Some(part) = newest {
            sender.send(part).await?;
        }
        if let Ok(Err(_)) = tokio::time::timeout(REPEAT, place.newest.changed()).await {
            return Ok(());
        }
    }
}
