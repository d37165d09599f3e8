//! What the client sends, appended to a buffer.

use super::{kind, property};

/// CONNECT (3.1).
#[derive(Debug, Clone)]
pub(crate) struct Connect<'a> {
    pub(crate) client_id: &'a str,
    /// Forget an earlier connection's session.
    pub(crate) is_clean: bool,
    /// Seconds.
    pub(crate) keep_alive: u16,
    /// Seconds for which the broker keeps the session after the connection has ended.
    pub(crate) session_expiry: u32,
    /// Messages of QoS 1 that the client takes before it has acknowledged the first.
    pub(crate) receive_maximum: u16,
    /// Bytes of the longest packet that the client takes.
    pub(crate) maximum_packet: u32,
    /// Topic and payload that the broker publishes, retained, if the client goes without a word.
    pub(crate) will: (&'a str, &'a [u8]),
    pub(crate) username: Option<&'a str>,
    pub(crate) password: Option<&'a str>,
}

/// PUBLISH (3.3).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    /// Its number if it has QoS 1, `None` for QoS 0.
    pub(crate) id: Option<u16>,
    pub(crate) is_retained: bool,
    /// Whether it was sent before, in the same session.
    pub(crate) is_again: bool,
    pub(crate) correlation: Option<&'a [u8]>,
}

/// A filter of a SUBSCRIBE (3.8.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) topic: String,
    pub(crate) has_qos1: bool,
    /// Whether the broker is to send the messages that it has retained.
    pub(crate) wants_retained: bool,
    /// Whether it is to leave out what this client publishes itself; not possible with shared subscriptions.
    pub(crate) skips_own: bool,
}

/// Most bytes after a packet's header that four bytes of length can say.
const MAX_BODY: usize = (1 << 28) - 1;

fn variable(out: &mut Vec<u8>, mut value: usize) {
    debug_assert!(value <= MAX_BODY);
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A text or binary value; what does not fit its 16 bits of length was refused by whoever took it in.
fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(u16::MAX.into())];
    out.extend((bytes.len() as u16).to_be_bytes());
    out.extend(bytes);
}

fn packet(out: &mut Vec<u8>, first: u8, body: &[&[u8]]) {
    out.push(first);
    variable(out, body.iter().map(|part| part.len()).sum());
    body.iter().for_each(|part| out.extend_from_slice(part));
}

fn with_properties(body: &mut Vec<u8>, properties: &[u8]) {
    variable(body, properties.len());
    body.extend(properties);
}

pub(crate) fn connect(out: &mut Vec<u8>, c: &Connect<'_>) {
    let mut body = Vec::with_capacity(256);
    binary(&mut body, b"MQTT");
    // The version; then the flags: a will of QoS 1 that is retained.
    body.push(5);
    let flag = |is: bool, bit: u8| u8::from(is) << bit;
    let credentials = flag(c.username.is_some(), 7) | flag(c.password.is_some(), 6);
    body.push(credentials | 0b0010_1100 | flag(c.is_clean, 1));
    body.extend(c.keep_alive.to_be_bytes());
    let mut properties = vec![property::SESSION_EXPIRY as u8];
    properties.extend(c.session_expiry.to_be_bytes());
    properties.push(property::RECEIVE_MAXIMUM as u8);
    properties.extend(c.receive_maximum.to_be_bytes());
    properties.push(property::MAXIMUM_PACKET as u8);
    properties.extend(c.maximum_packet.to_be_bytes());
    with_properties(&mut body, &properties);
    binary(&mut body, c.client_id.as_bytes());
    with_properties(&mut body, &[]);
    binary(&mut body, c.will.0.as_bytes());
    binary(&mut body, c.will.1);
    for text in [c.username, c.password].into_iter().flatten() {
        binary(&mut body, text.as_bytes());
    }
    packet(out, kind::CONNECT << 4, &[&body]);
}

pub(crate) fn publish(out: &mut Vec<u8>, p: &Outgoing<'_>) {
    let mut head = Vec::with_capacity(p.topic.len() + 16);
    binary(&mut head, p.topic.as_bytes());
    if let Some(id) = p.id {
        head.extend(id.to_be_bytes());
    }
    let mut properties = Vec::new();
    if let Some(correlation) = p.correlation {
        properties.push(property::CORRELATION_DATA as u8);
        binary(&mut properties, correlation);
    }
    with_properties(&mut head, &properties);
    let again = u8::from(p.is_again && p.id.is_some());
    let flags = again << 3 | u8::from(p.id.is_some()) << 1 | u8::from(p.is_retained);
    packet(out, kind::PUBLISH << 4 | flags, &[&head, p.payload]);
}

pub(crate) fn puback(out: &mut Vec<u8>, id: u16) {
    packet(out, kind::PUBACK << 4, &[&id.to_be_bytes()]);
}

pub(crate) fn subscribe(out: &mut Vec<u8>, id: u16, filters: &[Filter]) {
    let mut body = id.to_be_bytes().to_vec();
    with_properties(&mut body, &[]);
    for filter in filters {
        binary(&mut body, filter.topic.as_bytes());
        // Quality, "no local", and how retained messages are handled: 0 sends them, 2 does not.
        let retained = if filter.wants_retained { 0 } else { 2 };
        body.push(u8::from(filter.has_qos1) | u8::from(filter.skips_own) << 2 | retained << 4);
    }
    packet(out, kind::SUBSCRIBE << 4 | 2, &[&body]);
}

pub(crate) fn ping(out: &mut Vec<u8>) {
    packet(out, kind::PINGREQ << 4, &[]);
}

/// A clean end: the broker publishes no will.
pub(crate) fn disconnect(out: &mut Vec<u8>) {
    packet(out, kind::DISCONNECT << 4, &[]);
}
