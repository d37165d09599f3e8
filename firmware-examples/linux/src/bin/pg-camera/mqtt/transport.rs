//! The stream of bytes below a connection: TCP, or TLS over it.

use crate::config;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Time for a connection to be made, of TCP and again of TLS.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes both ways.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Connects to the broker.
///
/// # Errors
/// What failed, in words, with the address.
pub(super) async fn open(settings: &config::Mqtt) -> Result<Box<dyn Stream>, String> {
    let port = settings.port();
    let host = settings.host.as_str();
    let at = |e: &dyn std::fmt::Display| format!("broker {host}:{port}: {e}");
    let late = |_| at(&format!("no answer within {} s", PATIENCE.as_secs()));
    let connected = tokio::time::timeout(PATIENCE, TcpStream::connect((host, port))).await;
    let stream = connected.map_err(late)?.map_err(|e| at(&e))?;
    // Messages are whole when they are written: waiting to fill a packet would only delay them.
    stream.set_nodelay(true).map_err(|e| at(&e))?;
    match &settings.tls {
        None => Ok(Box::new(stream)),
        #[cfg(feature = "tls")]
        Some(tls) => {
            let client = tls::client(tls)?;
            let name = tls::name(host)?;
            let shaken = tokio::time::timeout(PATIENCE, client.connect(name, stream)).await;
            Ok(Box::new(shaken.map_err(late)?.map_err(|e| at(&format!("TLS: {e}")))?))
        }
        #[cfg(not(feature = "tls"))]
        Some(_) => Err(at(&"this program was built without the feature tls")),
    }
}

#[cfg(feature = "tls")]
mod tls {
    use crate::config::MqttTls;
    use std::path::Path;
    use std::sync::Arc;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

    /// What is trusted, and who we are. Files are read at every connection, so that new ones need no restart.
    pub(super) fn client(settings: &MqttTls) -> Result<TlsConnector, String> {
        let mut trusted = RootCertStore::empty();
        for certificate in certificates(&settings.ca)? {
            trusted.add(certificate).map_err(|e| format!("mqtt.tls.ca: {}: {e}", settings.ca.display()))?;
        }
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| format!("TLS: {e}"))?
            .with_root_certificates(trusted);
        let config = match (&settings.certificate, &settings.key) {
            (Some(certificate), Some(key)) => {
                let private = PrivateKeyDer::from_pem_file(key)
                    .map_err(|e| format!("mqtt.tls.key: {}: {e}", key.display()))?;
                builder
                    .with_client_auth_cert(certificates(certificate)?, private)
                    .map_err(|e| format!("mqtt.tls.certificate: {}: {e}", certificate.display()))?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }

    /// The name that the broker's certificate must have.
    pub(super) fn name(host: &str) -> Result<ServerName<'static>, String> {
        ServerName::try_from(host.to_string())
            .map_err(|_| format!("mqtt.host: {host:?} is neither a name nor an address"))
    }

    fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
        let fail = |e: &dyn std::fmt::Display| format!("mqtt.tls: {}: {e}", path.display());
        let all = CertificateDer::pem_file_iter(path).map_err(|e| fail(&e))?;
        let all = all.collect::<Result<Vec<_>, _>>().map_err(|e| fail(&e))?;
        if all.is_empty() { Err(fail(&"there is no certificate in the file")) } else { Ok(all) }
    }
}
