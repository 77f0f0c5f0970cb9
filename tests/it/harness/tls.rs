//! Certificates made for the test, clients that speak TLS, and TLS before a scripted origin.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, date_time_ymd,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, split};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor, TlsConnector};

use super::client::{Response, parse};
use super::origin::Origin;

/// Whoever issues certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// What a certificate is to say.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    pub names: &'a [&'a str],
    pub rsa: bool,
    /// For clients instead of servers.
    pub client: bool,
    /// The year that it ends with.
    pub until: i32,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self { names: &["example.com"], rsa: false, client: false, until: 2100 }
    }
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate of a server with these names.
    pub fn server(&self, names: &[&str]) -> Pair {
        self.issue(Wanted { names, ..Wanted::default() })
    }

    /// A certificate of a client, for `CN=..., O=Larder`.
    pub fn client(&self, name: &str) -> Pair {
        self.issue(Wanted { names: &[name], client: true, ..Wanted::default() })
    }

    pub fn issue(&self, wanted: Wanted<'_>) -> Pair {
        let names: Vec<_> = wanted.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(wanted.until, 1, 1);
        params.serial_number = Some(vec![0x0a, 0xbc].into());
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Larder, Ltd");
        params.distinguished_name.push(DnType::CommonName, wanted.names[0]);
        let purpose = if wanted.client {
            ExtendedKeyUsagePurpose::ClientAuth
        } else {
            ExtendedKeyUsagePurpose::ServerAuth
        };
        params.extended_key_usages.push(purpose);
        let kind = if wanted.rsa { &PKCS_RSA_SHA256 } else { &PKCS_ECDSA_P256_SHA256 };
        let key = KeyPair::generate_for(kind).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A client of TLS 1.2 that knows one suite only.
    pub fn speaking(&self, suite: &str) -> Client {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|known| known.suite().as_str() == Some(suite));
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        Client { config: Arc::new(config), name: "example.com".to_owned() }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }
}

impl Pair {
    /// Writes both to files of that name; `certificate = ..., key = ...` of a configuration.
    pub fn write(&self, folder: &Path, name: &str) -> String {
        let certificate = write(folder, &format!("{name}.crt"), &self.certificate);
        let key = write(folder, &format!("{name}.key"), &self.key);
        format!("certificate = {certificate}, key = {key}")
    }

    fn chain(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        (vec![certificate], PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap())
    }
}

/// Writes a file as a renewal does: under another name first. Its path, as a value.
pub fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    let beside = folder.join(format!("{name}.new"));
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, &path).unwrap();
    format!("'{}'", path.display())
}

/// A client that speaks TLS. It keeps its sessions, for all clones together.
#[derive(Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    name: String,
}

impl Client {
    /// One that believes this authority and asks for `example.com`.
    pub fn new(authority: &Authority) -> Self {
        Self::with(authority, rustls::ALL_VERSIONS, None)
    }

    /// The same with a certificate.
    pub fn showing(authority: &Authority, pair: &Pair) -> Self {
        Self::with(authority, rustls::ALL_VERSIONS, Some(pair))
    }

    pub fn with(
        authority: &Authority,
        versions: &[&'static SupportedProtocolVersion],
        pair: Option<&Pair>,
    ) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(authority.roots());
        let config = match pair.map(Pair::chain) {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        Self { config: Arc::new(config), name: "example.com".to_owned() }
    }

    /// One that asks for another name.
    pub fn asking(&self, name: &str) -> Self {
        Self { config: self.config.clone(), name: name.to_owned() }
    }

    /// One that is changed otherwise.
    pub fn changed(&self, change: impl FnOnce(&mut ClientConfig)) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        change(&mut config);
        Self { config: Arc::new(config), name: self.name.clone() }
    }

    pub async fn connect(&self, to: SocketAddr) -> io::Result<Talk> {
        let stream = TcpStream::connect(to).await?;
        let name = ServerName::try_from(self.name.clone()).unwrap();
        let stream = TlsConnector::from(self.config.clone()).connect(name, stream).await?;
        Ok(Talk { stream, received: Vec::new() })
    }

    /// A GET on a connection of its own.
    pub async fn get(&self, to: SocketAddr, target: &str) -> io::Result<Response> {
        self.connect(to).await?.get(&self.name, target).await
    }

    /// Status and body of a GET, or `refused`.
    pub async fn line(&self, to: SocketAddr, target: &str) -> String {
        match self.get(to, target).await {
            Ok(response) => format!("{} {}", response.status, response.text()),
            Err(_) => "refused".to_owned(),
        }
    }
}

/// One connection, kept open.
pub struct Talk {
    pub stream: TlsStream<TcpStream>,
    received: Vec<u8>,
}

impl Talk {
    pub async fn get(&mut self, host: &str, target: &str) -> io::Result<Response> {
        self.send(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
    }

    /// Sends this, and reads one response.
    pub async fn send(&mut self, text: &str) -> io::Result<Response> {
        self.stream.write_all(text.as_bytes()).await?;
        self.stream.flush().await?;
        self.received.clear();
        loop {
            let response = parse(&self.received, text.starts_with("HEAD "));
            if response.status != 0 && response.complete {
                return Ok(response);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The certificate that the server showed.
    pub fn certificate(&self) -> Vec<u8> {
        self.stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }
}

/// TLS before a scripted origin.
#[derive(Clone)]
pub struct Front {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A connection as the front saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub name: Option<String>,
    pub resumed: bool,
    pub has_certificate: bool,
}

/// How a front behaves.
#[derive(Clone, Copy, Default)]
pub struct Manner<'a> {
    /// Asks for certificates of this authority.
    pub clients: Option<&'a Authority>,
    /// Drops connections without a word when the origin closes its own.
    pub cuts: bool,
}

impl Front {
    pub async fn start(origin: &Origin, pair: &Pair, manner: Manner<'_>) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match manner.clients {
            Some(authority) => {
                let roots = Arc::new(authority.roots());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
            None => builder.with_no_client_auth(),
        };
        let (chain, key) = pair.chain();
        let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let (seen, origin, cuts) = (front.seen.clone(), origin.address, manner.cuts);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let accept = TlsAcceptor::from(config.clone()).accept(stream);
                tokio::spawn(serve(accept, seen.clone(), (origin, cuts)));
            }
        });
        front
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    accept: Accept<TcpStream>,
    seen: Arc<Mutex<Vec<Seen>>>,
    (origin, cuts): (SocketAddr, bool),
) {
    let Ok(stream) = accept.await else { return };
    let (_, connection) = stream.get_ref();
    let kind = connection.handshake_kind();
    seen.lock().unwrap().push(Seen {
        name: connection.server_name().map(str::to_owned),
        resumed: kind == Some(rustls::HandshakeKind::Resumed),
        has_certificate: connection.peer_certificates().is_some(),
    });
    pass_on(stream, origin, cuts).await;
}

async fn pass_on(
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    origin: SocketAddr,
    cuts: bool,
) {
    let Ok(plain) = TcpStream::connect(origin).await else { return };
    let (mut from_client, mut to_client) = split(stream);
    let (mut from_origin, mut to_origin) = plain.into_split();
    let upward = async {
        let _ = copy(&mut from_client, &mut to_origin).await;
    };
    let downward = async {
        let _ = copy(&mut from_origin, &mut to_client).await;
        let _ = to_client.flush().await;
        if !cuts {
            let _ = to_client.shutdown().await;
        }
    };
    tokio::select! {
        () = downward => {}
        () = upward => {}
    }
}
