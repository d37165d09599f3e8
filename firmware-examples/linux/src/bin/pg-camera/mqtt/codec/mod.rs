//! Packets of MQTT 5 (OASIS standard of 2019-03-07; section numbers beside the code), the client's side.
//!
//! `read` takes apart what the broker sends, which is believed only as far as it has been checked; `write` makes what the
//! client sends. Not here: connections, order, time. Also absent, because the client never asks for it: QoS 2, topic
//! aliases, enhanced authentication.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub(super) use read::{Accepted, Packet, Publish, frame};
pub(super) use write::{Connect, Filter, Outgoing, connect, disconnect, ping, puback, publish, subscribe};

/// Packet types, in the upper half of a packet's first byte (2.1.2).
mod kind {
    pub(super) const CONNECT: u8 = 1;
    pub(super) const CONNACK: u8 = 2;
    pub(super) const PUBLISH: u8 = 3;
    pub(super) const PUBACK: u8 = 4;
    pub(super) const SUBSCRIBE: u8 = 8;
    pub(super) const SUBACK: u8 = 9;
    pub(super) const PINGREQ: u8 = 12;
    pub(super) const PINGRESP: u8 = 13;
    pub(super) const DISCONNECT: u8 = 14;
}

/// Properties that are read or written (2.2.2.2).
mod property {
    pub(super) const RESPONSE_TOPIC: u32 = 0x08;
    pub(super) const CORRELATION_DATA: u32 = 0x09;
    pub(super) const SESSION_EXPIRY: u32 = 0x11;
    pub(super) const SERVER_KEEP_ALIVE: u32 = 0x13;
    pub(super) const REASON: u32 = 0x1f;
    pub(super) const RECEIVE_MAXIMUM: u32 = 0x21;
    pub(super) const TOPIC_ALIAS: u32 = 0x23;
    pub(super) const MAXIMUM_QOS: u32 = 0x24;
    pub(super) const RETAIN_AVAILABLE: u32 = 0x25;
    pub(super) const USER: u32 = 0x26;
    pub(super) const MAXIMUM_PACKET: u32 = 0x27;
}

/// A packet that no broker may send; with what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged(pub(super) &'static str);

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the broker sent a damaged packet: {}", self.0)
    }
}

/// What a reason code of 0x80 and above means (2.4), and whether trying again soon is of no use.
pub(super) fn reason(code: u8) -> (&'static str, bool) {
    match code {
        0x80 => ("refused without a reason", false),
        0x81 => ("it calls a packet of ours malformed", true),
        0x82 => ("it calls a packet of ours a protocol error", true),
        0x84 => ("it does not speak MQTT 5: take one that does, such as mosquitto 2", true),
        0x85 => ("it does not accept mqtt.client_id", true),
        0x86 => ("wrong user name or password: look at mqtt.username and mqtt.password", true),
        0x87 => ("not authorized: look at mqtt.username, mqtt.password and the broker's access rules", true),
        0x88 => ("it is not available", false),
        0x89 => ("it is busy", false),
        0x8a => ("it has banned this client", true),
        0x8b => ("it shuts down", false),
        0x8c => ("it wants another way of authentication than a password", true),
        0x8d => ("it heard nothing of this client for too long", false),
        0x8e => ("another client has the same mqtt.client_id: give each its own", true),
        0x8f | 0x90 => ("it does not accept the topic", true),
        0x95 => ("the packet was too large for it", false),
        0x96 | 0x97 | 0x9f => ("too many messages for it", false),
        0x98 => ("its administrator has ended the connection", false),
        0x9a => ("it keeps no retained messages", true),
        0x9b => ("it does not offer that quality of service", true),
        0x9c | 0x9d => ("it has moved: ask its administrator for the new address", true),
        0x9e => ("it has no shared subscriptions", true),
        0xa2 => ("it has no wildcard subscriptions", true),
        _ => ("refused for a reason that is not in the standard", false),
    }
}
