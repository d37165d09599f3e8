//! One connection: HTTP/1.1 with limits, cut off if its other side neither sends nor takes anything.

use super::{Context, Response, body, routes, security};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Poller, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// For the header of a request, and between two requests.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Bytes of a header.
const MAX_HEADER: usize = 16 << 10;
/// Lines of a header.
const MAX_HEADER_LINES: usize = 64;
/// For taking anything of what is written.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// For what is under way when the program ends.
const LAST_TIME: Duration = Duration::from_secs(3);

/// Who is at the other side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    /// The address of ours that it connected to; none on a Unix socket.
    pub(super) local: Option<IpAddr>,
    /// Whether nobody between can read or change anything.
    pub(super) is_secure: bool,
}

/// Serves requests until either side ends the connection.
pub(super) async fn serve<T>(stream: T, peer: Peer, context: Arc<Context>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stopping = context.app.stopping();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let context = context.clone();
        async move { Ok::<_, Infallible>(answer(context, peer, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(MAX_HEADER)
        .max_headers(MAX_HEADER_LINES)
        .serve_connection(TokioIo::new(Impatient::new(stream, WRITE_TIME)), service);
    tokio::pin!(connection);
    // How a connection ends is its other side's business; there is nobody left to tell.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopping.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(LAST_TIME, connection).await;
}

async fn answer(context: Arc<Context>, peer: Peer, request: Request<Incoming>) -> Response {
    let (request, rest) = body::keep_rest(request);
    let mut response = match context.access.check(&request, peer) {
        Ok(scope) => routes::route(context.clone(), scope, peer, request).await,
        Err(failure) => {
            drop(request);
            failure.into_response()
        }
    };
    rest.pass_over().await;
    security::harden(&mut response);
    context.metrics.count(response.status());
    response
}

/// A stream whose writing fails once its other side has taken nothing for too long.
struct Impatient<T> {
    stream: T,
    limit: Duration,
    deadline: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl<T> Impatient<T> {
    fn new(stream: T, limit: Duration) -> Self {
        Impatient { stream, limit, deadline: Box::pin(tokio::time::sleep(limit)), is_waiting: false }
    }

    /// Passes on what writing came to, unless it has waited for too long.
    fn unless_late<R>(&mut self, cx: &mut Poller<'_>, written: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.is_waiting = false;
            return written;
        }
        if !self.is_waiting {
            self.is_waiting = true;
            let late = Instant::now() + self.limit;
            self.deadline.as_mut().reset(late);
        }
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Impatient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Impatient<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Poller<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.unless_late(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Poller<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.unless_late(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.unless_late(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.unless_late(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn writing_to_one_who_takes_nothing_fails() {
        let limit = Duration::from_millis(20);
        let (ours, _theirs) = tokio::io::duplex(8);
        let mut stream = Impatient::new(ours, limit);
        stream.write_all(b"12345678").await.unwrap();
        let begun = Instant::now();
        let error = stream.write_all(b"9").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= limit);
    }
}
