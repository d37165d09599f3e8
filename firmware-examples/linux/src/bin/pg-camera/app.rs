//! What the services share.

use crate::camera::Roster;
use crate::engine::Engine;
use crate::log::Log;
use crate::sinks::webhook::Counts;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;
use tokio::sync::watch;

/// The running program, as its services see it.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) engine: Arc<Engine>,
    pub(crate) log: Arc<Log>,
    pub(crate) roster: Roster,
    pub(crate) started: Instant,
    pub(crate) health: Health,
    /// Where pages are served, once they are.
    pub(crate) http_address: OnceLock<SocketAddr>,
    /// Becomes true when the program is to end; services finish what they are doing.
    pub(crate) stopping: watch::Sender<bool>,
}

/// How the parts of the program are doing, for metrics and health checks.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// The model has been warmed up, and cameras may come.
    pub(crate) is_loaded: AtomicBool,
    pub(crate) mqtt_connected: AtomicBool,
    /// Why there is no connection to the broker; empty if there is one, or none is wanted.
    pub(crate) mqtt_problem: Mutex<String>,
    /// Events that consumers lost because they were slow, or their peers away.
    pub(crate) events_lost: AtomicU64,
    /// What became of the events for each webhook, in the configuration's order.
    pub(crate) webhooks: OnceLock<Vec<Arc<Counts>>>,
    /// Snapshots that could not be written.
    pub(crate) snapshots_failed: AtomicU64,
    /// Thousandths of a degree Celsius of the hottest sensor; `i64::MIN` if there is none.
    pub(crate) temperature: AtomicI64,
    /// How much is held back because of heat: 0 (nothing) to 3 (paused).
    pub(crate) heat_level: AtomicU64,
    /// Seconds since the start at which the main loop went round last.
    pub(crate) beat: AtomicU64,
}

impl App {
    /// Wakes when the program is to end.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }
}
