//! TLS to one upstream: whom we believe, and who we are. (nginx: proxy_ssl_*)

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::certificates::Reloadable;
use super::pem::{self, Identity, Problem, Which};
use super::settings::Upstream;
use super::{ClientStream, H2, HTTP1, provider};

/// Makes encrypted connections to the peers of one upstream. Shared by all workers; sessions are
/// resumed among these peers only.
pub struct Connector {
    settings: Upstream,
    /// `None` until the files have been read.
    current: ArcSwapOption<Current>,
}

struct Current {
    client: Arc<ClientConfig>,
    /// The same, where HTTP/2 is wanted.
    client_http2: Arc<ClientConfig>,
    name: ServerName<'static>,
    identity: Option<Identity>,
}

/// Why there is no encrypted connection to a peer.
#[derive(Debug)]
pub struct Untrusted(io::Error);

impl Connector {
    /// One that has read nothing yet: see [`Reloadable::read_again`].
    pub fn new(settings: &Upstream) -> Self {
        Self { settings: settings.clone(), current: ArcSwapOption::empty() }
    }

    /// Shakes hands with a peer, which is offered HTTP/2 if that is wanted. Set a limit of time.
    ///
    /// # Errors
    /// Nothing was sent: the request may go elsewhere.
    pub async fn connect<Socket: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: Socket,
        http2: bool,
    ) -> Result<ClientStream<Socket>, Untrusted> {
        let Some(current) = self.current.load_full() else {
            return Err(Untrusted(io::Error::other("its certificates were not read")));
        };
        let connector = TlsConnector::from(match http2 {
            false => current.client.clone(),
            true => current.client_http2.clone(),
        });
        connector.connect(current.name.clone(), stream).await.map_err(Untrusted)
    }
}

impl Reloadable for Connector {
    fn files(&self) -> Vec<&Path> {
        let identity = self.settings.identity.iter();
        let identity = identity.flat_map(|it| [it.certificate.as_path(), it.key.as_path()]);
        identity.chain(self.settings.ca.as_deref()).collect()
    }

    fn read_again(&self) -> Result<(), Problem> {
        self.current.store(Some(Arc::new(Current::read(&self.settings)?)));
        Ok(())
    }

    fn warnings(&self, now: SystemTime) -> Vec<String> {
        let current = self.current.load();
        let identity = current.as_ref().and_then(|current| current.identity.as_ref());
        identity.and_then(|identity| identity.warning(now)).into_iter().collect()
    }
}

impl Current {
    fn read(settings: &Upstream) -> Result<Self, Problem> {
        let nothing = |reason: String| Problem::new(Which::Nothing, reason);
        let name = server_name(&settings.name);
        let name =
            name.ok_or_else(|| nothing(format!("`{}` is no name of a server", settings.name)))?;
        let provider = provider();
        let verifier: Arc<dyn ServerCertVerifier> = if settings.verify {
            let roots = match &settings.ca {
                Some(path) => roots_of(path)?,
                None => system_roots()?,
            };
            WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
                .build()
                .map_err(|error| Problem::new(Which::Authorities, error.to_string()))?
        } else {
            Arc::new(Anybody(provider.signature_verification_algorithms))
        };
        let identity = settings.identity.as_ref().map(|files| Identity::read(files, 0));
        let identity = identity.transpose()?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&settings.versions.supported())
            .map_err(|error| nothing(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut client = match &identity {
            Some(identity) => {
                let key = rustls::sign::SingleCertAndKey::from(identity.certified.clone());
                builder.with_client_cert_resolver(Arc::new(key))
            }
            None => builder.with_no_client_auth(),
        };
        client.enable_sni = settings.sni;
        client.resumption = if settings.session_reuse {
            Resumption::in_memory_sessions(SESSIONS_MAX)
        } else {
            Resumption::disabled()
        };
        // Sessions are for both.
        let mut client_http2 = client.clone();
        client_http2.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
        client.alpn_protocols = vec![HTTP1.to_vec()];
        let (client, client_http2) = (Arc::new(client), Arc::new(client_http2));
        Ok(Self { client, client_http2, name, identity })
    }
}

/// Whether a text can be the name of a server: a host name, or an IP address.
pub fn is_name(text: &str) -> bool {
    server_name(text).is_some()
}

fn server_name(text: &str) -> Option<ServerName<'static>> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    ServerName::try_from(bare.to_owned()).ok()
}

fn roots_of(path: &Path) -> Result<Arc<RootCertStore>, Problem> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates(path, Which::Authorities)? {
        roots.add(certificate).map_err(|error| {
            let reason = format!("`{}` cannot be used: {error}", path.display());
            Problem::new(Which::Authorities, reason)
        })?;
    }
    Ok(Arc::new(roots))
}

/// The authorities that the system believes, read once.
fn system_roots() -> Result<Arc<RootCertStore>, Problem> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if roots.is_empty() {
        let reason = "the system knows no authorities to check certificates by".to_owned();
        return Err(Problem::new(Which::Nothing, reason)
            .help("name a file of them as `ca` of `upstream_tls`, or set SSL_CERT_FILE"));
    }
    Ok(roots.clone())
}

/// Believes every certificate; that the peer has its key is checked all the same.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

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
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Says which of the usual mistakes it is.
impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.0.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let Some(Error::InvalidCertificate(error)) = inner else { return self.0.fmt(f) };
        match error {
            CertificateError::UnknownIssuer => {
                f.write_str("its certificate is of an authority that is not known here")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                f.write_str("its certificate has expired")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                f.write_str("its certificate is not valid yet")
            }
            CertificateError::NotValidForName => f.write_str("its certificate is for another name"),
            CertificateError::NotValidForNameContext { expected, presented } => {
                let shown: Vec<_> =
                    presented.iter().take(3).map(|name| format!("`{name}`")).collect();
                let more = if presented.len() > 3 { ", ..." } else { "" };
                let expected = expected.to_str();
                let shown = if shown.is_empty() { "no name".to_owned() } else { shown.join(", ") };
                write!(f, "its certificate is for {shown}{more}, not for `{expected}`")
            }
            other => write!(f, "its certificate is not good: {other}"),
        }
    }
}

impl std::error::Error for Untrusted {}

/// Sessions to resume with the peers of one upstream.
const SESSIONS_MAX: usize = 256;
