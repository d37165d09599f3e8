//! The newest picture with its boxes and words on a screen of the board.

use crate::app::App;
use crate::config;
use crate::event::{Event, Kind};
use pg_runtime::pictures::{self, Label};
use pg_targets::display::View;
use pg_targets::display::framebuffer::Framebuffer;
use std::sync::{Arc, Mutex, PoisonError};

/// The screen and what was last shown of each camera's words.
#[derive(Debug)]
pub(crate) struct Screen {
    framebuffer: Framebuffer,
    /// Show only this camera.
    camera: Option<String>,
    caption: String,
}

impl Screen {
    /// Opens the screen.
    ///
    /// # Errors
    /// If it cannot be opened, or is no framebuffer.
    pub(crate) fn open(settings: &config::Display) -> Result<Self, String> {
        let framebuffer = Framebuffer::open(&settings.device)?;
        Ok(Screen { framebuffer, camera: settings.camera.clone(), caption: String::new() })
    }

    fn show(&mut self, event: &Event) -> Result<(), String> {
        let Some(jpeg) = event.picture.as_ref() else { return Ok(()) };
        let picture = pictures::decode_jpeg(jpeg)?;
        if let Some(caption) = &event.caption {
            self.caption.clone_from(caption);
        }
        let labels: Vec<Label<'_>> = event
            .objects
            .iter()
            .map(|o| Label { text: &o.label, box_px: o.box_px, score: Some(o.score) })
            .collect();
        let Ok(()) = View { frame: picture.frame(), labels: &labels, caption: &self.caption }
            .draw(&mut self.framebuffer);
        self.framebuffer.flush()
    }
}

/// Shows events until the program ends.
pub(crate) async fn run(app: Arc<App>, screen: Screen) {
    let (mut newest, mut stopping) = (app.log.subscribe(), app.stopping());
    let camera = screen.camera.clone();
    let screen = Arc::new(Mutex::new(screen));
    let mut seen = 0;
    loop {
        tokio::select! {
            _ = newest.changed() => {}
            _ = stopping.changed() => return,
        }
        let events = app.log.after(seen, usize::MAX).events;
        seen = events.last().map_or(seen, |e| e.seq);
        // A screen shows the newest; what came meanwhile is passed over.
        let is_shown = |e: &&Arc<Event>| {
            e.picture.is_some()
                && matches!(e.kind, Kind::Detect | Kind::Caption | Kind::Answer)
                && camera.as_ref().is_none_or(|name| **name == *e.camera)
        };
        let Some(event) = events.iter().rev().find(is_shown).cloned() else { continue };
        let screen = screen.clone();
        let shown = tokio::task::spawn_blocking(move || {
            screen.lock().unwrap_or_else(PoisonError::into_inner).show(&event)
        });
        if let Ok(Err(e)) = shown.await {
            ::log::error!("display: {e}");
        }
    }
}
