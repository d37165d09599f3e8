//! A client of MQTT 5 that stays connected: connects again when the connection is lost, sends what the outbox holds as the
//! broker takes it, and hands over what comes.
//!
//! All of it happens in [`Client::next`], which may be dropped at any moment and called again.

use super::Refusal;
use super::codec::{self, Filter, Packet, Publish};
use super::link::{Hello, Link};
use super::outbox::{Message, Outbox, Received};
use crate::backoff::Backoff;
use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

/// Messages that await their acknowledgement, at most; the broker may allow fewer.
const MAX_IN_FLIGHT: usize = 16;
/// Bytes that wait to be written before no more messages are taken from the outbox.
const BACKLOG: usize = 64 * 1024;

/// Refused topics that are complained of.
const MOST_REFUSED: usize = 1000;

/// What the client's owner hears of.
#[derive(Debug)]
pub(super) enum Happening {
    /// Connected and subscribed. Retained messages have to be sent again.
    Up,
    /// The connection is lost, or could not be made. It is tried again by itself.
    Down(Refusal),
    /// A message has come. If it has a number, it is acknowledged by an answer with that number, or by `acknowledge`.
    Message(Publish),
}

/// The client.
pub(super) struct Client {
    hello: Hello,
    filters: Vec<Filter>,
    state: State,
    backoff: Backoff,
    /// Counts beginnings and ends of connections.
    pub(super) connection: u64,
    in_flight: VecDeque<InFlight>,
    next_id: u16,
    /// Topics whose messages the broker did not take, each of which is complained of once.
    refused: BTreeSet<String>,
    pub(super) outbox: Outbox,
}

enum State {
    Waiting(Instant),
    Connecting(Pin<Box<dyn Future<Output = Result<Link, Refusal>> + Send>>),
    Up(Box<Link>),
}

/// A message that the broker has not acknowledged yet.
#[derive(Debug)]
struct InFlight {
    id: u16,
    message: Message,
    /// Whether it was sent by this connection.
    is_sent: bool,
}

impl Client {
    /// A client that subscribes to these filters whenever it connects.
    pub(super) fn new(hello: Hello, filters: Vec<Filter>, max_events: usize) -> Self {
        Client {
            hello,
            filters,
            state: State::Waiting(Instant::now()),
            backoff: Backoff::default(),
            connection: 0,
            in_flight: VecDeque::new(),
            next_id: 0,
            refused: BTreeSet::new(),
            outbox: Outbox::new(max_events),
        }
    }

    /// Carries on until something has happened.
    pub(super) async fn next(&mut self) -> Happening {
        loop {
            match &mut self.state {
                State::Waiting(until) => {
                    tokio::time::sleep_until(*until).await;
                    self.state = State::Connecting(Box::pin(Link::open(self.hello.clone())));
                }
                State::Connecting(link) => match link.await {
                    Ok(link) => {
                        self.begin(link);
                        return Happening::Up;
                    }
                    Err(refusal) => return self.lose(refusal),
                },
                State::Up(_) => {
                    if let Some(happening) = self.turn().await {
                        return happening;
                    }
                }
            }
        }
    }

    /// How the message is to be acknowledged, if it is to be.
    pub(super) fn received(&self, message: &Publish) -> Option<Received> {
        message.id.map(|id| Received { id, connection: self.connection })
    }

    /// Acknowledges a message without an answer.
    pub(super) fn acknowledge(&mut self, received: Received) {
        // The number of a message that came by an earlier connection is not the broker's any more: it sends that again.
        if let State::Up(link) = &mut self.state
            && received.connection == self.connection
        {
            codec::puback(link.outgoing(), received.id);
        }
    }

    /// Sends what there still is, for so long at most, and ends the connection.
    pub(super) async fn close(mut self, limit: Duration) {
        let all_sent = async {
            while let State::Up(link) = &self.state
                && !(self.outbox.is_empty() && self.in_flight.is_empty() && link.backlog() == 0)
            {
                self.turn().await;
            }
        };
        let in_time = tokio::time::timeout(limit, all_sent).await.is_ok();
        if !in_time {
            ::log::warn!("MQTT: the broker did not take everything in time; the last events may be lost");
        }
        if let State::Up(link) = self.state {
            // If the broker does not even take this, it finds out by itself.
            let _ = tokio::time::timeout(limit / 4, link.close()).await;
        }
    }

    fn begin(&mut self, mut link: Link) {
        self.connection += 1;
        let id = self.id();
        codec::subscribe(link.outgoing(), id, &self.filters);
        self.in_flight.iter_mut().for_each(|m| m.is_sent = false);
        self.state = State::Up(Box::new(link));
        self.outbox.tell_all_again();
    }

    fn lose(&mut self, refusal: Refusal) -> Happening {
        if let State::Up(link) = &self.state {
            self.backoff.was_up(link.since.elapsed());
        }
        self.state = State::Waiting(Instant::now() + self.backoff.next(refusal.is_lasting));
        self.connection += 1;
        self.outbox.forget_answers();
        self.in_flight.iter_mut().for_each(|m| m.message.answers = None);
        Happening::Down(refusal)
    }

    /// One step of a connection that is up.
    async fn turn(&mut self) -> Option<Happening> {
        self.fill();
        let State::Up(link) = &mut self.state else { return None };
        match link.turn().await {
            Ok(Some(packet)) => self.handle(packet),
            Ok(None) => None,
            Err(why) => Some(self.lose(Refusal { why, is_lasting: false })),
        }
    }

    fn handle(&mut self, packet: Packet) -> Option<Happening> {
        match packet {
            Packet::Publish(message) => return Some(Happening::Message(message)),
            Packet::PubAck { id, code } => self.acknowledged(id, code),
            Packet::SubAck { codes, .. } => self.subscribed(&codes),
            Packet::Pong => {}
            Packet::Disconnect(code) => return Some(self.lose(Refusal::of(code))),
            Packet::Accepted(_) | Packet::Refused(_) => {
                let why = "the broker sent a second CONNACK".into();
                return Some(self.lose(Refusal { why, is_lasting: false }));
            }
        }
        None
    }

    fn acknowledged(&mut self, id: u16, code: u8) {
        let Some(at) = self.in_flight.iter().position(|m| m.id == id && m.is_sent) else { return };
        let Some(InFlight { message, .. }) = self.in_flight.remove(at) else { return };
        // Others choose the topics of their answers: not every one of those is remembered.
        if code >= 0x80 && self.refused.len() < MOST_REFUSED && self.refused.insert(message.topic.clone()) {
            ::log::warn!("MQTT: the broker did not take {}: {}", message.topic, codec::reason(code).0);
        }
        if let Some(received) = message.answers {
            self.acknowledge(received);
        }
    }

    fn subscribed(&self, codes: &[u8]) {
        for (filter, code) in self.filters.iter().zip(codes) {
            if *code >= 0x80 {
                let why = codec::reason(*code).0;
                ::log::warn!("MQTT: the broker does not let us subscribe to {}: {why}", filter.topic);
            }
        }
    }

    /// Turns messages into packets, as many as the broker may be sent now.
    fn fill(&mut self) {
        while let State::Up(link) = &mut self.state {
            let window = MAX_IN_FLIGHT.min(link.granted.receive_maximum.into());
            let n_sent = self.in_flight.iter().filter(|m| m.is_sent).count();
            if n_sent >= window || link.backlog() > BACKLOG {
                return;
            }
            if let Some(again) = self.in_flight.iter_mut().find(|m| !m.is_sent) {
                let is_again = link.granted.is_resumed;
                write(link, &again.message, Some(again.id), is_again);
                again.is_sent = true;
            } else if let Some(message) = self.outbox.next() {
                self.send(message);
            } else {
                return;
            }
        }
    }

    fn send(&mut self, message: Message) {
        let id = self.id();
        let State::Up(link) = &mut self.state else { return };
        if message.payload.len() + message.topic.len() + 64 > link.granted.maximum_packet as usize {
            let n = message.payload.len();
            ::log::warn!("MQTT: {n} bytes for {} are more than the broker takes", message.topic);
        } else if message.is_sure && link.granted.has_qos1 {
            write(link, &message, Some(id), false);
            self.in_flight.push_back(InFlight { id, message, is_sent: true });
            return;
        } else {
            write(link, &message, None, false);
        }
        // Nothing more will be heard of it.
        if let Some(received) = message.answers {
            self.acknowledge(received);
        }
    }

    /// A packet number that is not in use.
    fn id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            if self.in_flight.iter().all(|m| m.id != self.next_id) {
                return self.next_id;
            }
        }
    }
}

fn write(link: &mut Link, message: &Message, id: Option<u16>, is_again: bool) {
    let is_retained = message.is_retained && link.granted.has_retain;
    let outgoing = codec::Outgoing {
        topic: &message.topic,
        payload: &message.payload,
        id,
        is_retained,
        is_again,
        correlation: message.correlation.as_deref(),
    };
    codec::publish(link.outgoing(), &outgoing);
}
