//! Names in certificates, as nginx writes them. (RFC 2253)

use std::fmt::Write as _;

use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// `CN=a,O=b`: the last part first, as RFC 2253 section 2.1 has it.
pub(super) fn text(name: &X509Name<'_>) -> String {
    let mut parts: Vec<_> = name.iter_rdn().collect();
    parts.reverse();
    let mut text = String::new();
    for (number, part) in parts.into_iter().enumerate() {
        for (at, attribute) in part.iter().enumerate() {
            match (number, at) {
                (0, 0) => {}
                (_, 0) => text.push(','),
                _ => text.push('+'),
            }
            write_attribute(attribute, &mut text);
        }
    }
    text
}

fn write_attribute(attribute: &AttributeTypeAndValue<'_>, text: &mut String) {
    let id = attribute.attr_type().to_id_string();
    let known = KINDS.iter().find(|(known, _)| *known == id);
    text.push_str(known.map_or(id.as_str(), |(_, name)| name));
    text.push('=');
    match (known, attribute.as_str()) {
        (Some(_), Ok(value)) => write_value(value, text),
        // What is not known cannot be shown as it is meant: its bytes (section 2.4).
        _ => {
            text.push('#');
            for byte in attribute.as_slice() {
                let _ = write!(text, "{byte:02X}");
            }
        }
    }
}

/// Escapes as section 2.4 asks, and what must not stand in a header field.
fn write_value(value: &str, text: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (at, char) in value.chars().enumerate() {
        let at_edge = (char == ' ' && (at == 0 || at == last)) || (char == '#' && at == 0);
        if char.is_ascii_control() {
            let _ = write!(text, "\\{:02X}", u32::from(char));
            continue;
        }
        if at_edge || ",+\"\\<>;".contains(char) {
            text.push('\\');
        }
        text.push(char);
    }
}

/// Kinds of attributes by the names that OpenSSL has for them.
const KINDS: [(&str, &str); 17] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.97", "organizationIdentifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

#[cfg(test)]
mod tests {
    use super::write_value;

    #[test]
    #[rustfmt::skip]
    fn what_would_change_a_names_meaning_is_escaped() {
        check("plain",      "plain");
        check("a, b+c",     "a\\, b\\+c");
        check(" a ",        "\\ a\\ ");
        check("#a#",        "\\#a#");
        check("a\r\nB: c",  "a\\0D\\0AB: c");
        check("é\"<>;\\",   "é\\\"\\<\\>\\;\\\\");
        check("",           "");

        #[track_caller]
        fn check(value: &str, expected: &str) {
            let mut text = String::new();
            write_value(value, &mut text);
            assert_eq!(text, expected);
        }
    }
}
