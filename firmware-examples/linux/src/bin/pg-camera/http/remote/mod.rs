//! Pictures that requests name by their address, fetched from hosts that the configuration allows and from nowhere else.
//!
//! A name is looked up once, and that very address is spoken to: it must be one of the internet unless the configuration
//! says where the host is. Otherwise whoever owns a name could have this program knock at doors that only it reaches.
//! Redirections are not followed; time and bytes are limited. Absent: what the bytes are, which `super::images` finds out.

mod global;
mod hosts;

pub(crate) use hosts::Host;

use pg_targets::http_client::{self, AddressError};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use ureq::Agent;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// For all pictures of a request.
pub(super) const FETCH_TIME: Duration = Duration::from_secs(5);
/// Bytes of all pictures of a request.
pub(super) const FETCH_BYTES: usize = 8 << 20;
/// Requests whose pictures are being fetched or decoded at a time.
const FETCHES: usize = 2;

/// Fetches pictures.
#[derive(Debug)]
pub(super) struct Remote {
    hosts: Arc<[Host]>,
    names: Arc<dyn Resolver>,
    /// For requests that fetch.
    pub(super) places: Arc<Semaphore>,
}

/// Time and bytes that a request has left.
#[derive(Debug)]
pub(super) struct Budget {
    until: Instant,
    bytes: usize,
}

impl Budget {
    /// What a request has.
    pub(super) fn new() -> Self {
        Budget { until: Instant::now() + FETCH_TIME, bytes: FETCH_BYTES }
    }
}

impl Remote {
    pub(super) fn new(hosts: &[Host]) -> Self {
        Self::with_names(hosts, Arc::new(DefaultResolver::default()))
    }

    /// With another way to look names up.
    fn with_names(hosts: &[Host], names: Arc<dyn Resolver>) -> Self {
        Remote { hosts: hosts.into(), names, places: Arc::new(Semaphore::new(FETCHES)) }
    }

    /// Whether anything may be fetched at all.
    pub(super) fn is_off(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Fetches a file. Blocks.
    ///
    /// # Errors
    /// Why not, and what to do, as what follows "the picture".
    pub(super) fn fetch(&self, address: &str, budget: &mut Budget) -> Result<Vec<u8>, String> {
        let uri = parse(address)?;
        let host = uri.host().unwrap_or_default().to_string();
        if self.hosts.iter().all(|h| !is_allowed_by(&uri, h)) {
            // As the configuration would name it.
            let to_add = uri.authority().map(ToString::to_string).unwrap_or_default();
            return Err(format!(
                "of {host} is not fetched: add {to_add:?} to http.allow_http_images, or send it itself"
            ));
        }
        let rest = budget.until.saturating_duration_since(Instant::now());
        let seconds = FETCH_TIME.as_secs();
        let fail = |e: ureq::Error| match e {
            ureq::Error::Timeout(_) => {
                format!("of {host} is not there after {seconds} s: send it itself, or use a faster server")
            }
            ureq::Error::Other(refused) => format!("of {host} is not fetched: {refused}"),
            other => format!("of {host} cannot be fetched: {other}"),
        };
        let is_secure = http_client::is_secure(&uri);
        let agent = self.agent(is_secure).map_err(|e| format!("of {host} cannot be fetched: {e}"))?;
        let answer = agent.get(uri).config().timeout_global(Some(rest)).build().call().map_err(fail)?;
        match answer.status().as_u16() {
            200 => {}
            301 | 302 | 303 | 307 | 308 => {
                return Err(format!(
                    "of {host} is elsewhere: redirections are not followed, name the last address"
                ));
            }
            _ => return Err(format!("of {host} cannot be fetched: the server says {}", answer.status())),
        }
        let mut file = Vec::new();
        let most = budget.bytes as u64;
        let read = answer.into_body().into_reader().take(most + 1).read_to_end(&mut file);
        read.map_err(|e| fail(e.into()))?;
        if file.len() as u64 > most {
            let megabytes = FETCH_BYTES >> 20;
            return Err(format!(
                "of {host} is larger than {megabytes} MB, or all are together: send a smaller one"
            ));
        }
        budget.bytes -= file.len();
        Ok(file)
    }

    /// A client for one file: nothing of it is left for the next.
    fn agent(&self, is_secure: bool) -> Result<Agent, &'static str> {
        let config = http_client::config(is_secure)?
            .accept("image/jpeg, image/png, image/webp")
            .max_idle_connections(0)
            .build();
        let guard = Guard { hosts: self.hosts.clone(), names: self.names.clone() };
        Ok(Agent::with_parts(config, DefaultConnector::default(), guard))
    }
}

/// An address as requests name it.
fn parse(address: &str) -> Result<Uri, String> {
    http_client::address(address).map_err(|e| match e {
        AddressError::NotHttp => {
            let start: String = address.chars().take(60).collect();
            format!(
                "{start:?} has no address that can be asked for: write http://host/path or https://host/path"
            )
        }
        AddressError::HasUser => "has an address with a user in it: leave that out".into(),
    })
}

fn is_allowed_by(uri: &Uri, host: &Host) -> bool {
    let usual = http_client::usual_port(uri);
    host.allows(uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(usual), usual)
}

/// Looks up only what is allowed, and gives only addresses that may be spoken to; the client speaks to no others.
#[derive(Debug)]
struct Guard {
    hosts: Arc<[Host]>,
    names: Arc<dyn Resolver>,
}

impl Resolver for Guard {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let Some(host) = self.hosts.iter().find(|host| is_allowed_by(uri, host)) else {
            return Err(ureq::Error::HostNotFound);
        };
        if let Some(address) = host.address() {
            let port = uri.port_u16().unwrap_or_else(|| http_client::usual_port(uri));
            let mut found = self.empty();
            found.push(SocketAddr::new(address, port));
            return Ok(found);
        }
        let found = self.names.resolve(uri, config, timeout)?;
        match found.iter().find(|address| !global::is_global(address.ip())) {
            None => Ok(found),
            Some(own) => {
                let (name, own) = (uri.host().unwrap_or_default(), own.ip());
                Err(ureq::Error::Other(
                    format!("{own} is no address of the internet: if it may be used, write \"{name}={own}\" in http.allow_http_images")
                        .into(),
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests;
