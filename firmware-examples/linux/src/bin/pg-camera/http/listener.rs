//! Sockets and their accept loops: not more connections than allowed, and an end to all of them.

use super::Context;
use super::connection::{self, Peer};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Bytes that the kernel keeps for the other side of a connection: some pictures, or a tenth of a second at full speed.
const SEND_BUFFER: u32 = 128 << 10;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;
/// Connections that are being told that there are too many, at a time.
const TURNED_AWAY: usize = 32;
/// What they are told.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 106\r\n\r\n\
    {\"error\":{\"message\":\"too many connections (http.max_connections)\",\"type\":\"unavailable_error\",\"code\":503}}\n";

/// What is accepted on.
pub(super) enum Socket {
    Tcp {
        listener: TcpListener,
        #[cfg(feature = "tls")]
        tls: Option<Arc<super::tls::Tls>>,
    },
    Unix(UnixListener, PathBuf),
}

/// A socket with what is served on it.
pub(super) struct Listener {
    pub(super) socket: Socket,
    /// For connections, shared by all sockets.
    pub(super) room: Arc<Semaphore>,
    pub(super) context: Arc<Context>,
}

/// Binds a TCP port.
///
/// # Errors
/// Why not, and what to do.
pub(super) fn bind_tcp(address: SocketAddr) -> Result<TcpListener, String> {
    listen(address).map_err(|e| {
        let advice = match e.kind() {
            io::ErrorKind::AddrInUse => "another program serves there: end it, or choose another port",
            io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: choose another",
            io::ErrorKind::AddrNotAvailable => "this machine does not have that address",
            _ => "choose another address",
        };
        format!("http.listen {address}: {e}; {advice}")
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // After a restart, connections of the last life may linger on the port.
    socket.set_reuseaddr(true)?;
    // Inherited by connections. The kernel would keep megabytes for each of those who take nothing.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Binds a Unix socket, which its owner and group may use. What a program left there that serves no more is replaced.
///
/// # Errors
/// Why not.
pub(super) fn bind_unix(path: &Path) -> Result<UnixListener, String> {
    let fail = |what: String| format!("http.unix {}: {what}", path.display());
    if let Ok(meta) = std::fs::symlink_metadata(path) {
        if !meta.file_type().is_socket() {
            return Err(fail("there is a file of that name".into()));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(fail("another program serves there".into()));
        }
        std::fs::remove_file(path).map_err(|e| fail(e.to_string()))?;
    }
    let listener = UnixListener::bind(path).map_err(|e| fail(e.to_string()))?;
    let mode = std::fs::Permissions::from_mode(0o660);
    std::fs::set_permissions(path, mode).map_err(|e| fail(e.to_string()))?;
    Ok(listener)
}

impl Listener {
    /// Accepts until the program ends, then waits for the connections to end.
    pub(super) async fn serve(self) {
        let mut stopping = self.context.app.stopping();
        let mut connections = JoinSet::new();
        let turned_away = Arc::new(Semaphore::new(TURNED_AWAY));
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&mut connections, &turned_away) => accepted,
                _ = stopping.wait_for(|stop| *stop) => break,
            };
            if let Err(e) = accepted {
                // Out of file descriptors, most likely: those of ended connections come back.
                ::log::warn!("http: a connection cannot be accepted: {e}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            while connections.try_join_next().is_some() {}
        }
        if let Socket::Unix(_, path) = &self.socket {
            // Gone already if somebody tidied up.
            let _ = std::fs::remove_file(path);
        }
        while connections.join_next().await.is_some() {}
    }

    async fn accept(&self, connections: &mut JoinSet<()>, turned_away: &Arc<Semaphore>) -> io::Result<()> {
        let context = self.context.clone();
        match &self.socket {
            Socket::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let peer = Peer { local: None, is_secure: false };
                self.begin(connections, turned_away, stream, |stream| {
                    connection::serve(stream, peer, context)
                });
            }
            Socket::Tcp {
                listener,
                #[cfg(feature = "tls")]
                tls,
            } => {
                let (stream, _) = listener.accept().await?;
                // Tokens of an answer are few bytes, each of which somebody waits for.
                let _ = stream.set_nodelay(true);
                let peer =
                    Peer { local: stream.local_addr().ok().map(|a| a.ip().to_canonical()), is_secure: false };
                #[cfg(feature = "tls")]
                if let Some(tls) = tls.clone() {
                    let peer = Peer { is_secure: true, ..peer };
                    // Nothing can be said before there is a key: too many are closed at once.
                    if let Ok(place) = self.room.clone().try_acquire_owned() {
                        connections.spawn(async move {
                            let _place = place;
                            if let Some(stream) = tls.accept(stream).await {
                                connection::serve(stream, peer, context).await;
                            }
                        });
                    }
                    return Ok(());
                }
                self.begin(connections, turned_away, stream, |stream| {
                    connection::serve(stream, peer, context)
                });
            }
        }
        Ok(())
    }

    fn begin<T, F>(
        &self,
        connections: &mut JoinSet<()>,
        turned_away: &Arc<Semaphore>,
        stream: T,
        serve: impl FnOnce(T) -> F,
    ) where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        if let Ok(place) = self.room.clone().try_acquire_owned() {
            let served = serve(stream);
            connections.spawn(async move {
                let _place = place;
                served.await;
            });
        } else if let Ok(place) = turned_away.clone().try_acquire_owned() {
            self.context.metrics.count_turned_away();
            connections.spawn(async move {
                let _place = place;
                turn_away(stream).await;
            });
        }
    }
}

/// Says that there are too many connections, and reads what the other side still sends, so that it gets to read this.
async fn turn_away<T: AsyncRead + AsyncWrite + Unpin>(mut stream: T) {
    let told = async {
        stream.write_all(FULL).await?;
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // Whoever does not listen is let go.
    let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_turned_away_get_as_many_bytes_as_announced() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{} bytes", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }

    #[tokio::test]
    async fn a_port_or_path_that_is_taken_is_refused_by_name() {
        let first = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let error = bind_tcp(address).unwrap_err();
        assert!(error.starts_with(&format!("http.listen {address}: ")), "{error}");
        assert!(error.contains("another program serves there"), "{error}");

        let path = std::env::temp_dir().join(format!("pg-http-{}.sock", std::process::id()));
        let first = bind_unix(&path).unwrap();
        assert!(bind_unix(&path).unwrap_err().contains("another program serves there"));
        drop(first);
        // What is left of a program that crashed.
        drop(bind_unix(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "notes").unwrap();
        assert!(bind_unix(&path).unwrap_err().contains("there is a file of that name"));
        std::fs::remove_file(&path).unwrap();
    }
}
