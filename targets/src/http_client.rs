//! What all requests of this program to HTTP servers have in common, whatever they are for.
//!
//! Only the host that was named is spoken to: redirections are not followed, proxies of the environment not used.
//! Absent: limits of time, which depend on what is asked for.

use ureq::Agent;
use ureq::http::Uri;
use ureq::http::uri::Scheme;

/// How clients are set up.
pub type Config = ureq::config::ConfigBuilder<ureq::typestate::AgentScope>;

/// Bytes of an answer's header.
const MOST_HEADER_BYTES: usize = 16 << 10;

/// Why an address cannot be asked. It is left out of what is said: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressError {
    /// It is not `http://host/path` or `https://host/path`.
    NotHttp,
    /// It has a user in it: nobody's password goes out that way, and no reader takes a user for the host.
    HasUser,
}

/// An address that can be asked.
///
/// # Errors
/// Why it cannot.
pub fn address(text: &str) -> Result<Uri, AddressError> {
    let uri: Uri = text.parse().map_err(|_| AddressError::NotHttp)?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    match uri.authority() {
        Some(server) if is_http && !server.host().is_empty() => match server.as_str().contains('@') {
            true => Err(AddressError::HasUser),
            false => Ok(uri),
        },
        _ => Err(AddressError::NotHttp),
    }
}

/// Whether an address is one of https.
pub fn is_secure(address: &Uri) -> bool {
    address.scheme() == Some(&Scheme::HTTPS)
}

/// The port of an address that names none.
pub fn usual_port(address: &Uri) -> u16 {
    if is_secure(address) { 443 } else { 80 }
}

/// The common part of a client; `is_secure` if it is for https.
///
/// # Errors
/// If this program or machine lacks what https needs.
pub fn config(is_secure: bool) -> Result<Config, &'static str> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent("pg-edge")
        .max_response_header_size(MOST_HEADER_BYTES);
    if is_secure { secured(config) } else { Ok(config) }
}

#[cfg(not(feature = "tls"))]
fn secured(_: Config) -> Result<Config, &'static str> {
    Err("this program was built without encryption (feature `tls`): take http:// or rtsps://")
}

/// With what an encrypted connection needs.
#[cfg(feature = "tls")]
fn secured(config: Config) -> Result<Config, &'static str> {
    use std::sync::Arc;
    use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
    /// Where systems keep the certificates that they trust.
    const TRUSTED: [&str; 3] =
        ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
    let named = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
    let pem = match named {
        Some(path) => std::fs::read(path).ok(),
        None => TRUSTED.iter().find_map(|path| std::fs::read(path).ok()),
    };
    let pem = pem
        .ok_or("no trusted certificates are here: install ca-certificates, or name them by SSL_CERT_FILE")?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&certificates))
        .unversioned_rustls_crypto_provider(provider);
    Ok(config.tls_config(tls.build()))
}
