//! Fields and settings from the bytes of a fuzzer, in a form that can be written by hand.
//!
//! ```text
//! Cache-Control: max-age=5        a field; its value is any bytes but a line feed
//! @received: 784111777            a setting of the target
//! @authorized                     a setting without a value
//! ```

use http::{HeaderMap, HeaderName, HeaderValue};

/// What a text says.
pub(crate) struct Message<'a> {
    /// Its fields in order.
    pub(crate) fields: HeaderMap,
    settings: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Message<'a> {
    /// Reads as much as there is; a line that is neither field nor setting counts for nothing.
    pub(crate) fn of(text: &'a [u8]) -> Self {
        let mut message = Self { fields: HeaderMap::new(), settings: Vec::new() };
        for line in text.split(|byte| *byte == b'\n') {
            let colon = line.iter().position(|byte| *byte == b':');
            let (name, value) = match colon {
                Some(at) => (&line[..at], line[at + 1..].trim_ascii()),
                None => (line, &b""[..]),
            };
            match name.strip_prefix(b"@") {
                Some(name) => message.settings.push((name, value)),
                None => message.append(name, value),
            }
        }
        message
    }

    fn append(&mut self, name: &[u8], value: &[u8]) {
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        else {
            return;
        };
        if self.fields.len() < FIELDS_MAX {
            self.fields.append(name, value);
        }
    }

    /// The text of a setting; `None` where it is not there.
    pub(crate) fn text(&self, name: &str) -> Option<&'a [u8]> {
        let named = |(known, _): &&(&[u8], &[u8])| *known == name.as_bytes();
        self.settings.iter().find(named).map(|(_, value)| *value)
    }

    /// Whether a setting is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// The number of a setting, any that 64 bits hold.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        number(self.text(name)?)
    }
}

/// A decimal number.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// More fields are not let in from a client or a peer either.
const FIELDS_MAX: usize = 100;
