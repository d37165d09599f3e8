//! TLS with a certificate from files, which can be read again while it runs.

use crate::config;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// For agreeing on a key.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// The certificate in use.
pub(super) struct Tls {
    settings: config::Tls,
    config: Mutex<Arc<ServerConfig>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub(super) fn load(settings: &config::Tls) -> Result<Self, String> {
        let config = Mutex::new(read(settings)?);
        Ok(Tls { settings: settings.clone(), config })
    }

    /// Reads the files again; bad ones change nothing.
    pub(super) fn read_again(&self) {
        match read(&self.settings) {
            Ok(config) => {
                *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
                ::log::info!("http.tls: certificate read again");
            }
            Err(e) => ::log::error!("{e}; the old certificate stays"),
        }
    }

    /// Agrees on a key; `None` if that fails or takes too long.
    pub(super) async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let accepted = TlsAcceptor::from(config).accept(stream);
        match tokio::time::timeout(HANDSHAKE_TIME, accepted).await.ok()? {
            Ok(stream) => Some(stream),
            Err(e) => {
                ::log::debug!("http: no TLS: {e}");
                None
            }
        }
    }
}

fn read(settings: &config::Tls) -> Result<Arc<ServerConfig>, String> {
    let (certificate, key) = (&settings.certificate, &settings.key);
    let fail = |what: &str, path: &std::path::Path, e: &dyn std::fmt::Display| {
        format!("http.tls.{what} {}: {e}", path.display())
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|e| fail("certificate", certificate, &e))?;
    if chain.is_empty() {
        return Err(fail("certificate", certificate, &"no certificate in it"));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| fail("key", key, &e))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("http.tls: {e}"))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|e| fail("certificate", certificate, &format!("does not go with {}: {e}", key.display())))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
