//! The document of `/v1/zones/NAME/hottest`: what a zone is asked for most.

use serde::{Deserialize, Serialize};

use crate::semantics::key::KeyHash;

/// What a zone holds on disk, the most wanted first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hottest {
    /// The zone.
    pub zone: String,
    /// Hashes as in the names of files.
    pub hashes: Vec<String>,
}

impl Hottest {
    /// The document for these.
    pub fn of(zone: &str, hashes: &[KeyHash]) -> Self {
        Self { zone: zone.to_owned(), hashes: hashes.iter().map(ToString::to_string).collect() }
    }

    /// The hashes; what is none is left out.
    pub fn hashes(&self) -> Vec<KeyHash> {
        self.hashes.iter().filter_map(|text| KeyHash::from_hex(text)).collect()
    }
}

/// Path and query that ask for `count` of a zone; at most `COUNT_MAX` are asked for.
pub fn target(zone: &str, count: u64) -> String {
    let mut path = String::from(BEFORE);
    for byte in zone.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => path.push(char::from(byte)),
            false => path.push_str(&format!("%{byte:02X}")),
        }
    }
    format!("{path}{BEHIND}?count={}", count.min(COUNT_MAX as u64))
}

/// The zone that a path asks about, decoded; `None` for another path.
pub(super) fn zone_of(path: &str) -> Option<String> {
    let mut parts = path.strip_prefix(BEFORE)?.strip_suffix(BEHIND)?.split('%');
    let mut name = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at_checked(2)?;
        name.push(u8::from_str_radix(hex, 16).ok()?);
        name.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(name).ok()
}

/// How many are asked for.
///
/// # Errors
/// Tell whoever asks.
pub(super) fn count_of(query: Option<&str>) -> Result<usize, String> {
    let Some(query) = query else { return Ok(COUNT_DEFAULT) };
    let count = query.strip_prefix("count=").and_then(|count| count.parse().ok());
    let count = count.filter(|count| (1..=COUNT_MAX).contains(count));
    count.ok_or_else(|| format!("expected `?count=N` with N from 1 to {COUNT_MAX}"))
}

/// At 35 bytes each, an answer that clients of this listener take.
pub const COUNT_MAX: usize = 400_000;
const COUNT_DEFAULT: usize = 1000;
const BEFORE: &str = "/v1/zones/";
const BEHIND: &str = "/hottest";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_of_any_name_can_be_asked_about() {
        for zone in ["api", "a b/c", "é%"] {
            let target = target(zone, 5);
            let (path, query) = target.split_once('?').unwrap();
            assert_eq!((zone_of(path).as_deref(), query), (Some(zone), "count=5"));
        }
        for path in ["/v1/zones/api", "/v1/zones/%", "/v1/zones/%zz/hottest", "/v1/stats"] {
            assert_eq!(zone_of(path), None, "{path}");
        }
    }

    #[test]
    fn a_count_has_limits() {
        assert_eq!(count_of(None), Ok(1000));
        assert_eq!(count_of(Some("count=7")), Ok(7));
        for bad in ["count=0", "count=400001", "count=", "count=x", "n=1", "count=1&count=2"] {
            assert!(count_of(Some(bad)).is_err(), "{bad}");
        }
        assert!(target("a", u64::MAX).ends_with("?count=400000"));
    }

    #[test]
    fn hashes_read_back() {
        let hashes = [KeyHash(1), KeyHash(u128::MAX)];
        assert_eq!(Hottest::of("api", &hashes).hashes(), hashes);
        let strange = Hottest { zone: String::new(), hashes: vec!["x".to_owned()] };
        assert_eq!(strange.hashes(), []);
    }
}
