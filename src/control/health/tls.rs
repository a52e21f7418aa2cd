//! TLS of probes: which certificates are trusted, and what goes wrong.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::CertificateError;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::DigitallySignedStruct;
use tokio_rustls::rustls::Error;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::SignatureScheme;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::client::danger::ServerCertVerified;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::crypto::verify_tls12_signature;
use tokio_rustls::rustls::crypto::verify_tls13_signature;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::TlsFailure;
use crate::config::TlsProbe;
use crate::control::off_loop::CERTIFICATES;

/// Trust in certificates, read from files when a probe needs it and read again after [`KEPT`].
#[derive(Debug, Default)]
pub(super) struct Trust {
    read: Mutex<HashMap<Roots, Arc<Cell>>>,
}

/// What was read last, and when. Locked while it is being read, so that probes of one time read once.
type Cell = AsyncMutex<Option<(Instant, Arc<ClientConfig>)>>;

/// Whose certificates are trusted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Roots {
    Anybody,
    System,
    File(PathBuf),
}

impl Trust {
    /// Has the next probes read their files again.
    pub(super) fn forget(&self) {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Opens a TLS session over `stream` with the server at `target`, whose Host header is `host`.
    ///
    /// # Errors
    ///
    /// [`failure`] knows those that are about TLS. A certificate file that cannot be read is an
    /// [`io::ErrorKind::InvalidInput`]: it says nothing about the server.
    pub(super) async fn open(
        &self,
        stream: TcpStream,
        probe: &TlsProbe,
        host: Option<&str>,
        target: SocketAddr,
    ) -> io::Result<TlsStream<TcpStream>> {
        let config = self.config(probe).await?;
        let host = host.map(|host| host.rsplit_once(':').map_or(host, |(name, _port)| name));
        let name = probe.server_name.as_deref().or(host);
        let name = name.and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let name = name.unwrap_or_else(|| ServerName::from(target.ip()));
        TlsConnector::from(config).connect(name, stream).await
    }

    async fn config(&self, probe: &TlsProbe) -> io::Result<Arc<ClientConfig>> {
        let roots = match (probe.verify, &probe.ca) {
            (false, _) => Roots::Anybody,
            (true, None) => Roots::System,
            (true, Some(path)) => Roots::File(path.clone()),
        };
        let cell = {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(read.entry(roots.clone()).or_default())
        };
        let mut cell = cell.lock().await;
        if let Some((at, config)) = &*cell
            && at.elapsed() < KEPT
        {
            return Ok(Arc::clone(config));
        }
        let place = roots.place();
        let config = CERTIFICATES.run(move || roots.config()).await;
        let config = config.map_err(|error| unusable(format!("{place}: {error}")))??;
        let config = Arc::new(config);
        *cell = Some((Instant::now(), Arc::clone(&config)));
        Ok(config)
    }
}

impl Roots {
    fn place(&self) -> String {
        match self {
            Self::Anybody | Self::System => "the system's certificates".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    fn config(&self) -> io::Result<ClientConfig> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
        let mut config = match self {
            Self::Anybody => {
                let anybody = Arc::new(Anybody(provider));
                builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth()
            }
            Self::System | Self::File(_) => {
                builder.with_root_certificates(self.certificates()?).with_no_client_auth()
            }
        };
        // A resumed session would not look at the certificate again.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn certificates(&self) -> io::Result<RootCertStore> {
        let place = self.place();
        let certificates = match self {
            Self::Anybody => return Ok(RootCertStore::empty()),
            Self::System => rustls_native_certs::load_native_certs().certs,
            Self::File(path) => {
                let read = |error| unusable(format!("{place}: {error}"));
                let list = CertificateDer::pem_file_iter(path).map_err(read)?;
                list.collect::<Result<Vec<_>, _>>().map_err(read)?
            }
        };
        let mut store = RootCertStore::empty();
        let (usable, _unusable) = store.add_parsable_certificates(certificates);
        if usable == 0 {
            return Err(unusable(format!("{place}: no certificate of an authority")));
        }
        Ok(store)
    }
}

/// An error that says nothing about the server.
fn unusable(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// What `error` says about TLS; `None` if it is about something else.
pub(super) fn failure(error: &io::Error) -> Option<TlsFailure> {
    let Error::InvalidCertificate(reason) = error.get_ref()?.downcast_ref::<Error>()? else {
        return Some(TlsFailure::Handshake);
    };
    Some(match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFailure::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsFailure::NotYetValid
        }
        CertificateError::UnknownIssuer => TlsFailure::UnknownIssuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsFailure::WrongName
        }
        // The type of the reason is not public, and its text is its name.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            TlsFailure::Authority
        }
        _ => TlsFailure::Certificate,
    })
}

/// For `verify = false`: any certificate will do, but the server must hold its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A renewed file of authorities takes effect within this time; the system's are some 150, a few milliseconds of work.
const KEPT: Duration = Duration::from_mins(10);
