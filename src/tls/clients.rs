//! What a client's certificate is worth. (nginx: ssl_verify_client)
//!
//! The handshake only makes sure that the client has the key. Whether the certificate counts is
//! asked afterwards, of resumed sessions too: what authority a session was once begun under says
//! nothing of the one that counts now, and a client that is refused can be told so.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};

use super::pem::{self, Problem, Which};
use super::provider;
use super::settings::{Termination, VerifyClient};
use crate::client::{ClientCertificate, Verified};

/// Asks clients for certificates, and judges them.
#[derive(Debug)]
pub(super) struct Clients {
    mode: VerifyClient,
    /// `None`: no authority is known.
    judge: Option<Arc<dyn ClientCertVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Clients {
    /// `None` where nobody is asked.
    pub(super) fn read(settings: &Termination) -> Result<Option<Arc<Self>>, Problem> {
        let mode = settings.verify_client;
        if mode == VerifyClient::Off {
            return Ok(None);
        }
        let algorithms = provider().signature_verification_algorithms;
        let Some(path) = &settings.client_ca else {
            return Ok(Some(Arc::new(Self { mode, judge: None, algorithms })));
        };
        let mut roots = RootCertStore::empty();
        for certificate in pem::certificates(path, Which::Authorities)? {
            roots.add(certificate).map_err(|error| {
                let shown = path.display();
                Problem::new(Which::Authorities, format!("`{shown}` cannot be used: {error}"))
            })?;
        }
        let revoked = settings.client_crl.as_ref().map(|path| pem::revoked(path)).transpose()?;
        let judge = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .with_crls(revoked.unwrap_or_default())
            .build()
            .map_err(|error| Problem::new(Which::Revoked, format!("cannot be used: {error}")))?;
        Ok(Some(Arc::new(Self { mode, judge: Some(judge), algorithms })))
    }

    /// What the chain that a client showed is worth at `now`.
    pub(super) fn judge(
        &self,
        chain: Option<&[CertificateDer<'static>]>,
        now: UnixTime,
    ) -> ClientCertificate {
        let required = self.mode == VerifyClient::On;
        let Some((first, rest)) = chain.and_then(<[_]>::split_first) else {
            return ClientCertificate { refused: required, ..ClientCertificate::default() };
        };
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let judged = match &self.judge {
            Some(judge) => judge.verify_client_cert(first, rest, now).map(|_| ()),
            None => Err(unknown()),
        };
        let mut shown = super::facts::of_certificate(first);
        if let Err(error) = judged {
            let tolerated = self.mode == VerifyClient::OptionalNoCa && error == unknown();
            let self_signed = shown.subject == shown.issuer;
            shown.verified = Verified::Failed(reason(&error, self_signed));
            shown.refused = !tolerated;
        }
        shown
    }
}

/// In the words of OpenSSL, where it has some, for whoever compares them.
fn reason(error: &Error, self_signed: bool) -> String {
    let Error::InvalidCertificate(error) = error else { return error.to_string() };
    match error {
        CertificateError::UnknownIssuer if self_signed => "self-signed certificate".to_owned(),
        CertificateError::UnknownIssuer => "unable to verify the first certificate".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate is not yet valid".to_owned()
        }
        CertificateError::Revoked => "certificate revoked".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "unsuitable certificate purpose".to_owned()
        }
        other => other.to_string(),
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.judge.as_ref().map_or(&[], |judge| judge.root_hint_subjects())
    }

    /// Judged later.
    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
