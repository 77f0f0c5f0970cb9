//! `tls` of a site and `upstream_tls` of a route, as they are written.

use crate::config::fault::Problem;
use crate::config::read::{FromText, List, table};
use crate::tls::settings::VerifyClient;

table! {
    /// `tls` of `[[site]]`: one table, or one for each certificate.
    SiteTls(certificate, key) {
        certificate: String,
        key: String,
        protocols: List<TlsVersion>,
        client_ca: String,
        client_crl: String,
        verify_client: VerifyClient,
        session_tickets: bool,
    }
}

table! {
    /// `upstream_tls`
    UpstreamTls() {
        verify: bool,
        ca: String,
        name: String,
        sni: bool,
        certificate: String,
        key: String,
        protocols: List<TlsVersion>,
        session_reuse: bool,
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsVersion {
    Tls12,
    Tls13,
}

impl FromText for TlsVersion {
    fn from_text(text: &str) -> Result<Self, Problem> {
        match text {
            "TLSv1.2" => Ok(Self::Tls12),
            "TLSv1.3" => Ok(Self::Tls13),
            "SSLv2" | "SSLv3" | "TLSv1" | "TLSv1.1" => {
                Err(Problem::new(format!("`{text}` is broken and not spoken here"))
                    .help("known here: `TLSv1.2`, `TLSv1.3`"))
            }
            _ => Err(Problem::new(format!("`{text}` is no version of TLS"))
                .choices(text, &["TLSv1.2", "TLSv1.3"])),
        }
    }
}

impl FromText for VerifyClient {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let words = ["off", "optional", "optional_no_ca", "on"];
        let all = [Self::Off, Self::Optional, Self::OptionalNoCa, Self::On];
        let found = words.iter().zip(all).find(|(word, _)| **word == text);
        found.map(|(_, mode)| mode).ok_or_else(|| {
            Problem::new(format!("`{text}` is no way to verify clients")).choices(text, &words)
        })
    }
}
