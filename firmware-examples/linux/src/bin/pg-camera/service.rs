//! The running program: sets everything up in order, keeps it going, takes it down in order.
//!
//! The order: memory is checked, the model opened, the outputs bound, the model warmed up, the service manager told, the
//! cameras started. Down: cameras, inference, outputs once they have told everything, all within five seconds.

use crate::app::{App, Health};
use crate::camera::{self, Camera, Roster, Status, Watcher};
use crate::config::Config;
use crate::engine::heat::{self, Governor, Reading};
use crate::engine::{Engine, Finished};
use crate::log::Log;
use crate::sinks::webhook::{self, Webhook};
use crate::sinks::{display, lines, snapshots};
use crate::systemd::Manager;
use crate::{config, http, models, mqtt, publish};
use pg_targets::camera::FrameBuffer;
use pg_targets::machine::Condition;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// From the wish to end to the end.
const LAST_SECONDS: Duration = Duration::from_secs(5);
/// How often the main loop looks after everything.
const ROUND: Duration = Duration::from_millis(500);
/// How often the temperature is looked at.
const THERMOMETER: Duration = Duration::from_secs(5);
/// A model that is busy and makes no step for so long is stuck.
const STUCK: Duration = Duration::from_secs(30);

/// What is to run.
pub(crate) struct Service {
    pub(crate) config: Config,
    /// The file to read again on SIGHUP.
    pub(crate) file: Option<PathBuf>,
    /// End when every source has ended.
    pub(crate) until_end: bool,
    /// Told once everything is up.
    pub(crate) on_ready: Box<dyn FnOnce(&App)>,
}

impl Service {
    /// Runs until told to end.
    ///
    /// # Errors
    /// What could not be set up.
    pub(crate) fn run(self) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(8)
            .thread_name("pg-files")
            .build()
            .map_err(|e| format!("the system refuses an event loop: {e}"))?;
        let done = runtime.block_on(self.serve());
        // What still blocks (a file that is read by nobody) ends with the program.
        runtime.shutdown_timeout(Duration::from_millis(200));
        done
    }

    async fn serve(self) -> Result<(), String> {
        let manager = Manager;
        // From the first moment on, so that none gets lost.
        let mut signals = Signals::new()?;
        manager.status("checking memory");
        models::check_memory(&self.config)?;
        manager.status("opening the model");
        manager.extend(Duration::from_secs(120));
        let file = models::File::open(&self.config.model.path)?;
        let (model, info) = models::open(&self.config.model.path, self.config.model.weights)?;
        let roster = Roster::default();
        let (engine, inference) =
            Engine::start(model, info, models::options(&self.config.runtime), roster.clone())?;
        let app = Arc::new(App {
            engine: engine.clone(),
            log: Arc::new(Log::new(self.config.output.history)),
            roster,
            started: Instant::now(),
            health: Health::default(),
            http_address: OnceLock::new(),
            stopping: watch::Sender::new(false),
        });
        let mut outputs = JoinSet::new();
        let secrets = self.start_outputs(&app, &mut outputs).await?;
        manager.status("warming up");
        warm_up(&engine).await?;
        app.health.is_loaded.store(true, Ordering::Relaxed);
        let mut cameras = Cameras { app: app.clone(), threads: Vec::new() };
        cameras.set(&self.config.cameras)?;
        if let Some(settings) = &self.config.mqtt {
            // With the cameras there: what else the broker holds is left over from another configuration.
            outputs.spawn(mqtt::run(app.clone(), settings.clone()));
        }
        tokio::spawn(hold_back(app.clone(), self.config.heat.clone()));
        manager.ready(&status(&app));
        (self.on_ready)(&app);
        file.tell_digest(engine.clone());

        let mut life =
            Life { app: app.clone(), config: self.config, file: self.file, cameras, secrets, manager };
        life.go_on(&mut signals, self.until_end).await;

        manager.stopping();
        let deadline = Instant::now() + LAST_SECONDS;
        life.cameras.stop();
        engine.stop();
        join(inference, deadline).await;
        app.stopping.send_replace(true);
        let rest = deadline.saturating_duration_since(Instant::now());
        let all = async { while outputs.join_next().await.is_some() {} };
        if tokio::time::timeout(rest, all).await.is_err() {
            ::log::warn!("some outputs did not end in time; their last events may be lost");
        }
        Ok(())
    }

    async fn start_outputs(&self, app: &Arc<App>, outputs: &mut JoinSet<()>) -> Result<Secrets, String> {
        let config = &self.config;
        let mut secrets = Secrets::default();
        let quality = config.snapshots.as_ref().map_or(85, |s| s.quality);
        // Ends with the program: it waits for reports, and none comes any more.
        tokio::spawn(publish::run(app.engine.clone(), app.log.clone(), quality));
        if config.output.json_lines {
            outputs.spawn(lines::run(app.clone()));
        }
        if let Some(settings) = &config.http {
            let server = http::start(app.clone(), settings).await?;
            app.http_address.get_or_init(|| server.address());
            secrets.http = Some(server.secrets());
            outputs.spawn(server.ended());
        }
        if let Some(settings) = &config.snapshots {
            outputs.spawn(snapshots::run(app.clone(), snapshots::Folder::open(settings)?));
        }
        if let Some(settings) = &config.display {
            outputs.spawn(display::run(app.clone(), settings.clone()));
        }
        for (i, settings) in config.webhooks.iter().enumerate() {
            secrets.webhooks.push(Webhook::new(settings, i + 1)?);
        }
        app.health.webhooks.get_or_init(|| secrets.webhooks.iter().map(|w| w.counts.clone()).collect());
        for webhook in &secrets.webhooks {
            outputs.spawn(webhook::run(app.clone(), webhook.clone()));
        }
        Ok(secrets)
    }
}

/// Outputs with secrets in files, which are read again on SIGHUP.
#[derive(Default)]
struct Secrets {
    http: Option<http::Secrets>,
    webhooks: Vec<Arc<Webhook>>,
}

/// One pass over a grey picture, so that the first real one finds everything in place.
async fn warm_up(engine: &Engine) -> Result<(), String> {
    let question = engine.question("caption en", 0.0)?;
    let mut picture = FrameBuffer::default();
    let side = engine.info().res.min(engine.options().max_side);
    picture.reset(side, side).fill(128);
    let patience = Duration::from_secs(3600);
    let reply =
        engine.submit(picture, vec![question], 1, patience).map_err(|_| "the queue is full".to_string())?;
    match reply.finished().await.finished {
        Some(Finished::Done) => Ok(()),
        other => Err(format!("the model cannot be run: {other:?}")),
    }
}

fn status(app: &App) -> String {
    let cameras = app.roster.cameras();
    let up = cameras.iter().filter(|c| *c.status().borrow() == Status::Online).count();
    let problem = app.health.mqtt_problem.lock().unwrap_or_else(PoisonError::into_inner);
    let broker = if problem.is_empty() { String::new() } else { format!(", no broker: {problem}") };
    format!("{up} of {} cameras online, model {}{broker}", cameras.len(), app.engine.info().name)
}

/// The cameras' threads.
struct Cameras {
    app: Arc<App>,
    threads: Vec<(Arc<Camera>, JoinHandle<()>)>,
}

impl Cameras {
    /// Starts, ends and keeps cameras so that these are the ones that run.
    fn set(&mut self, wanted: &[config::Camera]) -> Result<(), String> {
        // All are made before any is touched: a mistake changes nothing.
        let mut next = Vec::new();
        for settings in wanted {
            let same = self.threads.iter().find(|(c, _)| c.settings == *settings);
            next.push(match same {
                Some((camera, _)) => camera.clone(),
                None => Camera::new(settings.clone(), &self.app.engine)?,
            });
        }
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.threads)
            .into_iter()
            .partition(|(c, _)| next.iter().any(|n| Arc::ptr_eq(n, c)));
        self.threads = kept;
        for (camera, _) in &gone {
            ::log::info!("camera {} ends", camera.name);
            camera.remove();
        }
        for camera in &next {
            if self.threads.iter().any(|(c, _)| Arc::ptr_eq(c, camera)) {
                continue;
            }
            let options = camera.settings.options();
            let watcher =
                Watcher { engine: self.app.engine.shared().clone(), log: self.app.log.clone(), options };
            self.threads.push((camera.clone(), camera::start(camera.clone(), watcher)?));
        }
        self.app.roster.set(next);
        Ok(())
    }

    /// Tells all to end. Their threads end by themselves; one that hangs in a driver is not waited for.
    fn stop(&self) {
        self.threads.iter().for_each(|(camera, _)| camera.remove());
    }

    fn have_ended(&self) -> bool {
        self.threads.iter().all(|(camera, _)| *camera.status().borrow() == Status::Ended)
    }
}

/// The time between being ready and being told to end.
struct Life {
    app: Arc<App>,
    config: Config,
    file: Option<PathBuf>,
    cameras: Cameras,
    secrets: Secrets,
    manager: Manager,
}

impl Life {
    async fn go_on(&mut self, signals: &mut Signals, until_end: bool) {
        let mut round = tokio::time::interval(ROUND);
        round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut watchdog = Watchdog::new(self.manager);
        let mut told = String::new();
        // Ended sources may have left one picture each.
        let mut idle_rounds = 0;
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::End => return,
                    Signal::Reload => self.reload(),
                },
                _ = round.tick() => {
                    self.app.health.beat.store(self.app.started.elapsed().as_secs(), Ordering::Relaxed);
                    watchdog.look(&self.app);
                    let now = status(&self.app);
                    if now != told {
                        self.manager.status(&now);
                        told = now;
                    }
                    let is_idle = self.cameras.have_ended() && self.app.engine.shared().is_idle();
                    idle_rounds = if is_idle { idle_rounds + 1 } else { 0 };
                    if until_end && idle_rounds >= 2 {
                        return;
                    }
                }
            }
        }
    }

    /// Reads again what may change while the program runs: secrets, certificates, the configuration's cameras. Each stays as
    /// it is if what is there now is bad.
    fn reload(&mut self) {
        self.manager.reloading();
        self.secrets.http.iter().for_each(http::Secrets::read_again);
        self.secrets.webhooks.iter().for_each(|webhook| webhook.read_again());
        self.reload_cameras();
        self.manager.ready(&status(&self.app));
    }

    fn reload_cameras(&mut self) {
        let Some(file) = &self.file else { return };
        match config::load(file) {
            Ok(new) => {
                for section in self.config.sections_that_need_a_restart(&new) {
                    ::log::warn!("[{section}] has changed: that takes effect after a restart");
                }
                match self.cameras.set(&new.cameras) {
                    Ok(()) => {
                        ::log::info!("{}: read again, {} cameras", file.display(), new.cameras.len());
                        self.config.cameras = new.cameras;
                    }
                    Err(e) => ::log::error!("{}: {e}; the old configuration stays", file.display()),
                }
            }
            Err(e) => ::log::error!("{e}; the old configuration stays"),
        }
    }
}

/// Tells the service manager that the program is alive, only while it is.
struct Watchdog {
    manager: Manager,
    every: Option<Duration>,
    told: Instant,
    steps: usize,
    progress: Instant,
}

impl Watchdog {
    fn new(manager: Manager) -> Self {
        let now = Instant::now();
        let every = manager.watchdog().map(|limit| limit / 3);
        Watchdog { manager, every, told: now - STUCK, steps: 0, progress: now }
    }

    fn look(&mut self, app: &App) {
        let Some(every) = self.every else { return };
        let shared = app.engine.shared();
        let steps = shared.steps.load(Ordering::Relaxed);
        if steps != self.steps || shared.is_idle() {
            (self.steps, self.progress) = (steps, Instant::now());
        }
        if self.progress.elapsed() < STUCK && self.told.elapsed() >= every {
            self.manager.alive();
            self.told = Instant::now();
        }
    }
}

/// Leaves fewer threads and longer pauses to the model while the board is hot.
async fn hold_back(app: Arc<App>, settings: heat::Settings) {
    let shared = app.engine.shared();
    let threads = app.engine.options().threads;
    let mut governor = Governor::new(settings.clone());
    let mut before = governor.level();
    let mut round = tokio::time::interval(THERMOMETER);
    loop {
        round.tick().await;
        // Files of the kernel: read in microseconds.
        let reading = Reading::new(&Condition::read(&settings.root), &settings, !shared.is_idle());
        let level = governor.step(&reading, Instant::now());
        let millidegrees = reading.hottest.map_or(i64::MIN, |c| (c * 1000.0) as i64);
        app.health.temperature.store(millidegrees, Ordering::Relaxed);
        app.health.heat_level.store(level as u64, Ordering::Relaxed);
        shared.threads.store(level.threads(threads, &settings), Ordering::Relaxed);
        let pace = level.interval(Duration::from_secs(1), &settings);
        shared.pace_percent.store(pace.map_or(0, |p| p.as_millis() as usize / 10), Ordering::Relaxed);
        if level != before {
            let at = reading.hottest.map_or_else(|| "no sensor".to_string(), |c| format!("{c:.1} degrees"));
            let supply = if reading.low_voltage { ", supply too weak" } else { "" };
            ::log::warn!("heat: {} ({at}{supply})", level.name());
            before = level;
            shared.wake();
        }
    }
}

async fn join(thread: JoinHandle<()>, deadline: Instant) {
    while !thread.is_finished() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    if thread.is_finished() && thread.join().is_err() {
        ::log::error!("the inference thread failed");
    }
}

enum Signal {
    End,
    Reload,
}

/// What the system asks of the program.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, String> {
        let one = |kind| signal(kind).map_err(|e| format!("signals cannot be received: {e}"));
        Ok(Signals {
            terminate: one(SignalKind::terminate())?,
            interrupt: one(SignalKind::interrupt())?,
            hangup: one(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::End,
            _ = self.interrupt.recv() => Signal::End,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}
