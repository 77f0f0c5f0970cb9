//! What a handshake brought, in nginx's words.

use rustls::{CipherSuite, HandshakeKind, NamedGroup, ProtocolVersion, ServerConnection};
use sha1::{Digest, Sha1};
use x509_parser::parse_x509_certificate;

use super::distinguished;
use crate::client::{ClientCertificate, Tls, Verified};

/// Of a connection whose handshake is over, but for the client's certificate.
pub(super) fn of(connection: &ServerConnection) -> Tls {
    let cipher = connection.negotiated_cipher_suite();
    Tls {
        server_name: connection.server_name().map(str::to_ascii_lowercase),
        protocol: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        },
        cipher: cipher.map_or("", |cipher| name(cipher.suite())),
        alpn: match connection.alpn_protocol() {
            Some(b"h2") => "h2",
            Some(b"http/1.1") => "http/1.1",
            _ => "",
        },
        curve: connection.negotiated_key_exchange_group().map_or("", |group| curve(group.name())),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        certificate: ClientCertificate::default(),
    }
}

/// What a certificate says, thought to be good.
pub(super) fn of_certificate(der: &[u8]) -> ClientCertificate {
    let fingerprint = hex(&Sha1::digest(der), |byte| format!("{byte:02x}"));
    let mut shown =
        ClientCertificate { verified: Verified::Success, fingerprint, ..Default::default() };
    // One that cannot be read is not believed either; it has no names then.
    if let Ok((_, certificate)) = parse_x509_certificate(der) {
        shown.subject = distinguished::text(certificate.subject());
        shown.issuer = distinguished::text(certificate.issuer());
        let serial = certificate.raw_serial();
        // The first byte may be there for the sign alone.
        let digits = serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(serial);
        shown.serial = hex(digits, |byte| format!("{byte:02X}"));
    }
    shown
}

fn hex(bytes: &[u8], digits: impl Fn(&u8) -> String) -> String {
    bytes.iter().map(digits).collect()
}

/// The name that OpenSSL gives a cipher suite.
fn name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            "ECDHE-ECDSA-CHACHA20-POLY1305"
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        other => other.as_str().unwrap_or(""),
    }
}

/// The name that OpenSSL gives a group.
fn curve(group: NamedGroup) -> &'static str {
    match group {
        NamedGroup::secp256r1 => "prime256v1",
        other => other.as_str().unwrap_or(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_that_is_spoken_has_the_name_that_openssl_has() {
        for suite in super::super::provider().cipher_suites.iter() {
            let name = name(suite.suite());
            assert!(
                name.starts_with("TLS_AES")
                    || name.starts_with("TLS_CHACHA")
                    || name.starts_with("ECDHE-"),
                "{name}"
            );
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_have_a_fingerprint_and_no_name() {
        let shown = of_certificate(b"nothing");
        assert_eq!(shown.fingerprint.len(), 40);
        assert_eq!((shown.subject.as_str(), shown.serial.as_str()), ("", ""));
    }
}
