//! Everything over HTTP on one port: the live page, REST, OpenAI's and moondream's interfaces, health, metrics.
//!
//! `listener` and `connection` bound what strangers can take (connections, header and body sizes, slow reading and
//! writing), `security` decides who may do what, `routes` says which address is served where. Interfaces ask the model
//! through `ask`. Pictures come inside requests or from cameras, and through `remote` from hosts that the configuration
//! allows. Absent: what the model is asked, which `crate::prompt` decides.

mod ask;
mod body;
mod cameras;
mod connection;
mod events;
mod failure;
mod health;
mod images;
mod listener;
mod live;
mod metrics;
mod moondream;
mod openai;
mod page;
mod query;
pub(crate) mod remote;
mod routes;
mod security;
mod stream;
#[cfg(feature = "tls")]
mod tls;

use crate::app::App;
use crate::config;
use failure::Failure;
use listener::{Listener, Socket};
use security::Access;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

type Request = hyper::Request<body::Unread>;
type Response = hyper::Response<stream::Body>;

/// Bytes of a request's body.
const MAX_BODY: usize = 12 << 20;
/// Bytes of all bodies that are being read or decoded at a time, in pieces of [`BODY_PIECE`].
const ALL_BODIES: usize = 3 * MAX_BODY;
/// What the room for bodies is counted in.
const BODY_PIECE: usize = 4096;
/// Pictures that are being decoded at a time, each of which may take 48 MB.
const DECODERS: usize = 2;

/// What requests are answered with.
#[derive(Debug)]
struct Context {
    app: Arc<App>,
    settings: config::Http,
    access: Access,
    metrics: Arc<metrics::Metrics>,
    feeds: live::Feeds,
    body_room: Arc<Semaphore>,
    decoders: Arc<Semaphore>,
    remote: Arc<remote::Remote>,
}

/// The server, from being bound to its end.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    secrets: Secrets,
    tasks: JoinSet<()>,
}

/// What of the server is in files that can change.
#[derive(Debug, Clone)]
pub(crate) struct Secrets {
    context: Arc<Context>,
    #[cfg(feature = "tls")]
    tls: Option<Arc<tls::Tls>>,
}

impl Secrets {
    /// Reads tokens and certificate again; bad ones change nothing.
    pub(crate) fn read_again(&self) {
        self.context.access.read_again(&self.context.settings);
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            tls.read_again();
        }
    }
}

/// Binds, and serves on the current runtime until the program ends.
///
/// # Errors
/// If an address is taken or refused, or a token or certificate cannot be used.
pub(crate) async fn start(app: Arc<App>, settings: &config::Http) -> Result<Server, String> {
    let address: SocketAddr =
        settings.listen.parse().map_err(|_| format!("http.listen: {:?} is no address", settings.listen))?;
    let hosts: Vec<remote::Host> =
        settings.allow_http_images.iter().map(|host| host.parse()).collect::<Result<_, _>>()?;
    let context = Arc::new(Context {
        access: Access::new(settings, address)?,
        metrics: Arc::new(metrics::Metrics::new(&app)),
        feeds: live::Feeds::default(),
        body_room: Arc::new(Semaphore::new(ALL_BODIES / BODY_PIECE)),
        decoders: Arc::new(Semaphore::new(DECODERS)),
        remote: Arc::new(remote::Remote::new(&hosts)),
        settings: settings.clone(),
        app,
    });
    let tcp = listener::bind_tcp(address)?;
    let address = tcp.local_addr().map_err(|e| format!("http.listen: {e}"))?;
    let mut tasks = JoinSet::new();
    #[cfg(feature = "tls")]
    let tls = settings.tls.as_ref().map(tls::Tls::load).transpose()?.map(Arc::new);
    let secrets = Secrets {
        context: context.clone(),
        #[cfg(feature = "tls")]
        tls: tls.clone(),
    };
    let room = Arc::new(Semaphore::new(settings.max_connections));
    let server = |socket| Listener { socket, room: room.clone(), context: context.clone() };
    if let Some(path) = &settings.unix {
        tasks.spawn(server(Socket::Unix(listener::bind_unix(path)?, path.clone())).serve());
        ::log::info!("http: serving on {}", path.display());
    }
    let tcp = server(Socket::Tcp {
        listener: tcp,
        #[cfg(feature = "tls")]
        tls,
    });
    tasks.spawn(tcp.serve());
    tasks.spawn(metrics::watch(context.app.clone(), context.metrics.clone()));
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    ::log::info!("http: serving on {scheme}://{address}");
    Ok(Server { address, secrets, tasks })
}

impl Server {
    /// Where it serves: the port that was chosen, if the configuration left that open.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What of it can be read again.
    pub(crate) fn secrets(&self) -> Secrets {
        self.secrets.clone()
    }

    /// Returns when the program ends and all connections are closed.
    pub(crate) async fn ended(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
