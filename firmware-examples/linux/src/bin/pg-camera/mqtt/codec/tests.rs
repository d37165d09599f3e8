//! Bytes as the standard and a broker write them, and damage to them.

use super::*;

/// What mosquitto 2.0.11 answers to a client: no session, a topic alias maximum of 10, a receive maximum of 20.
const CONNACK: &[u8] = &[0x20, 9, 0, 0, 6, 0x22, 0, 10, 0x21, 0, 20];

fn read(bytes: &[u8]) -> Result<Packet, Damaged> {
    let (head, whole) = frame(bytes, 1 << 20)?.ok_or(Damaged("incomplete"))?;
    Packet::read(bytes[0], &bytes[head..whole])
}

/// A message with everything that the client reads, as brokers hand it on.
fn rich_publish() -> Vec<u8> {
    let mut properties = vec![0x01, 1, 0x02, 0, 0, 0, 60, 0x03, 0, 1, b'x'];
    properties.extend([0x08, 0, 3, b'a', b'/', b'b', 0x09, 0, 2, 7, 8, 0x0b, 0x80, 1]);
    properties.extend([0x26, 0, 1, b'k', 0, 2, b'v', b'w']);
    let mut body = vec![0, 3, b't', b'/', b'u', 0, 9, properties.len() as u8];
    body.extend(properties);
    body.extend(b"payload");
    [&[0x33, body.len() as u8][..], &body].concat()
}

#[test]
fn an_accepted_connection_says_what_the_broker_grants() {
    let accepted = Accepted {
        is_resumed: false,
        receive_maximum: 20,
        maximum_packet: u32::MAX,
        keep_alive: None,
        has_qos1: true,
        has_retain: true,
    };
    assert_eq!(read(CONNACK), Ok(Packet::Accepted(accepted)));
    let full = [0x20, 15, 1, 0, 12, 0x13, 0, 9, 0x24, 0, 0x25, 0, 0x27, 0, 0, 1, 0];
    let accepted = Accepted {
        is_resumed: true,
        receive_maximum: u16::MAX,
        maximum_packet: 256,
        keep_alive: Some(9),
        has_qos1: false,
        has_retain: false,
    };
    assert_eq!(read(&full), Ok(Packet::Accepted(accepted)));
}

#[test]
fn refusals_of_old_brokers_are_understood_too() {
    assert_eq!(read(&[0x20, 3, 0, 0x86, 0]), Ok(Packet::Refused(0x86)));
    // MQTT 3.1.1, section 3.2.2.3: unacceptable protocol version.
    assert_eq!(read(&[0x20, 2, 0, 1]), Ok(Packet::Refused(0x84)));
}

#[test]
fn a_message_keeps_what_an_answer_needs() {
    let Ok(Packet::Publish(p)) = read(&rich_publish()) else { panic!("not read") };
    assert_eq!((p.topic.as_str(), p.payload.as_slice(), p.id), ("t/u", &b"payload"[..], Some(9)));
    assert!(p.is_retained);
    assert_eq!(p.response_topic.as_deref(), Some("a/b"));
    assert_eq!(p.correlation.as_deref(), Some(&[7, 8][..]));
    assert_eq!(p.user, [("k".to_string(), "vw".to_string())]);
}

#[test]
fn what_is_published_can_be_read() {
    let payload = vec![b'x'; 300];
    for id in [None, Some(513)] {
        let mut bytes = Vec::new();
        let correlation = Some(&b"c"[..]);
        let message =
            Outgoing { topic: "a/b", payload: &payload, id, is_retained: true, is_again: true, correlation };
        publish(&mut bytes, &message);
        assert_eq!(bytes[0], if id.is_some() { 0x3b } else { 0x31 });
        let Ok(Packet::Publish(p)) = read(&bytes) else { panic!("not read") };
        assert_eq!((p.topic.as_str(), &p.payload, p.id), ("a/b", &payload, id));
        assert_eq!((p.is_retained, p.correlation.as_deref()), (true, correlation));
    }
}

#[test]
fn packets_are_written_as_in_the_standard() {
    let mut bytes = Vec::new();
    connect(
        &mut bytes,
        &Connect {
            client_id: "id",
            is_clean: true,
            keep_alive: 30,
            session_expiry: 5,
            receive_maximum: 1,
            maximum_packet: 0x1000,
            will: ("s", b"off"),
            username: Some("u"),
            password: Some("pw"),
        },
    );
    let expected = [
        &[0x10, 44, 0, 4][..],
        b"MQTT",
        &[5, 0b1110_1110, 0, 30, 13, 0x11, 0, 0, 0, 5, 0x21, 0, 1, 0x27, 0, 0, 0x10, 0],
        &[0, 2, b'i', b'd', 0, 0, 1, b's', 0, 3, b'o', b'f', b'f', 0, 1, b'u', 0, 2, b'p', b'w'],
    ]
    .concat();
    assert_eq!(bytes, expected);
    bytes.clear();
    let filter = |topic: &str, has_qos1, wants_retained, skips_own| Filter {
        topic: topic.into(),
        has_qos1,
        wants_retained,
        skips_own,
    };
    subscribe(&mut bytes, 2, &[filter("a", true, true, false), filter("b", false, false, true)]);
    assert_eq!(bytes, [0x82, 11, 0, 2, 0, 0, 1, b'a', 1, 0, 1, b'b', 0x24]);
    bytes.clear();
    puback(&mut bytes, 258);
    ping(&mut bytes);
    disconnect(&mut bytes);
    assert_eq!(bytes, [0x40, 2, 1, 2, 0xc0, 0, 0xe0, 0]);
}

#[test]
fn acknowledgements_may_be_short_or_long() {
    assert_eq!(read(&[0x40, 2, 0, 7]), Ok(Packet::PubAck { id: 7, code: 0 }));
    assert_eq!(read(&[0x40, 3, 0, 7, 0x87]), Ok(Packet::PubAck { id: 7, code: 0x87 }));
    assert_eq!(read(&[0x40, 8, 0, 7, 0x87, 4, 0x1f, 0, 1, b'n']), Ok(Packet::PubAck { id: 7, code: 0x87 }));
    assert_eq!(read(&[0x90, 5, 0, 1, 0, 1, 0x87]), Ok(Packet::SubAck { id: 1, codes: vec![1, 0x87] }));
    assert_eq!(read(&[0xe0, 0]), Ok(Packet::Disconnect(0)));
    assert_eq!(read(&[0xe0, 1, 0x8e]), Ok(Packet::Disconnect(0x8e)));
    assert_eq!(read(&[0xd0, 0]), Ok(Packet::Pong));
}

#[test]
fn what_no_broker_may_send_is_refused() {
    for (bytes, why) in [
        (&[0x10, 0][..], "brokers send no packet of this type"),
        (&[0x41, 2, 0, 1], "brokers send no packet of this type"),
        (&[0x40, 2, 0, 0], "its number is 0"),
        (&[0xd0, 1, 0], "it is longer than its fields"),
        (&[0x30, 4, 0, 1, b'#', 0], "its topic is none"),
        (&[0x30, 3, 0, 0, 0], "its topic is none"),
        (&[0x34, 6, 0, 1, b'a', 0, 1, 0], "a quality of service that nobody asked for"),
        (&[0x30, 7, 0, 1, b'a', 3, 0x23, 0, 1], "a topic's alias, which nobody allowed"),
        (&[0x30, 6, 0, 1, b'a', 2, 0x7e, 0], "an unknown property"),
        (&[0x30, 4, 0, 1, 0xff, 0], "a text is not UTF-8"),
        (&[0x20, 6, 0, 0, 3, 0x21, 0, 0], "a limit of 0 in a CONNACK"),
        (&[0x30, 0x80, 0x80, 0x80, 0x80, 1], "its length has more than four bytes"),
        (&[0x30, 0x80, 0x80, 0x80, 1], "it is longer than the client said it would take"),
    ] {
        assert_eq!(read(bytes), Err(Damaged(why)), "{bytes:x?}");
    }
}

/// Packets of every type that brokers send.
fn corpus() -> Vec<Vec<u8>> {
    let short: [&[u8]; 6] = [
        CONNACK,
        &[0x20, 2, 0, 1],
        &[0x40, 8, 0, 7, 0x87, 4, 0x1f, 0, 1, b'n'],
        &[0x90, 5, 0, 1, 0, 1, 0x87],
        &[0xe0, 8, 0x8e, 6, 0x1c, 0, 3, b'a', b'b', b'c'],
        &[0xd0, 0],
    ];
    short.iter().map(|bytes| bytes.to_vec()).chain([rich_publish()]).collect()
}

#[test]
fn packets_that_end_early_are_never_taken_for_whole_ones() {
    for packet in corpus() {
        for n in 0..packet.len() {
            assert_eq!(frame(&packet[..n], 1 << 20), Ok(None), "{n} of {packet:x?}");
            // With a length that agrees with what is there, the fields are what is missing; a payload may be shorter.
            let Some(body) = packet.get(2..n) else { continue };
            let read = Packet::read(packet[0], body);
            let is_shorter = matches!(&read, Ok(Packet::Publish(p)) if p.payload.len() < 7)
                || matches!(&read, Ok(Packet::SubAck { codes, .. }) if codes.len() < 2)
                || matches!(&read, Ok(Packet::PubAck { .. } | Packet::Disconnect(_))) && body.len() < 4;
            assert!(read.is_err() || is_shorter, "{n} of {packet:x?}: {read:?}");
        }
    }
}

#[test]
fn damage_never_panics_and_never_makes_a_packet_larger() {
    // A fixed sequence (Marsaglia's xorshift), so that a failure comes again.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    let corpus = corpus();
    let (mut refused, mut taken) = (0, 0);
    for _ in 0..100_000 {
        let mut bytes = corpus[random(corpus.len())].clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes.insert(at, random(256) as u8),
                _ if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => {}
            }
        }
        match read(&bytes) {
            Err(_) => refused += 1,
            Ok(packet) => {
                taken += 1;
                if let Packet::Publish(p) = packet {
                    let user: usize = p.user.iter().map(|(k, v)| k.len() + v.len()).sum();
                    assert!(p.topic.len() + p.payload.len() + user < bytes.len());
                }
            }
        }
    }
    assert!(refused > 10_000 && taken > 1_000, "{refused} refused, {taken} taken");
}
