//! The cookie that keeps a client with a peer. (nginx: sticky cookie)
//!
//! It names the peer by a hash of its address, which is the same on every machine with the same
//! `secret`, and after a restart.

use std::fmt::Write;

use http::HeaderValue;

use crate::config;

/// The cookies of a group.
pub(super) struct Sticky {
    /// By peer: its name in the cookie, and the field that sets it.
    peers: Vec<(String, HeaderValue)>,
}

impl Sticky {
    pub(super) fn new<'a>(
        config: &config::Sticky,
        addresses: impl Iterator<Item = &'a str>,
    ) -> Self {
        let peer = |address: &str| {
            let id = id(&config.secret, address);
            let field = HeaderValue::try_from(set_cookie(config, &id));
            // All parts of it were checked when they were read.
            (id, field.unwrap_or_else(|_| HeaderValue::from_static("")))
        };
        Self { peers: addresses.map(peer).collect() }
    }

    /// The peer that a cookie names.
    pub(super) fn peer(&self, cookie: &[u8]) -> Option<usize> {
        self.peers.iter().position(|(id, _)| id.as_bytes() == cookie)
    }

    /// The `Set-Cookie` that names a peer.
    pub(super) fn field(&self, peer: usize) -> HeaderValue {
        self.peers[peer].1.clone()
    }
}

fn id(secret: &str, address: &str) -> String {
    let key = blake3::derive_key("larder upstream sticky cookie 1", secret.as_bytes());
    let hash = blake3::keyed_hash(&key, address.as_bytes());
    hash.to_hex()[..ID_DIGITS].to_owned()
}

fn set_cookie(config: &config::Sticky, id: &str) -> String {
    let mut text = format!("{}={id}; Path={}", config.cookie, config.path);
    if let Some(domain) = &config.domain {
        let _ = write!(text, "; Domain={domain}");
    }
    if let Some(expires) = config.expires {
        let _ = write!(text, "; Max-Age={}", expires.as_secs().max(1));
    }
    if let Some(samesite) = config.samesite {
        let _ = write!(text, "; SameSite={samesite}");
    }
    for (set, word) in [(config.httponly, "; HttpOnly"), (config.secure, "; Secure")] {
        text.push_str(if set { word } else { "" });
    }
    text
}

/// Hexadecimal digits of a hash: 128 bits, so that no two peers share one.
const ID_DIGITS: usize = 32;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn config() -> config::Sticky {
        config::Sticky {
            cookie: "route".to_owned(),
            expires: None,
            path: "/".to_owned(),
            domain: None,
            httponly: true,
            secure: false,
            samesite: None,
            secret: "s".to_owned(),
        }
    }

    #[test]
    fn a_cookie_leads_back_to_its_peer_and_names_no_address() {
        let sticky = Sticky::new(&config(), ["10.0.0.1:80", "10.0.0.2:80"].into_iter());
        for at in 0..2 {
            let field = sticky.field(at);
            let text = field.to_str().unwrap();
            let id = text.strip_prefix("route=").and_then(|rest| rest.split(';').next()).unwrap();
            assert_eq!((sticky.peer(id.as_bytes()), id.len()), (Some(at), 32));
            assert!(!text.contains("10.0.0"), "{text}");
        }
        for none in ["", "x", "0123456789abcdef0123456789abcdef"] {
            assert_eq!(sticky.peer(none.as_bytes()), None);
        }
        let other = config::Sticky { secret: "t".to_owned(), ..config() };
        let other = Sticky::new(&other, ["10.0.0.1:80"].into_iter());
        assert_ne!(other.field(0), sticky.field(0), "another secret, other names");
    }

    #[test]
    fn attributes_are_those_of_the_configuration() {
        let all = config::Sticky {
            expires: Some(Duration::from_secs(3600)),
            domain: Some(".example.com".to_owned()),
            secure: true,
            samesite: Some("Lax"),
            ..config()
        };
        let rest = "; Path=/; Domain=.example.com; Max-Age=3600; SameSite=Lax; HttpOnly; Secure";
        assert_eq!(set_cookie(&all, "x"), format!("route=x{rest}"));
        let bare = config::Sticky { httponly: false, ..config() };
        assert_eq!(set_cookie(&bare, "x"), "route=x; Path=/");
    }
}
