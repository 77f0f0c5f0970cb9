//! How one site ends the TLS of its clients.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{
    ClientHello, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache,
    StoresServerSessions,
};
use rustls::sign::CertifiedKey;
use rustls::{ConfigBuilder, ServerConfig, WantsVerifier};

use super::certificates::Reloadable;
use super::clients::Clients;
use super::pem::{Identity, Problem, Which};
use super::settings::Termination;
use super::{alpn, provider};

/// A site's certificates and what it asks of clients. Shared by all workers.
pub struct Site {
    kept: Kept,
    current: ArcSwap<Current>,
}

/// What stays when files are read again.
struct Kept {
    settings: Termination,
    /// Clients are offered HTTP/2.
    http2: bool,
    /// Sessions that this site began, and no other: what one site let in another may not.
    sessions: Arc<dyn StoresServerSessions>,
    /// `None` where clients do not keep sessions themselves.
    tickets: Option<Arc<dyn ProducesTickets>>,
}

/// What was read from the files last.
pub(super) struct Current {
    pub(super) server: Arc<ServerConfig>,
    pub(super) clients: Option<Arc<Clients>>,
    identities: Vec<Identity>,
}

impl Site {
    /// Reads the files. Clients may be offered HTTP/2 where somebody is there to speak it.
    ///
    /// # Errors
    /// Show it: one of them is of no use.
    pub fn read(settings: &Termination, http2: bool) -> Result<Self, Problem> {
        let no_random = |error: rustls::Error| Problem::new(Which::Nothing, error.to_string());
        let sessions: Arc<dyn StoresServerSessions> = ServerSessionMemoryCache::new(SESSIONS_MAX);
        let tickets =
            settings.session_tickets.then(Ticketer::new).transpose().map_err(no_random)?;
        let kept = Kept { settings: settings.clone(), http2, sessions, tickets };
        let current = ArcSwap::from_pointee(kept.read()?);
        Ok(Self { kept, current })
    }

    /// Whether this is what `settings` ask for: then it can go on, with its sessions.
    pub fn is_for(&self, settings: &Termination, http2: bool) -> bool {
        self.kept.settings == *settings && self.kept.http2 == http2
    }

    /// What new handshakes go by.
    pub(super) fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }
}

impl Reloadable for Site {
    fn files(&self) -> Vec<&Path> {
        let settings = &self.kept.settings;
        let pairs = settings.certificates.iter();
        let pairs = pairs.flat_map(|files| [files.certificate.as_path(), files.key.as_path()]);
        let others = [&settings.client_ca, &settings.client_crl];
        pairs.chain(others.into_iter().filter_map(Option::as_deref)).collect()
    }

    fn read_again(&self) -> Result<(), Problem> {
        self.current.store(Arc::new(self.kept.read()?));
        Ok(())
    }

    fn warnings(&self, now: SystemTime) -> Vec<String> {
        let current = self.current();
        current.identities.iter().filter_map(|identity| identity.warning(now)).collect()
    }
}

impl Kept {
    fn read(&self) -> Result<Current, Problem> {
        let settings = &self.settings;
        let pairs = settings.certificates.iter().enumerate();
        let identities: Vec<_> =
            pairs.map(|(at, files)| Identity::read(files, at)).collect::<Result<_, _>>()?;
        let clients = Clients::read(settings)?;
        let unusable = |error: rustls::Error| Problem::new(Which::Nothing, error.to_string());
        let builder: ConfigBuilder<ServerConfig, WantsVerifier> =
            ServerConfig::builder_with_provider(provider())
                .with_protocol_versions(&settings.versions.supported())
                .map_err(unusable)?;
        let builder = match &clients {
            Some(clients) => builder.with_client_cert_verifier(clients.clone()),
            None => builder.with_no_client_auth(),
        };
        let keys = identities.iter().map(|identity| identity.certified.clone()).collect();
        let mut server = builder.with_cert_resolver(Arc::new(ByKind(keys)));
        server.alpn_protocols = alpn(self.http2);
        server.session_storage = self.sessions.clone();
        server.max_early_data_size = 0;
        if let Some(tickets) = &self.tickets {
            server.ticketer = tickets.clone();
        }
        Ok(Current { server: Arc::new(server), clients, identities })
    }
}

/// The first certificate whose signatures the client can check.
#[derive(Debug)]
struct ByKind(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByKind {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let offered = hello.signature_schemes();
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(offered).is_some();
        self.0.iter().find(fits).cloned()
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("settings", &self.kept.settings).finish_non_exhaustive()
    }
}

/// Sessions that one site remembers: nginx's 1 MB of `ssl_session_cache`.
const SESSIONS_MAX: usize = 4096;
