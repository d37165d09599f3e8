//! Events on standard output, one JSON object a line.

use super::Reader;
use crate::app::App;
use std::io::{self, Write};
use std::sync::Arc;

/// Events written at a time.
const BATCH: usize = 64;

/// Writes until the program ends and everything is written, or nobody reads any more.
pub(crate) async fn run(app: Arc<App>) {
    let mut reader = Reader::new(app);
    while let Some(events) = reader.next(BATCH).await {
        // A reader that is slow holds up this thread only.
        let written = tokio::task::spawn_blocking(move || {
            let mut out = io::stdout().lock();
            for event in &events {
                let line = serde_json::to_string(&**event).map_err(io::Error::other)?;
                writeln!(out, "{line}")?;
                out.flush()?;
            }
            Ok::<(), io::Error>(())
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(e)) if e.kind() == io::ErrorKind::BrokenPipe => {
                ::log::info!("nobody reads standard output any more");
                return;
            }
            Ok(Err(e)) => return ::log::error!("standard output: {e}; no more lines are written"),
            Err(_) => return,
        }
    }
}
