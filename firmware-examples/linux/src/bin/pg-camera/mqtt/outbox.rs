//! What is to be sent, while there is a connection and while there is none.
//!
//! Three kinds of messages, sent in this order: what the retained topics say (a newer value takes the place of an older
//! one, so they never pile up); answers, which somebody waits for; events, of which the oldest are lost if there are too
//! many. Not here: connections, packets, what messages say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A message of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Arc<Vec<u8>>,
    pub(crate) is_retained: bool,
    /// Sent again until the broker has it; otherwise it may be lost with the connection.
    pub(crate) is_sure: bool,
    pub(crate) correlation: Option<Vec<u8>>,
    /// The message that is answered hereby, and acknowledged once the broker has this one.
    pub(crate) answers: Option<Received>,
}

/// A message of the broker's that waits for its acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) id: u16,
    /// The connection that it came by; numbers of another one mean something else.
    pub(crate) connection: u64,
}

impl Message {
    pub(crate) fn new(topic: String, payload: impl Into<Vec<u8>>) -> Self {
        let payload = Arc::new(payload.into());
        Message { topic, payload, is_retained: false, is_sure: true, correlation: None, answers: None }
    }
}

/// The messages.
#[derive(Debug)]
pub(crate) struct Outbox {
    retained: BTreeMap<String, Arc<Vec<u8>>>,
    /// Topics whose value the broker does not have yet, the oldest change first.
    changed: VecDeque<String>,
    answers: VecDeque<Message>,
    events: VecDeque<Message>,
    /// Events that are kept.
    most: usize,
    lost: u64,
}

impl Outbox {
    /// Room for so many events.
    pub(crate) fn new(most: usize) -> Self {
        Outbox {
            retained: BTreeMap::new(),
            changed: VecDeque::new(),
            answers: VecDeque::new(),
            events: VecDeque::new(),
            most,
            lost: 0,
        }
    }

    /// Sets what a retained topic says. An empty value takes it off the broker.
    pub(crate) fn set(&mut self, topic: &str, value: impl Into<Arc<Vec<u8>>>) {
        let value = value.into();
        if self.retained.get(topic) == Some(&value) {
            return;
        }
        if !self.changed.iter().any(|t| t == topic) {
            self.changed.push_back(topic.to_string());
        }
        self.retained.insert(topic.to_string(), value);
    }

    /// Takes everything off the broker that is not among the wanted topics.
    pub(crate) fn keep(&mut self, wanted: &BTreeSet<String>) {
        let unwanted = |(topic, value): (&String, &Arc<Vec<u8>>)| {
            (!value.is_empty() && !wanted.contains(topic)).then(|| topic.clone())
        };
        let unwanted: Vec<String> = self.retained.iter().filter_map(unwanted).collect();
        unwanted.iter().for_each(|topic| self.clear(topic));
    }

    /// Takes a retained value off the broker, whoever put it there.
    pub(crate) fn clear(&mut self, topic: &str) {
        self.set(topic, Vec::new());
    }

    /// Sends everything retained again: the broker, or who reads it, may have lost it.
    pub(crate) fn tell_all_again(&mut self) {
        self.changed = self.retained.keys().cloned().collect();
    }

    pub(crate) fn answer(&mut self, message: Message) {
        self.answers.push_back(message);
    }

    /// Adds an event; the oldest goes if there is no room.
    pub(crate) fn event(&mut self, message: Message) {
        if self.events.len() == self.most {
            self.events.pop_front();
            self.lost += 1;
        }
        self.events.push_back(message);
    }

    /// The next message to send.
    pub(crate) fn next(&mut self) -> Option<Message> {
        while let Some(topic) = self.changed.pop_front() {
            let Some(value) = self.retained.get(&topic) else { continue };
            let payload = value.clone();
            // Once the broker has forgotten it, so may we; if that gets lost, the next connection finds it out.
            if payload.is_empty() {
                self.retained.remove(&topic);
            }
            return Some(Message { payload, is_retained: true, ..Message::new(topic, Vec::new()) });
        }
        self.answers.pop_front().or_else(|| self.events.pop_front())
    }

    /// Answers to messages that came by the lost connection: the broker sends those again.
    pub(crate) fn forget_answers(&mut self) {
        self.answers.retain(|message| message.answers.is_none());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.answers.is_empty() && self.events.is_empty()
    }

    /// Events lost since the last call.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(outbox: &mut Outbox) -> Vec<(String, String)> {
        let text = |m: Message| (m.topic, String::from_utf8(m.payload.to_vec()).expect("text"));
        std::iter::from_fn(|| outbox.next()).map(text).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(topic, payload)| (topic.to_string(), payload.to_string())).collect()
    }

    #[test]
    fn a_newer_value_takes_the_place_of_the_older_one() {
        let mut outbox = Outbox::new(2);
        for value in ["1", "2", "3"] {
            outbox.set("a", value.as_bytes().to_vec());
        }
        outbox.set("b", b"x".to_vec());
        assert_eq!(all(&mut outbox), pairs(&[("a", "3"), ("b", "x")]));
        outbox.set("a", b"3".to_vec());
        assert_eq!(all(&mut outbox), []);
        outbox.tell_all_again();
        assert_eq!(all(&mut outbox), pairs(&[("a", "3"), ("b", "x")]));
    }

    #[test]
    fn only_events_are_lost_and_they_are_counted() {
        let mut outbox = Outbox::new(2);
        for i in 0..5 {
            outbox.event(Message::new("event".into(), i.to_string()));
            outbox.answer(Message::new("answer".into(), i.to_string()));
            outbox.set(&format!("state/{i}"), b"x".to_vec());
        }
        let sent = all(&mut outbox);
        assert_eq!(sent.len(), 12);
        assert_eq!(sent[10..], pairs(&[("event", "3"), ("event", "4")]));
        assert_eq!((outbox.take_lost(), outbox.take_lost()), (3, 0));
        assert!(outbox.is_empty());
    }

    #[test]
    fn what_is_no_longer_wanted_is_taken_off_the_broker_once() {
        let mut outbox = Outbox::new(2);
        outbox.set("a", b"1".to_vec());
        outbox.set("b", b"1".to_vec());
        all(&mut outbox);
        outbox.keep(&BTreeSet::from(["b".to_string()]));
        assert_eq!(all(&mut outbox), pairs(&[("a", "")]));
        outbox.tell_all_again();
        assert_eq!(all(&mut outbox), pairs(&[("b", "1")]));
    }

    #[test]
    fn answers_go_with_the_connection_of_their_question() {
        let mut outbox = Outbox::new(2);
        let answers = Some(Received { id: 1, connection: 1 });
        outbox.answer(Message { answers, ..Message::new("fleet".into(), "x") });
        outbox.answer(Message::new("query".into(), "x"));
        outbox.forget_answers();
        assert_eq!(all(&mut outbox), pairs(&[("query", "x")]));
    }
}
