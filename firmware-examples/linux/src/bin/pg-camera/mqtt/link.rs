//! A connection that is up: bytes in and out, keep-alive, the end of it.

use super::codec::{self, Accepted, Connect, Packet};
use super::transport::Stream;
use super::{Refusal, transport};
use crate::config;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::time::Instant;

/// Time for the broker to answer a CONNECT.
const PATIENCE: Duration = Duration::from_secs(10);
/// Not every broker says why.
const CLOSED: &str = "the broker closed the connection; if it does so again and again, another client may have the same mqtt.client_id";
/// Bytes read at a time.
const CHUNK: usize = 16 * 1024;

/// The connection.
pub(super) struct Link {
    stream: Box<dyn Stream>,
    incoming: Vec<u8>,
    /// Bytes to write, of which the first `written` are.
    outgoing: Vec<u8>,
    written: usize,
    /// Written, but perhaps still in a buffer below.
    needs_flush: bool,
    /// Bytes of the longest packet that is taken.
    most: usize,
    /// What the broker granted.
    pub(super) granted: Accepted,
    keep_alive: Duration,
    last_in: Instant,
    last_ping: Instant,
    /// When it came up.
    pub(super) since: Instant,
}

/// How the client presents itself.
#[derive(Debug, Clone)]
pub(super) struct Hello {
    pub(super) settings: config::Mqtt,
    pub(super) will_topic: String,
    /// Whether the broker is to keep the session, so that work that came meanwhile waits.
    pub(super) keeps_session: bool,
    pub(super) session_expiry: u32,
    pub(super) receive_maximum: u16,
    pub(super) maximum_packet: u32,
}

impl Link {
    /// Connects and waits for the broker's consent.
    pub(super) async fn open(hello: Hello) -> Result<Link, Refusal> {
        let soon = |why: String| Refusal { why, is_lasting: false };
        let settings = &hello.settings;
        let password = settings.password.as_ref().map(config::Secret::read).transpose();
        let password =
            password.map_err(|e| Refusal { why: format!("mqtt.password: {e}"), is_lasting: true })?;
        let stream = transport::open(settings).await.map_err(soon)?;
        let mut link = Link::new(stream, hello.maximum_packet as usize, settings.keep_alive);
        let connect = Connect {
            client_id: &settings.client_id,
            is_clean: !hello.keeps_session,
            keep_alive: settings.keep_alive,
            session_expiry: hello.session_expiry,
            receive_maximum: hello.receive_maximum,
            maximum_packet: hello.maximum_packet,
            will: (&hello.will_topic, super::topics::OFFLINE.as_bytes()),
            username: settings.username.as_deref(),
            password: password.as_deref(),
        };
        codec::connect(&mut link.outgoing, &connect);
        let answer = tokio::time::timeout(PATIENCE, link.first_packet()).await;
        match answer.map_err(|_| soon("the broker does not answer".into()))?.map_err(soon)? {
            Packet::Accepted(granted) => {
                if let Some(seconds) = granted.keep_alive {
                    link.keep_alive = Duration::from_secs(seconds.max(1).into());
                }
                link.granted = granted;
                Ok(link)
            }
            Packet::Refused(code) | Packet::Disconnect(code) => Err(Refusal::of(code)),
            _ => Err(soon("the broker's first packet is no CONNACK".into())),
        }
    }

    fn new(stream: Box<dyn Stream>, most: usize, keep_alive: u16) -> Link {
        let now = Instant::now();
        Link {
            stream,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            written: 0,
            needs_flush: false,
            most,
            granted: Accepted {
                is_resumed: false,
                receive_maximum: 1,
                maximum_packet: u32::MAX,
                keep_alive: None,
                has_qos1: true,
                has_retain: true,
            },
            keep_alive: Duration::from_secs(keep_alive.into()),
            last_in: now,
            last_ping: now,
            since: now,
        }
    }

    async fn first_packet(&mut self) -> Result<Packet, String> {
        loop {
            if let Some(packet) = self.turn().await? {
                return Ok(packet);
            }
        }
    }

    /// Where packets to send are appended.
    pub(super) fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.outgoing
    }

    /// Bytes that the broker has not taken yet.
    pub(super) fn backlog(&self) -> usize {
        self.outgoing.len() - self.written
    }

    /// Reads and writes until a packet has come, or everything is written, or it is time for a ping. Loses nothing if it is
    /// dropped half-way.
    ///
    /// # Errors
    /// The connection is over.
    pub(super) async fn turn(&mut self) -> Result<Option<Packet>, String> {
        if let Some(packet) = self.parse()? {
            return Ok(Some(packet));
        }
        let due = self.due();
        match tokio::time::timeout_at(due, std::future::poll_fn(|cx| self.poll(cx))).await {
            Ok(moved) => moved?,
            Err(_) => self.tick()?,
        }
        self.parse()
    }

    fn parse(&mut self) -> Result<Option<Packet>, String> {
        let whole = codec::frame(&self.incoming, self.most).map_err(|e| e.to_string())?;
        let Some((head, whole)) = whole else { return Ok(None) };
        let packet = Packet::read(self.incoming[0], &self.incoming[head..whole]);
        self.incoming.drain(..whole);
        if self.incoming.is_empty() && self.incoming.capacity() > 4 * CHUNK {
            self.incoming = Vec::new();
        }
        packet.map(Some).map_err(|e| e.to_string())
    }

    /// Ready when something has been read, or the last byte written.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        let fail = |e: io::Error| format!("the connection to the broker broke: {e}");
        if let Poll::Ready(done) = self.poll_write(cx) {
            done.map_err(fail)?;
            return Poll::Ready(Ok(()));
        }
        let start = self.incoming.len();
        self.incoming.resize(start + CHUNK, 0);
        let mut chunk = ReadBuf::new(&mut self.incoming[start..]);
        let read = Pin::new(&mut *self.stream).poll_read(cx, &mut chunk);
        let n = chunk.filled().len();
        self.incoming.truncate(start + n);
        ready!(read).map_err(fail)?;
        if n == 0 {
            return Poll::Ready(Err(CLOSED.into()));
        }
        self.last_in = Instant::now();
        Poll::Ready(Ok(()))
    }

    /// Ready when the last byte has been written and flushed; pending also if there is nothing to write.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.outgoing.len() {
            let n = ready!(Pin::new(&mut *self.stream).poll_write(cx, &self.outgoing[self.written..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
            self.needs_flush = true;
        }
        if !self.needs_flush {
            return Poll::Pending;
        }
        ready!(Pin::new(&mut *self.stream).poll_flush(cx))?;
        self.needs_flush = false;
        self.outgoing.clear();
        self.written = 0;
        if self.outgoing.capacity() > 4 * CHUNK {
            self.outgoing = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// When to look after the connection next: twice within the keep-alive, whatever else is sent.
    fn due(&self) -> Instant {
        self.last_ping + self.keep_alive / 2
    }

    /// Asks for a sign of life, or gives up if none has come for one and a half times the keep-alive.
    fn tick(&mut self) -> Result<(), String> {
        let silence = self.last_in.elapsed();
        if silence >= self.keep_alive * 3 / 2 {
            return Err(format!("nothing came from the broker for {} s", silence.as_secs()));
        }
        self.last_ping = Instant::now();
        // What is waiting to be written is as good as a ping, if only the broker took it.
        if self.backlog() == 0 {
            codec::ping(&mut self.outgoing);
        }
        Ok(())
    }

    /// Says farewell, so that the broker publishes no will.
    pub(super) async fn close(mut self) {
        codec::disconnect(&mut self.outgoing);
        while self.backlog() > 0 || self.needs_flush {
            if self.turn().await.is_err() {
                return;
            }
        }
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut self.stream).await;
    }
}
