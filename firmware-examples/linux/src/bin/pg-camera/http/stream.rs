//! Answers that come bit by bit: server-sent events and pictures without end.

use super::Response;
use hyper::body::{Bytes, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// How often something is sent although there is nothing to say, so that nobody between takes the connection for dead.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Pieces on their way: the other side decides how fast.
const ON_THE_WAY: usize = 2;

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Body {
    /// There from the beginning, until it is sent.
    Whole(Option<Bytes>),
    /// Comes piece by piece.
    Pieces(mpsc::Receiver<Bytes>),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut *self {
            Body::Whole(bytes) => Poll::Ready(bytes.take().filter(|bytes| !bytes.is_empty())),
            Body::Pieces(pieces) => pieces.poll_recv(cx),
        };
        piece.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(bytes) if bytes.as_ref().is_none_or(Bytes::is_empty))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Body::Pieces(_) => SizeHint::default(),
        }
    }
}

/// The other side has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// Where pieces go.
#[derive(Debug)]
pub(super) struct Sender(mpsc::Sender<Bytes>);

/// An answer of this type, and where its pieces go. It ends when the sender is dropped.
pub(super) fn answer(kind: &'static str) -> (Sender, Response) {
    let (sender, receiver) = mpsc::channel(ON_THE_WAY);
    let mut response = Response::new(Body::Pieces(receiver));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    (Sender(sender), response)
}

/// An answer of server-sent events.
pub(super) fn events() -> (Sender, Response) {
    answer("text/event-stream")
}

impl Sender {
    /// Sends a piece as soon as the last ones are taken.
    pub(super) async fn send(&self, piece: impl Into<Bytes>) -> Result<(), Gone> {
        self.0.send(piece.into()).await.map_err(|_| Gone)
    }

    /// Returns when the other side has gone.
    pub(super) async fn gone(&self) {
        self.0.closed().await;
    }

    /// Sends an event without a name.
    pub(super) async fn data(&self, value: &impl Serialize) -> Result<(), Gone> {
        self.send(event(None, None, value)).await
    }

    /// Sends what readers skip.
    pub(super) async fn keep_alive(&self) -> Result<(), Gone> {
        self.send(Bytes::from_static(b": still here\n\n")).await
    }
}

/// An event on the wire. JSON holds no line breaks.
pub(super) fn event(id: Option<&str>, name: Option<&str>, value: &impl Serialize) -> String {
    let mut text = String::new();
    for (key, value) in [("id", id), ("event", name)] {
        if let Some(value) = value {
            text.push_str(key);
            text.push_str(": ");
            text.push_str(value);
            text.push('\n');
        }
    }
    text.push_str("data: ");
    // Nothing that is told has keys that are no text.
    text.push_str(&serde_json::to_string(value).unwrap_or_default());
    text.push_str("\n\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_on_the_wire() {
        assert_eq!(
            event(Some("1-2"), Some("partial"), &"two\nlines"),
            "id: 1-2\nevent: partial\ndata: \"two\\nlines\"\n\n"
        );
        assert_eq!(event(None, None, &3), "data: 3\n\n");
    }

    #[tokio::test]
    async fn who_is_slow_holds_up_only_the_sender() {
        let (sender, response) = answer("text/plain");
        sender.send("one").await.unwrap();
        sender.send("two").await.unwrap();
        let third = tokio::time::timeout(Duration::from_millis(20), sender.send("three")).await;
        assert!(third.is_err(), "there is room for no more than {ON_THE_WAY}");
        drop(response);
        assert_eq!(sender.send("four").await, Err(Gone));
    }
}
