//! What the broker sends.

use super::{Damaged, kind, property};

/// User properties of a message that are kept; the rest is passed over.
const MAX_USER_PROPERTIES: usize = 16;

/// A packet from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Packet {
    Accepted(Accepted),
    /// The connection was refused, with this reason code.
    Refused(u8),
    Publish(Publish),
    /// A message of ours has arrived, or was refused if the code is 0x80 or above.
    PubAck {
        id: u16,
        code: u8,
    },
    /// Whether each filter of a SUBSCRIBE was taken: below 0x80.
    SubAck {
        id: u16,
        codes: Vec<u8>,
    },
    Pong,
    /// The broker ends the connection.
    Disconnect(u8),
}

/// CONNACK with success: what the broker grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Whether it remembers an earlier connection's session.
    pub(crate) is_resumed: bool,
    /// Messages of ours that may await their acknowledgement.
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_packet: u32,
    pub(crate) keep_alive: Option<u16>,
    pub(crate) has_qos1: bool,
    pub(crate) has_retain: bool,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// What to acknowledge; `None` for QoS 0.
    pub(crate) id: Option<u16>,
    pub(crate) is_retained: bool,
    pub(crate) response_topic: Option<String>,
    pub(crate) correlation: Option<Vec<u8>>,
    pub(crate) user: Vec<(String, String)>,
}

/// Bytes of the first packet in `bytes` and of its header; `None` until all of it is there.
///
/// # Errors
/// If it is longer than `most`, or no length can begin so.
pub(crate) fn frame(bytes: &[u8], most: usize) -> Result<Option<(usize, usize)>, Damaged> {
    let Some(rest) = bytes.get(1..) else { return Ok(None) };
    let mut length = 0;
    for (i, byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let whole = 2 + i + length;
            if whole > most {
                return Err(Damaged("it is longer than the client said it would take"));
            }
            return Ok((bytes.len() >= whole).then_some((2 + i, whole)));
        }
    }
    if rest.len() >= 4 { Err(Damaged("its length has more than four bytes")) } else { Ok(None) }
}

impl Packet {
    /// Takes a packet apart: its first byte, and what follows its length.
    pub(crate) fn read(first: u8, body: &[u8]) -> Result<Packet, Damaged> {
        let mut reader = Reader(body);
        let packet = match (first >> 4, first & 0x0f) {
            (kind::CONNACK, 0) => reader.connack()?,
            (kind::PUBLISH, flags) => return reader.publish(flags).map(Packet::Publish),
            (kind::PUBACK, 0) => {
                let id = reader.id()?;
                Packet::PubAck { id, code: reader.code_and_reason()? }
            }
            (kind::SUBACK, 0) => {
                let id = reader.id()?;
                reader.properties()?;
                Packet::SubAck { id, codes: std::mem::take(&mut reader.0).to_vec() }
            }
            (kind::PINGRESP, 0) => Packet::Pong,
            (kind::DISCONNECT, 0) => Packet::Disconnect(reader.code_and_reason()?),
            _ => return Err(Damaged("brokers send no packet of this type")),
        };
        if reader.0.is_empty() { Ok(packet) } else { Err(Damaged("it is longer than its fields")) }
    }
}

/// Properties that anybody here asks for.
#[derive(Debug, Default)]
struct Properties {
    response_topic: Option<String>,
    correlation: Option<Vec<u8>>,
    user: Vec<(String, String)>,
    keep_alive: Option<u16>,
    receive_maximum: Option<u16>,
    maximum_packet: Option<u32>,
    maximum_qos: Option<u8>,
    retain_available: Option<u8>,
}

/// What is left of a packet.
struct Reader<'a>(&'a [u8]);

const SHORT: Damaged = Damaged("it ends too early");

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, Damaged> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, Damaged> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Damaged> {
        self.array().map(u32::from_be_bytes)
    }

    /// Packet identifiers are never 0 (2.2.1).
    fn id(&mut self) -> Result<u16, Damaged> {
        self.u16().and_then(|id| if id == 0 { Err(Damaged("its number is 0")) } else { Ok(id) })
    }

    /// A variable byte integer (1.5.5).
    fn variable(&mut self) -> Result<u32, Damaged> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damaged("a number has more than four bytes"))
    }

    fn binary(&mut self) -> Result<&'a [u8], Damaged> {
        let n = self.u16()?;
        self.take(n.into())
    }

    fn text(&mut self) -> Result<&'a str, Damaged> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| Damaged("a text is not UTF-8"))?;
        if text.contains('\0') { Err(Damaged("a text has a zero")) } else { Ok(text) }
    }

    /// The fields of CONNACK (3.2.2).
    fn connack(&mut self) -> Result<Packet, Damaged> {
        let flags = self.u8()?;
        let code = self.u8()?;
        if flags > 1 {
            return Err(Damaged("unknown flags of a CONNACK"));
        }
        // Brokers without MQTT 5 answer in the form of their own version: two bytes, 1 for "unknown version".
        if self.0.is_empty() {
            return if code == 0 {
                Err(SHORT)
            } else {
                Ok(Packet::Refused(if code == 1 { 0x84 } else { code }))
            };
        }
        let properties = self.properties()?;
        if code != 0 {
            return Ok(Packet::Refused(code));
        }
        let receive_maximum = properties.receive_maximum.unwrap_or(u16::MAX);
        let maximum_packet = properties.maximum_packet.unwrap_or(u32::MAX);
        if receive_maximum == 0 || maximum_packet == 0 {
            return Err(Damaged("a limit of 0 in a CONNACK"));
        }
        Ok(Packet::Accepted(Accepted {
            is_resumed: flags == 1,
            receive_maximum,
            maximum_packet,
            keep_alive: properties.keep_alive,
            has_qos1: properties.maximum_qos != Some(0),
            has_retain: properties.retain_available != Some(0),
        }))
    }

    /// The fields of PUBLISH (3.3); the payload is what is left.
    fn publish(&mut self, flags: u8) -> Result<Publish, Damaged> {
        let topic = self.text()?;
        if topic.is_empty() || topic.contains(['+', '#']) {
            return Err(Damaged("its topic is none"));
        }
        let id = match (flags >> 1) & 3 {
            0 => None,
            1 => Some(self.id()?),
            _ => return Err(Damaged("a quality of service that nobody asked for")),
        };
        let properties = self.properties()?;
        Ok(Publish {
            topic: topic.to_string(),
            payload: self.0.to_vec(),
            id,
            is_retained: flags & 1 != 0,
            response_topic: properties.response_topic,
            correlation: properties.correlation,
            user: properties.user,
        })
    }

    /// Reason code and properties, which may both be left out (3.4.2, 3.14.2).
    fn code_and_reason(&mut self) -> Result<u8, Damaged> {
        if self.0.is_empty() {
            return Ok(0);
        }
        let code = self.u8()?;
        if !self.0.is_empty() {
            self.properties()?;
        }
        Ok(code)
    }

    fn properties(&mut self) -> Result<Properties, Damaged> {
        let n = self.variable()?;
        let mut reader = Reader(self.take(n as usize)?);
        let mut all = Properties::default();
        while !reader.0.is_empty() {
            reader.property(&mut all)?;
        }
        Ok(all)
    }

    fn property(&mut self, all: &mut Properties) -> Result<(), Damaged> {
        match self.variable()? {
            property::RESPONSE_TOPIC => all.response_topic = Some(self.text()?.to_string()),
            property::CORRELATION_DATA => all.correlation = Some(self.binary()?.to_vec()),
            property::SERVER_KEEP_ALIVE => all.keep_alive = Some(self.u16()?),
            property::RECEIVE_MAXIMUM => all.receive_maximum = Some(self.u16()?),
            property::MAXIMUM_QOS => all.maximum_qos = Some(self.u8()?),
            property::RETAIN_AVAILABLE => all.retain_available = Some(self.u8()?),
            property::MAXIMUM_PACKET => all.maximum_packet = Some(self.u32()?),
            property::USER => {
                let pair = (self.text()?.to_string(), self.text()?.to_string());
                if all.user.len() < MAX_USER_PROPERTIES {
                    all.user.push(pair);
                }
            }
            property::TOPIC_ALIAS => return Err(Damaged("a topic's alias, which nobody allowed")),
            // Of no interest, by the form of their values.
            0x01 | 0x17 | 0x19 | 0x28 | 0x29 | 0x2a => drop(self.u8()?),
            0x22 => drop(self.u16()?),
            0x02 | 0x11 | 0x18 => drop(self.u32()?),
            0x0b => drop(self.variable()?),
            0x16 => drop(self.binary()?),
            0x03 | 0x12 | 0x15 | 0x1a | 0x1c | property::REASON => drop(self.text()?),
            _ => return Err(Damaged("an unknown property")),
        }
        Ok(())
    }
}
