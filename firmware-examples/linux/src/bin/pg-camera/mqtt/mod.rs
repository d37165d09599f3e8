//! MQTT 5: events, states and pictures to a broker, commands from it, Home Assistant's discovery, work for a fleet.
//!
//! `client` keeps the connection (`codec`, `transport`, `link` below it) and `outbox` what is to be sent.
//! `topics` is the table of topics, `cameras` and `discovery` say what stands there, `commands` and `fleet` do what
//! messages ask, `answer` asks the model. Not here: a broker, and MQTT 3, whose messages have no correlation data.

mod answer;
mod cameras;
mod client;
mod codec;
mod commands;
mod discovery;
mod fleet;
mod link;
mod outbox;
mod topics;
mod transport;

use crate::app::App;
use crate::config;
use cameras::{Cameras, Cuttings};
use client::{Client, Happening};
use codec::Publish;
use discovery::Discovery;
use fleet::Fleet;
use outbox::Message;
use serde_json::json;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::task::{AbortHandle, JoinSet};
use topics::Names;

/// How often it is looked whether a camera is doing otherwise than was told.
const ROUND: Duration = Duration::from_secs(1);
/// How often statistics are told.
const STATS: Duration = Duration::from_secs(60);
/// From the wish to end to the end of the connection, at most.
const FAREWELL: Duration = Duration::from_secs(2);
/// Events taken from the log at a time.
const BATCH: usize = 64;
/// Pictures that are cut at a time; further ones are passed over.
const MAX_CUTTING: usize = 2;
/// Questions about cameras that wait at a time; further ones are refused.
const MAX_QUERIES: usize = 4;
/// Pictures of the fleet that wait at a time, if they come without waiting for acknowledgement.
const MAX_TASKS: usize = 4;
/// Bytes of the longest message that is taken; leftover pictures are among those.
const MAX_MESSAGE: usize = 4 << 20;

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    why: String,
    /// Somebody has to change something first.
    is_lasting: bool,
}

impl Refusal {
    fn of(code: u8) -> Self {
        let (why, is_lasting) = codec::reason(code);
        Refusal { why: format!("the broker ends the connection: {why}"), is_lasting }
    }
}

/// Serves the broker until the program ends.
pub(crate) async fn run(app: Arc<App>, settings: config::Mqtt) {
    let mut stopping = app.stopping();
    let mut bridge = Bridge::new(app, &settings);
    let mut newest = bridge.app.log.subscribe();
    let mut round = tokio::time::interval(ROUND);
    let mut stats = tokio::time::interval(STATS);
    for interval in [&mut round, &mut stats] {
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    }
    while !*stopping.borrow() {
        bridge.tell();
        tokio::select! {
            happening = bridge.client.next() => bridge.happen(happening),
            _ = newest.changed() => {}
            _ = round.tick() => {}
            _ = stats.tick() => bridge.stats(),
            Some(done) = bridge.work.join_next() => bridge.finish(done.ok()),
            _ = stopping.changed() => {}
        }
    }
    bridge.end().await;
}

/// What was done beside the connection.
enum Done {
    /// Answers to a question about a camera.
    Query(Vec<Message>),
    /// The answer to a picture of the fleet that came by this connection.
    Task(u64, Message),
    /// Pictures of objects: topic and JPEG.
    Cut(Vec<(String, Vec<u8>)>),
}

/// Between the program and the broker.
struct Bridge {
    app: Arc<App>,
    names: Names,
    client: Client,
    cameras: Cameras,
    birth: Option<String>,
    fleet: Option<Fleet>,
    work: JoinSet<Done>,
    n_queries: usize,
    n_cutting: usize,
    /// The picture of the fleet that is looked at, if it is one.
    task: Option<AbortHandle>,
    /// Those that wait for it.
    tasks: VecDeque<Publish>,
    /// The last event of the log that was told.
    seen: u64,
    is_connected: bool,
}

impl Bridge {
    fn new(app: Arc<App>, settings: &config::Mqtt) -> Self {
        let names = Names::new(&settings.base_topic);
        let model = &app.engine.info().name;
        let discovery = settings.discovery.then(|| Discovery::new(&settings.discovery_prefix, &names, model));
        let fleet = settings.fleet.as_ref().map(|f| Fleet::new(f, &settings.client_id, &names));
        let mut filters = names.commands();
        filters.extend(names.leftovers());
        filters.extend(discovery.iter().flat_map(Discovery::filters));
        filters.extend(fleet.iter().map(Fleet::filter));
        let hello = link::Hello {
            settings: settings.clone(),
            will_topic: names.of("status"),
            keeps_session: fleet.is_some(),
            session_expiry: if fleet.is_some() { fleet::SESSION_EXPIRY } else { 0 },
            receive_maximum: fleet::RECEIVE_MAXIMUM,
            maximum_packet: if fleet.is_some() { fleet::MAX_MESSAGE } else { MAX_MESSAGE } as u32,
        };
        Bridge {
            client: Client::new(hello, filters, settings.max_pending),
            birth: discovery.as_ref().map(Discovery::birth),
            cameras: Cameras::new(&names, discovery),
            app,
            names,
            fleet,
            work: JoinSet::new(),
            n_queries: 0,
            n_cutting: 0,
            task: None,
            tasks: VecDeque::new(),
            seen: 0,
            is_connected: false,
        }
    }

    /// Puts what is new into the outbox.
    fn tell(&mut self) {
        loop {
            let batch = self.app.log.after(self.seen, BATCH);
            self.app.health.events_lost.fetch_add(batch.lost, Ordering::Relaxed);
            let Some(last) = batch.events.last() else { break };
            self.seen = last.seq;
            for event in &batch.events {
                let cuttings = self.cameras.tell(event, &mut self.client.outbox);
                if let Some(cuttings) = cuttings {
                    self.cut(cuttings);
                }
            }
        }
        self.app.health.events_lost.fetch_add(self.client.outbox.take_lost(), Ordering::Relaxed);
        self.cameras.refresh(&self.app.roster, &mut self.client.outbox);
    }

    fn cut(&mut self, cuttings: Cuttings) {
        if self.n_cutting < MAX_CUTTING {
            self.n_cutting += 1;
            self.work.spawn_blocking(move || Done::Cut(cuttings.cut()));
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Up => {
                ::log::info!("MQTT: connected to the broker");
                self.connected(true, String::new());
                self.client.outbox.set(&self.names.of("status"), topics::ONLINE.as_bytes().to_vec());
                self.stats();
            }
            Happening::Down(refusal) => {
                // The broker sends its task again.
                self.tasks.clear();
                self.task.take().inspect(AbortHandle::abort);
                let problem = self.connected(false, refusal.why.clone());
                if problem != refusal.why {
                    ::log::warn!("MQTT: {}; it is tried again", refusal.why);
                }
            }
            Happening::Message(message) => self.receive(message),
        }
    }

    /// Notes whether there is a connection, or why not; returns what was noted before.
    fn connected(&mut self, is: bool, problem: String) -> String {
        self.is_connected = is;
        let health = &self.app.health;
        health.mqtt_connected.store(is, Ordering::Relaxed);
        let mut noted = health.mqtt_problem.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut noted, problem)
    }

    fn receive(&mut self, message: Publish) {
        let command = self.names.command(&message).map(|(camera, command)| (camera.to_string(), command));
        let is_task = self.fleet.as_ref().is_some_and(|fleet| fleet.takes(&message.topic));
        if is_task && command.is_none() {
            return self.take_task(message);
        }
        if let Some(received) = self.client.received(&message) {
            self.client.acknowledge(received);
        }
        if let Some((camera, command)) = command {
            if let Some(query) = commands::obey(&self.app, &camera, command, message) {
                self.query(query);
            }
        } else if Some(&message.topic) == self.birth.as_ref() {
            if message.payload == b"online" {
                ::log::info!("MQTT: Home Assistant has started");
                self.client.outbox.tell_all_again();
            }
        } else if message.is_retained
            && !message.payload.is_empty()
            && !self.cameras.is_wanted(&message.topic)
        {
            ::log::info!("MQTT: {} is left over: it is taken off the broker", message.topic.escape_debug());
            self.client.outbox.clear(&message.topic);
        }
    }

    fn query(&mut self, query: commands::Query) {
        if self.n_queries >= MAX_QUERIES {
            let why = format!("query/set: {MAX_QUERIES} questions wait already: ask again later");
            return commands::complain(&self.app, query.camera(), why);
        }
        self.n_queries += 1;
        let answer = query.answer(self.app.clone(), self.names.clone());
        self.work.spawn(async { Done::Query(answer.await) });
    }

    /// Looks at a picture of the fleet, or keeps it until the one before is done.
    fn take_task(&mut self, message: Publish) {
        let Some(fleet) = &self.fleet else { return };
        if self.task.is_none() {
            let received = self.client.received(&message);
            let answer = fleet.clone().answer(self.app.clone(), message, received);
            let connection = self.client.connection;
            self.task = Some(self.work.spawn(async move { Done::Task(connection, answer.await) }));
        } else if self.tasks.len() < MAX_TASKS || message.id.is_some() {
            // Of those that are acknowledged there is one at a time.
            self.tasks.push_back(message);
        } else {
            let refusal = fleet.refuse(message);
            self.client.outbox.answer(refusal);
        }
    }

    fn finish(&mut self, done: Option<Done>) {
        match done {
            Some(Done::Query(messages)) => {
                self.n_queries -= 1;
                messages.into_iter().for_each(|message| self.client.outbox.answer(message));
            }
            Some(Done::Task(connection, message)) if connection == self.client.connection => {
                self.client.outbox.answer(message);
                self.task = None;
                if let Some(next) = self.tasks.pop_front() {
                    self.take_task(next);
                }
            }
            Some(Done::Cut(pictures)) => {
                self.n_cutting -= 1;
                for (topic, jpeg) in pictures {
                    // The camera may look for something else meanwhile.
                    if self.cameras.is_wanted(&topic) {
                        self.client.outbox.set(&topic, jpeg);
                    }
                }
            }
            // Work for a connection that was lost: the broker sends it again.
            Some(Done::Task(..)) | None => {}
        }
    }

    /// Tells how everything is doing, if anybody can hear it.
    fn stats(&mut self) {
        if !self.is_connected {
            return;
        }
        let health = &self.app.health;
        let temperature = health.temperature.load(Ordering::Relaxed);
        let cameras = self.app.roster.cameras();
        let cameras: serde_json::Map<_, _> = cameras.iter().map(|camera| camera_stats(camera)).collect();
        let stats = json!({
            "uptime_s": self.app.started.elapsed().as_secs(),
            "queue_depth": self.app.engine.queue_depth(),
            "temperature_celsius": (temperature != i64::MIN).then(|| temperature as f64 / 1000.0),
            "heat_level": health.heat_level.load(Ordering::Relaxed),
            "events_lost": health.events_lost.load(Ordering::Relaxed),
            "snapshots_failed": health.snapshots_failed.load(Ordering::Relaxed),
            "cameras": cameras,
        });
        let message = Message::new(self.names.of("stats"), stats.to_string());
        self.client.outbox.answer(Message { is_sure: false, ..message });
    }

    /// Tells that the program ends, and the rest.
    async fn end(mut self) {
        self.work.shutdown().await;
        self.tell();
        if self.is_connected {
            self.client.outbox.set(&self.names.of("status"), topics::STOPPED.as_bytes().to_vec());
            self.client.close(FAREWELL).await;
        }
        self.app.health.mqtt_connected.store(false, Ordering::Relaxed);
    }
}

fn camera_stats(camera: &crate::camera::Camera) -> (String, serde_json::Value) {
    let counters = &camera.counters;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let stats = json!({
        "status": camera.status().borrow().name(),
        "used": count(&counters.used),
        "dropped": count(&counters.dropped),
        "stale": count(&counters.stale),
        "gated": count(&counters.gated),
        "damaged": count(&counters.damaged),
        "reopened": count(&counters.reopened),
    });
    (camera.name.to_string(), stats)
}
